"""What a figure shows, before it is drawn: its words and its data. No drawing here, and no torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmark.leaderboard.board.rows import Front, Row
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.figure_plans.size_data import SizeData
from benchmark.leaderboard.formats import allocation, percent, printable, short
from benchmark.results.external import PRESET as EXTERNAL

BARRED = 40  # points at most that all have an interval in a figure of a front; of more only those on the front
_DIGITS = 9  # decimals of a number in the hashed data; another machine changes only later ones


@dataclass(frozen=True)
class FrontPoint:
    """A row as cost and robust accuracy with its 95% interval, in [0, 1]."""

    id: str
    method: str
    weights: str
    cost: float  # bytes or training passes
    robust: float
    low: float
    high: float
    on_front: bool


@dataclass(frozen=True)
class FrontData:
    """Robust accuracy against a cost, and which rows are on the Pareto front."""

    cost: Front
    points: tuple[FrontPoint, ...]
    chance: float


@dataclass(frozen=True)
class SecurityLine:
    """PGD accuracy of a row, mean over its measured seeds, as (epsilon, accuracy) points."""

    label: str
    method: str
    weights: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class SecurityData:
    """Accuracy as the radius of the ball grows."""

    lines: tuple[SecurityLine, ...]
    epsilon: str  # the protocol's
    chance: float


@dataclass(frozen=True)
class RatePoint:
    """Robust accuracy at a keep ratio; a published number has no interval."""

    keep_ratio: float
    robust: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class RateSeries:
    """All keep ratios tried with one exponent p, ascending."""

    p: str
    points: tuple[RatePoint, ...]


@dataclass(frozen=True)
class RateData:
    """Robust accuracy against the pruning rate for each p."""

    series: tuple[RateSeries, ...]
    measured: str  # which accuracy it is
    chance: float
    reported: bool  # by the authors, not measured here


@dataclass(frozen=True)
class OptionPoint:
    """Robust accuracy with its 95% interval, in [0, 1], at a value of an option."""

    place: int  # in the values of the data
    robust: float
    low: float
    high: float


@dataclass(frozen=True)
class OptionSeries:
    """All values of an option tried with LBN, or all without it, ascending."""

    last_norm: bool
    points: tuple[OptionPoint, ...]


@dataclass(frozen=True)
class OptionData:
    """Robust accuracy against the values of a method's option, side by side and evenly spaced."""

    option: str
    values: tuple[str, ...]  # of one line or more
    ordered: bool  # values are numbers: their points are joined
    series: tuple[OptionSeries, ...]
    measured: str  # which accuracy it is
    chance: float


@dataclass(frozen=True)
class TrainingPanel:
    """Validation accuracies of a row over its epochs, means over its seeds."""

    label: str
    setting: str  # what the label lacks
    method: str
    phases: tuple[tuple[str, int, int], ...]  # name, first and last epoch
    epochs: tuple[int, ...]
    robust: tuple[float, ...]
    clean: tuple[float, ...]
    selected: tuple[int, ...]  # the epoch that each seed's network is of


@dataclass(frozen=True)
class TrainingData:
    """Training curves, a panel a row."""

    panels: tuple[TrainingPanel, ...]
    chance: float


@dataclass(frozen=True)
class MaskData:
    """Which layers of which artifact: one layer, or two consecutive ones of a residual block."""

    artifact_sha256: str
    method: str
    weights: str
    layers: tuple[str, ...]


Data = FrontData | SecurityData | RateData | SizeData | OptionData | TrainingData | MaskData


@dataclass(frozen=True)
class Plan:
    """A figure that is to be drawn. Its texts are plain; `numbers` of a mask are counted when it is drawn."""

    name: str  # of the files, without ending
    title: str
    caption: str
    protocol: str | None
    run: str | None  # the run whose network is shown, where it is a single one
    numbers: tuple[tuple[str, str], ...]  # label, value
    data: Data

    @property
    def source(self) -> str:
        """SHA-256 of the canonical JSON of the data."""
        content = {"kind": type(self.data).__name__, "data": _rounded(asdict(self.data))}
        text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def figure_name(kind: str, *parts: str) -> str:
    """Return a file name without ending, of small letters, digits, "_", "." and "-".

    Where a part has other characters, which are replaced, a hash of the parts keeps the name apart from others.
    """
    raw = "--".join([kind, *parts])
    name = re.sub(r"[^a-z0-9._-]", "-", raw)
    if name == raw and len(name) <= 120:
        return name
    return f"{name[:110]}-{hashlib.sha256(raw.encode()).hexdigest()[:8]}"


def precision(weights: str) -> str:
    """Return the precision in words."""
    return {"fp": "full precision", "binary": "binary"}.get(weights, weights)


def row_label(row: Row) -> str:
    """Return a row's name in a figure: method, precision, ratio, p and groups as far as it has them, and its id."""
    parts = [f"{printable(row.method)[:24]} {row.weights}"]
    if row.keep_ratio is not None and row.keep_ratio < 1:
        parts.append(f"keep {short(row.keep_ratio)}")
        parts.append(f"p {allocation(row.keep_ratio, row.allocation)}")
    if row.grouped:
        parts.append(str(row.granularity))
    return f"{', '.join(parts)} ({row.id})"


def setting_text(row: Row) -> str:
    """Return what rows of one label may also differ in: the objective, and whether there is a last batch norm."""
    if row.objective is None:
        return f"trained elsewhere, {printable(row.architecture)[:24]}"
    return f"{printable(row.objective)[:16]}, {'LBN' if row.last_norm else 'no LBN'}"


def interval_text(robust: float, low: float, high: float) -> str:
    """Return an accuracy with its interval in percent."""
    return f"{percent(robust)}% ({percent(low)} to {percent(high)})"


def intervals_caption(n_images: int, rows: Sequence[Row]) -> str:
    """Return how many images the numbers are from and which intervals are shown."""
    if all(len(row.records) == 1 for row in rows):
        kind = "Wilson's"
    elif all(len(row.seeds) > 1 for row in rows):
        kind = "by bootstrap over seeds and images"
    else:
        kind = "Wilson's for one seed, by bootstrap over seeds and images for several"
    return f"{n_images:,} test images; bars are 95% intervals, {kind}."


def place_text(board: Board, preset: str) -> str:
    """Return where the numbers of a figure come from."""
    group = "trained elsewhere" if preset == EXTERNAL else f"{preset} preset"
    return f"{board.dataset}, epsilon {board.epsilon}, {group}"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
