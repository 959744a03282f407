"""From records to ranked boards. Pure functions: no files, no clock, any order of the records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Literal

from benchmark.leaderboard.reference import ReportedRow
from benchmark.results.invariants import violations
from benchmark.results.protocol import autoattack_version
from benchmark.results.record import Record

# The order of a board's sections. Rows of different presets are never ranked against each other.
PRESETS = ("paper", "short", "own", "smoke")


@dataclass(frozen=True)
class Stat:
    """A mean over seeds and its sample standard deviation, which a single seed does not have."""

    mean: float
    std: float | None


@dataclass(frozen=True)
class Row:
    """One setting on a board, over all its seeds. Accuracies and densities are fractions in [0, 1]."""

    rank: int | None  # within the preset; None: refused
    preset: str
    method: str
    target: str
    options: str  # the method's settings that differ from its defaults and the run it began with, as JSON
    weights: Literal["fp", "binary"]
    last_norm: bool
    architecture: str
    width: float
    keep_ratio: float
    allocation: float | Literal["global"]
    objective: str
    clean: Stat
    pgd: Stat
    autoattack: Stat
    robust: Stat  # best known: right under every attack
    interval: tuple[float, float] | None  # 95% Wilson interval of `robust`; None for several seeds
    density: float
    density_all: float
    size_bytes: int
    size_kind: str
    passes: float  # images sent forward and backward in training
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    footnotes: tuple[int, ...]  # numbers, from 1, into the board's footnotes
    reasons: tuple[str, ...]  # why the row is refused; empty if it is ranked

    @property
    def options_text(self) -> str:
        """The options as 'name=value, name=value'."""
        return ", ".join(f"{name}={value}" for name, value in json.loads(self.options).items())


@dataclass(frozen=True)
class Board:
    """All results of one protocol: ranked rows by preset, refused rows, and published numbers apart."""

    protocol: str
    dataset: str
    num_classes: int
    epsilon: str
    n_images: int
    pgd_steps: int
    pgd_restarts: int
    pgd_step: str
    autoattack: str  # version
    rows: tuple[Row, ...]
    refused: tuple[Row, ...]
    reported: tuple[ReportedRow, ...]
    footnotes: tuple[str, ...]

    def section(self, preset: str) -> list[Row]:
        """Return the ranked rows of one preset, best first."""
        return [row for row in self.rows if row.preset == preset]


def boards(records: Iterable[Record], reported: Sequence[ReportedRow] = ()) -> dict[str, Board]:
    """Build one board for each protocol found in `records`.

    Args:
        records: results in any order.
        reported: published numbers; each appears on the boards of its own data set and epsilon.

    Returns:
        Boards by protocol id, in alphabetical order.
    """
    by_protocol: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: (record.protocol, record.run, record.run_hash)):
        by_protocol.setdefault(record.protocol, []).append(record)
    return {protocol: _board(found, reported) for protocol, found in by_protocol.items()}


def _board(records: list[Record], reported: Sequence[ReportedRow]) -> Board:
    groups: dict[str, list[Record]] = {}
    refused: list[Row] = []
    data = _test_data(records)
    for record in records:
        group = groups.setdefault(_setting(record), [])
        reasons = violations(record)
        if (record.dataset.test_sha256, record.dataset.num_classes) != data:
            reasons.append("the test data differ from those of the other records of this board")
        if twin := next((other for other in group if other.seed == record.seed), None):
            reasons.append(f"same setting and seed as {twin.run}")
        if reasons:
            refused.append(_row([record], tuple(reasons)))
        else:
            group.append(record)
    footnotes: list[str] = []
    rows: list[Row] = []
    for preset in PRESETS:
        found = [group for group in groups.values() if group and group[0].preset == preset]
        for row, deviations in _ranked(found):
            footnotes += [text for text in deviations if text not in footnotes]
            rows.append(replace(row, footnotes=tuple(sorted({footnotes.index(text) + 1 for text in deviations}))))
    first = records[0]
    return Board(
        protocol=first.protocol,
        dataset=first.dataset.name,
        num_classes=data[1],
        epsilon=first.evaluation.epsilon,
        n_images=first.evaluation.n_images,
        pgd_steps=first.evaluation.pgd.steps,
        pgd_restarts=first.evaluation.pgd.restarts,
        pgd_step=first.evaluation.pgd.step_size,
        autoattack=autoattack_version(data[1]),
        rows=tuple(rows),
        refused=tuple(refused),
        reported=tuple(
            row for row in reported if (row.dataset, row.epsilon) == (first.dataset.name, first.evaluation.epsilon)
        ),
        footnotes=tuple(footnotes),
    )


def _test_data(records: list[Record]) -> tuple[str, int]:
    """Return hash and classes of the test data that most records used; on a tie the smaller hash wins."""
    counts = Counter((record.dataset.test_sha256, record.dataset.num_classes) for record in records)
    return min(counts, key=lambda data: (-counts[data], data))


def _setting(record: Record) -> str:
    """Return everything that was chosen for a run except its seed; runs with equal settings share a row."""
    chosen = record.model_dump(
        mode="json",
        include={
            "preset": True,
            "dataset": True,
            "architecture": True,
            "method": {"name", "options", "objective"},
            "compression": {"weights", "keep_ratio", "allocation", "budget", "size_kind"},
            "training": {"epochs", "batch_size"},
            "evaluation": {"autoattack": {"package", "package_version", "seed", "batch_size"}},
        },
    )
    # The resolved experiment holds what the parts above do not, such as the attack inside training. Of the method
    # only the hash of a user's own file counts: a built-in method stays itself when a comment in it changes.
    told = {"seed", "suite", "method", "evaluation", "first_phase"}
    config = {key: value for key, value in record.provenance.config.items() if key not in told}
    method = record.provenance.config.get("method")
    config["source"] = method.get("source_sha256") if isinstance(method, dict) else None
    config["first_phase"] = _first_phase(record)
    return json.dumps([chosen, config], sort_keys=True)


def _first_phase(record: Record) -> str | None:
    """Return the cell of the run that the method began with, the same for every seed; None if it began itself."""
    first_phase = record.training.first_phase
    return None if first_phase is None else first_phase.run.rpartition("/")[0]


def _options(record: Record) -> str:
    options = dict(record.method.options)
    if cell := _first_phase(record):
        options["first_phase"] = "/".join(cell.split("/")[-2:])  # the data and the network are the row's own
    return json.dumps(options, sort_keys=True)


def _ranked(groups: list[list[Record]]) -> list[tuple[Row, list[str]]]:
    """Rank one preset's settings by robust accuracy, ties share a rank; adds the methods' deviations."""
    pairs = [(_row(group, ()), group[0].method.deviations) for group in groups]
    pairs.sort(key=lambda pair: (-_score(pair[0].robust), -_score(pair[0].clean), pair[0].method, pair[0].runs))
    scores = [_score(row.robust) for row, _ in pairs]
    return [(replace(row, rank=scores.index(_score(row.robust)) + 1), deviations) for row, deviations in pairs]


def _score(stat: Stat) -> float:
    # Means of different numbers of seeds may differ in their last bit; that is still a tie.
    return round(stat.mean, 12)


def _row(group: list[Record], reasons: tuple[str, ...]) -> Row:
    group = sorted(group, key=lambda record: record.seed)
    first = group[0]
    robust = _stat([record.evaluation.best_known_accuracy for record in group])
    return Row(
        rank=None,
        preset=first.preset,
        method=first.method.name,
        target=first.method.target,
        options=_options(first),
        weights=first.compression.weights,
        last_norm=first.architecture.last_norm,
        architecture=first.architecture.name,
        width=first.architecture.width,
        keep_ratio=first.compression.keep_ratio,
        allocation=first.compression.allocation,
        objective=first.method.objective,
        clean=_stat([record.evaluation.clean_accuracy for record in group]),
        pgd=_stat([record.evaluation.pgd.accuracy for record in group]),
        autoattack=_stat([record.evaluation.autoattack.accuracy for record in group]),
        robust=robust,
        interval=_wilson(robust.mean, first.evaluation.n_images) if len(group) == 1 else None,
        density=mean(record.compression.density for record in group),
        density_all=mean(record.compression.density_all for record in group),
        size_bytes=round(mean(record.compression.size_bytes for record in group)),
        size_kind=first.compression.size_kind,
        passes=mean(record.training.passes for record in group),
        seeds=tuple(record.seed for record in group),
        runs=tuple(record.run for record in group),
        footnotes=(),
        reasons=reasons,
    )


def _stat(values: list[float]) -> Stat:
    return Stat(mean(values), stdev(values) if len(values) > 1 else None)


def _wilson(accuracy: float, n: int) -> tuple[float, float]:
    from scipy.stats import binomtest  # here, because it takes a second to import

    interval = binomtest(round(accuracy * n), n).proportion_ci(confidence_level=0.95, method="wilson")
    # The last bits of scipy's result depend on the machine's mathematical library; six digits do not.
    return round(float(interval.low), 6), round(float(interval.high), 6)
