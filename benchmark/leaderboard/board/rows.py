"""One setting on a board: which records share its row, and the row's numbers over all seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import stdev
from typing import Any, Literal

from benchmark.leaderboard.board.classes import SizeClass, size_class
from benchmark.leaderboard.board.costs import Costs, costs_of, mean
from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.reproduction import Comparison, compared
from benchmark.leaderboard.board.setting import options_of
from benchmark.leaderboard.board.speed import RowTimes
from benchmark.leaderboard.formats import HINT, options_text, short
from benchmark.results.citations import Citation
from benchmark.results.evaluation import HEALTH_ORDER, OPPONENT_CHECKS, wide_parts, worst_verdict
from benchmark.results.external import AnyRecord, ExternalRecord
from benchmark.results.fields import Granularity
from benchmark.results.record import Record
from benchmark.results.statistics import accuracy_interval

ID_DIGITS = 6  # as at the end of a run's name

Front = Literal["size", "passes"]  # robust accuracy against bytes of the file, or against training passes


@dataclass(frozen=True)
class Stat:
    """A mean over seeds and its sample standard deviation, which a single seed does not have."""

    mean: float
    std: float | None


@dataclass(frozen=True)
class Answer:
    """One check of gradient health on all seeds of a row."""

    verdict: str  # the worst; "not run" if there were no images to examine, "not checked" if a seed is from before it
    value: float | None  # the mean over seeds; None unless all have a number
    hint: bool = False  # the number is its only result

    @property
    def text(self) -> str:
        """What a table shows: the number of a hint, the verdict of any other check."""
        return short(round(self.value, 2)) if self.hint and self.value is not None else self.verdict


@dataclass(frozen=True)
class Wide:
    """Clean and PGD accuracy on more images than the protocol's, which no rank depends on; intervals are of 95%."""

    n_images: int
    clean: Stat
    clean_interval: tuple[float, float]
    pgd: Stat
    pgd_interval: tuple[float, float]


@dataclass(frozen=True)
class Row:
    """One setting on a board, over all its seeds. Accuracies and densities are fractions in [0, 1]."""

    id: str  # first digits of the hash of its first run
    rank: int | None  # within preset and size class; None: refused
    tie: int | None  # group within preset and size class, from 1, see `tie_groups`; None: refused
    fronts: tuple[Front, ...]  # Pareto fronts of the preset that the row is on
    size_class: SizeClass
    preset: str
    method: str
    target: str | None
    options: str  # settings of the method that are not its defaults, the run it began with, reduced precision; as JSON
    weights: Literal["fp", "binary"]
    last_norm: bool | None  # this and the next six: None for a network that was trained elsewhere
    architecture: str
    width: float | None
    keep_ratio: float | None
    allocation: float | str | None
    granularity: Granularity | None
    objective: str | None
    clean: Stat
    pgd: Stat
    autoattack: Stat
    robust: Stat  # best known: classified correctly under every attack
    interval: tuple[float, float]  # 95% of `robust`: Wilson's, or the bootstrap's over several seeds
    wide: Wide | None  # None unless all seeds were measured on the same further images
    health: str  # the worst verdict on the gradients of its networks
    doubts: tuple[str, ...]  # reasons of the checks that are suspect
    opponent: Mapping[str, Answer]  # by check, see OPPONENT_CHECKS
    costs: Costs
    seeds: tuple[int, ...]  # empty where it is unknown
    runs: tuple[str, ...]
    records: tuple[AnyRecord, ...]  # one per seed, in the order of the seeds, with accepted challenges applied
    reported: ReportedRow | None  # the published result that the row reproduces
    footnotes: tuple[int, ...]  # numbers, from 1, into the board's footnotes
    reasons: tuple[str, ...]  # why the row is refused; empty if it is ranked
    citation: Citation | None = None  # of its network, from a file beside the record
    speed: RowTimes | None = None  # None unless the present artifacts of all seeds were timed
    superseded_by: str | None = None  # run of a newer version, which is ranked in its place

    @property
    def own(self) -> tuple[Record, ...]:
        """The records of networks that were trained here; of a row all or none."""
        return tuple(record for record in self.records if isinstance(record, Record))

    @property
    def external(self) -> ExternalRecord | None:
        """The record of a network that was trained elsewhere; None for a row that was trained here."""
        return next((record for record in self.records if isinstance(record, ExternalRecord)), None)

    @cached_property  # a bootstrap, which many columns ask for
    def against_reported(self) -> Comparison | None:
        """AutoAttack's accuracy beside the published one; None if the row reproduces none."""
        return compared(self.reported, self.own, "autoattack")

    @cached_property
    def clean_against_reported(self) -> Comparison | None:
        """The same for the clean accuracy, which not every published result has."""
        return compared(self.reported, self.own, "clean")

    @property
    def grouped(self) -> bool:
        """Whether its masks keep groups of weights together."""
        return self.granularity not in (None, "weight")

    @property
    def options_text(self) -> str:
        """The options as 'name=value, name=value'."""
        return _spelled(self.options)


