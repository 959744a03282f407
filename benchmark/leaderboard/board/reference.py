"""Published facts: numbers that the paper's authors reported, and the settings behind them.

The numbers are shown beside the measured rows, never ranked among them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal

from benchmark.errors import UserError
from benchmark.files.plain import is_below, read_below

TABLES, ABLATIONS = "reported_tables.csv", "reported_ablations.csv"  # files below reference/
REPORTED_BYTES = 2**22
_DATASETS = {"c10": ("cifar10", "8/255"), "c100": ("cifar100", "4/255")}
_WEIGHTS: dict[str, Literal["fp", "binary"]] = {"fp": "fp", "bin": "binary"}
_METHODS = {
    "AT": ("at", "pgd"),
    "HYDRA": ("hydra", "pgd"),
    "ATMC": ("atmc", "pgd"),
    "Ours": ("edge_popup", "pgd"),
    "Ours(Fast)": ("edge_popup", "fast"),
}
_ARCHITECTURES = {"RN34": ("resnet34", False), "RN34-LBN": ("resnet34", True)}
_ALLOCATIONS: dict[str, Literal["global"] | None] = {"-": None, "Global": "global"}
# Options that differ from the defaults behind a published row. For edge-popup at p=1.0 the default scale is it.
_OPTIONS: dict[tuple[str, float | str | None], dict[str, float]] = {("edge_popup", 0.1): {"score_scale": 0.001}}
PAPERS_METHOD = "edge_popup"  # the paper's own, published with PGD and with the fast objective, and in its ablations
# Its options that the ablations vary, at their defaults, which an experiment and its record leave out.
PAPERS_OPTIONS: dict[str, str | float] = {"score_scale": 0.01, "binary_init": "pm1", "scale_fan": "none"}
# Epochs and batch size behind a published row by method, objective and weights. A batch of None differs between the
# data sets, see `_BATCHES`.
_SCHEDULES: dict[tuple[str, str, str], tuple[int, int | None]] = {
    ("at", "pgd", "fp"): (400, 512),
    ("at", "pgd", "binary"): (400, 512),
    ("hydra", "trades", "fp"): (220, 128),
    ("hydra", "trades", "binary"): (220, 128),
    ("atmc", "half_clean", "fp"): (400, None),
    ("atmc", "half_clean", "binary"): (550, None),
    ("edge_popup", "pgd", "binary"): (400, 256),
    ("edge_popup", "fast", "binary"): (100, 256),
}
_BATCHES = {"cifar10": 128, "cifar100": 256}
_INITIALISATIONS: dict[str, dict[str, str]] = {
    "binary": {},
    "Signed-KC": {"binary_init": "signed_kaiming_constant", "scale_fan": "global"},
}
_TRANSPOSED = ("HYDRA", "RN34-LBN", "c100", "fp")
_TRANSPOSED_NOTE = (
    "As printed, the p=1.0 row of this pair is more accurate under attack than without, which is impossible; "
    "the robust numbers of its p=0.1 and p=1.0 rows are probably swapped."
)


@dataclass(frozen=True)
class ReportedRow:
    """A published result. Accuracies are fractions in [0, 1]; `robust` is AutoAttack on all test images."""

    dataset: str
    epsilon: str
    method: str
    objective: str
    architecture: str
    last_norm: bool
    allocation: float | Literal["global"] | None  # None: a dense network
    keep_ratio: float  # kept over prunable weights, 1 for a dense network
    weights: Literal["fp", "binary"]
    # The method's settings that differ from its defaults; a dictionary has no hash.
    options: Mapping[str, str | float] = field(hash=False)
    clean: float | None  # None: not reported
    robust: float
    note: str | None  # a doubt about the number


def has_reported(path: Path) -> bool:
    """Return whether there is a file of published tables; raises UserError for a link or another kind of file."""
    return is_below(path, path.parents[1], REPORTED_BYTES)


def load_reported(path: Path) -> list[ReportedRow]:
    """Read a file of published tables, one row for each number under AutoAttack, in file order.

    The file holds either the comparison of the methods or the ablations of edge-popup; its first column says which.

    Raises:
        UserError: if the file cannot be read or a cell is not understood.
    """
    return [row for _, rows in reported_lines(path) for row in rows.values()]


def reported_lines(path: Path) -> list[tuple[dict[str, str], dict[str, ReportedRow]]]:
    """Read a file of published tables line by line, see `load_reported`.

    Returns:
        Each line as it is written, and its results by the column that holds the number under AutoAttack.

    Raises:
        UserError: if the file cannot be read or a cell is not understood.
    """
    content = read_below(path, path.parents[1], REPORTED_BYTES)  # a file of reference/ in a folder of results
    if content is None:
        raise UserError(f"{path}: there is no such table of reported results. Restore it from git.")
    try:
        lines = list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))
        if lines and "ablation" in lines[0]:
            return [(line, {"c10_bin_rob": _ablation(line)}) for line in lines]
        return [
            (
                line,
                {
                    f"{data}_{precision}_rob": _compared(line, data, precision)
                    for data in _DATASETS
                    for precision in _WEIGHTS
                    if line[f"{data}_{precision}_rob"]
                },
            )
            for line in lines
        ]
    except (csv.Error, UnicodeDecodeError, KeyError, InvalidOperation) as error:
        raise UserError(f"{path}: not a table of reported results ({error!r}). Restore it from git.") from None


def published_schedule(method: str, objective: str, weights: str, dataset: str) -> tuple[int, int] | None:
    """Return the epochs and the batch size behind the published rows of a method, or None if none were published."""
    epochs, batch_size = _SCHEDULES.get((method, objective, weights), (None, None))
    batch_size = batch_size or _BATCHES.get(dataset)
    return None if epochs is None or batch_size is None else (epochs, batch_size)


def _compared(line: dict[str, str], data: str, precision: str) -> ReportedRow:
    method, objective = _METHODS[line["method"]]
    dataset, epsilon = _DATASETS[data]
    architecture, last_norm = _ARCHITECTURES[line["arch"]]
    allocation = _allocation(line["strategy"])
    return ReportedRow(
        dataset=dataset,
        epsilon=epsilon,
        method=method,
        objective=objective,
        architecture=architecture,
        last_norm=last_norm,
        allocation=allocation,
        keep_ratio=1.0 if line["rate"] == "-" else _kept(line["rate"]),
        weights=_WEIGHTS[precision],
        options=_OPTIONS.get((method, allocation), {}),
        clean=_share(line[f"{data}_{precision}_clean"]),
        robust=_share(line[f"{data}_{precision}_rob"]),
        note=_TRANSPOSED_NOTE if (line["method"], line["arch"], data, precision) == _TRANSPOSED else None,
    )


def _ablation(line: dict[str, str]) -> ReportedRow:
    dataset, epsilon = _DATASETS["c10"]
    architecture, last_norm = _ARCHITECTURES[line["arch"]]
    scale = float(Decimal(line["score_scale"]))
    scaled = {} if scale == PAPERS_OPTIONS["score_scale"] else {"score_scale": scale}
    return ReportedRow(
        dataset=dataset,
        epsilon=epsilon,
        method=PAPERS_METHOD,
        objective="pgd",
        architecture=architecture,
        last_norm=last_norm,
        allocation=_allocation(line["strategy"]),
        keep_ratio=_kept(line["rate"]),
        weights="binary",
        options={**_INITIALISATIONS[line["init"]], **scaled},
        clean=None,
        robust=_share(line["c10_bin_rob"]),
        note=None,
    )


def _allocation(strategy: str) -> float | Literal["global"] | None:
    if strategy in _ALLOCATIONS:
        return _ALLOCATIONS[strategy]
    return float(Decimal(strategy.removeprefix("p=")))


# Decimal, because 1 - 0.99 and 43.26 / 100 are not the nearest floats to 0.01 and 0.4326.
def _kept(rate: str) -> float:
    return float(1 - Decimal(rate))


def _share(percent: str) -> float:
    return float(Decimal(percent) / 100)