@lru_cache(maxsize=1024)  # every page needs the same few
def _spelled(options: str) -> str:
    return options_text(json.loads(options))


def make_row(group: Sequence[AnyRecord], reasons: tuple[str, ...]) -> Row:
    """Return the row, not ranked yet, of records that differ in their seeds only, in the order of the seeds.

    `reasons`: why it is refused; empty if it may be ranked.
    """
    first = group[0]
    costs = costs_of(group)
    return Row(
        id=first.run_hash[:ID_DIGITS],
        rank=None,
        tie=None,
        fronts=(),
        size_class=size_class(costs.size_bytes, seeded=costs.stored_weights == "seed"),
        preset=first.preset,
        **_setting(first),
        clean=_stat([record.evaluation.clean_accuracy for record in group]),
        pgd=_stat([record.evaluation.pgd.accuracy for record in group]),
        autoattack=_stat([record.evaluation.autoattack.accuracy for record in group]),
        robust=_stat([record.evaluation.best_known_accuracy for record in group]),
        interval=accuracy_interval([record.evaluation.right("robust") for record in group]),
        wide=_wide(group),
        health=max((record.evaluation.health_verdict for record in group), key=HEALTH_ORDER.index),
        doubts=tuple(
            check.name + (f": {check.reason}" if record.seed is None else f", seed {record.seed}: {check.reason}")
            for record in group
            for check in record.evaluation.health
            if check.verdict == "suspect"
        ),
        opponent=answers_of(group),
        costs=costs,
        seeds=tuple(record.seed for record in group if record.seed is not None),
        runs=tuple(record.run for record in group),
        records=tuple(group),
        reported=None,
        footnotes=(),
        reasons=reasons,
    )


def _setting(record: AnyRecord) -> dict[str, Any]:
    """Return the fields of a row that say how its networks were made."""
    if isinstance(record, ExternalRecord):
        unknown = dict.fromkeys(
            ("target", "last_norm", "width", "keep_ratio", "allocation", "granularity", "objective")
        )
        origin = record.origin
        stated = {"method": origin.method, "architecture": origin.architecture, "weights": record.graph.weights}
        return {**unknown, **stated, "options": "{}"}
    compression, network = record.compression, record.architecture
    return {
        "method": record.method.name,
        "target": record.method.target,
        "options": options_of(record),
        "weights": compression.weights,
        "last_norm": network.last_norm,
        "architecture": network.name,
        "width": network.width,
        "keep_ratio": compression.keep_ratio,
        "allocation": compression.allocation,
        "granularity": compression.granularity,
        "objective": record.method.objective,
    }


def answers_of(group: Sequence[AnyRecord]) -> dict[str, Answer]:
    """Return the results of the later checks for records that differ in their seeds only."""
    return {name: _answer_of(group, name) for name in OPPONENT_CHECKS}


def _answer_of(group: Sequence[AnyRecord], name: str) -> Answer:
    checks = [check for record in group for check in record.evaluation.health if check.name == name]
    if len(checks) < len(group):
        return Answer("not checked", None)
    verdicts = [check.verdict for check in checks]
    values = [check.value for check in checks if check.value is not None]
    verdict = "not run" if set(verdicts) == {"not run"} else worst_verdict(verdicts)
    return Answer(verdict, mean(values) if len(values) == len(group) else None, hint=name == HINT)


def _wide(group: Sequence[AnyRecord]) -> Wide | None:
    parts = wide_parts(record.evaluation for record in group)
    if not parts:
        return None
    return Wide(
        parts[0].n_images,
        _stat([part.clean_accuracy for part in parts]),
        accuracy_interval([part.right("clean") for part in parts]),
        _stat([part.pgd_accuracy for part in parts]),
        accuracy_interval([part.right("pgd") for part in parts]),
    )


def _stat(values: list[float]) -> Stat:
    return Stat(mean(values), stdev(values) if len(values) > 1 else None)
