"""One setting on a board: which records share its row, and the row's numbers over all seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import stdev
from typing import Literal

from pydantic import JsonValue

from benchmark.leaderboard.board.classes import SizeClass, size_class
from benchmark.leaderboard.board.costs import Costs, costs_of, mean
from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.reproduction import Comparison, compared
from benchmark.leaderboard.formats import HINT, options_text, short
from benchmark.results.evaluation import HEALTH_ORDER, OPPONENT_CHECKS, wide_parts, worst_verdict
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
    target: str
    options: str  # settings of the method that are not its defaults, the run it began with, reduced precision; as JSON
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
    robust: Stat  # best known: classified correctly under every attack
    interval: tuple[float, float]  # 95% of `robust`: Wilson's, or the bootstrap's over several seeds
    wide: Wide | None  # None unless all seeds were measured on the same further images
    health: str  # the worst verdict on the gradients of its networks
    doubts: tuple[str, ...]  # reasons of the checks that are suspect
    opponent: Mapping[str, Answer]  # by check, see OPPONENT_CHECKS
    costs: Costs
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    records: tuple[Record, ...]  # one per seed, in the order of the seeds, with accepted challenges applied
    reported: ReportedRow | None  # the published result that the row reproduces
    footnotes: tuple[int, ...]  # numbers, from 1, into the board's footnotes
    reasons: tuple[str, ...]  # why the row is refused; empty if it is ranked

    @cached_property  # a bootstrap, which many columns ask for
    def against_reported(self) -> Comparison | None:
        """AutoAttack's accuracy beside the published one; None if the row reproduces none."""
        return compared(self.reported, self.records, "autoattack")

    @cached_property
    def clean_against_reported(self) -> Comparison | None:
        """The same for the clean accuracy, which not every published result has."""
        return compared(self.reported, self.records, "clean")

    @property
    def options_text(self) -> str:
        """The options as 'name=value, name=value'."""
        return _spelled(self.options)


@lru_cache(maxsize=1024)  # every page needs the same few
def _spelled(options: str) -> str:
    return options_text(json.loads(options))


def setting_of(record: Record) -> str:
    """Return everything that was chosen for a run except its seed; runs with equal settings share a row."""
    chosen = record.model_dump(
        mode="json",
        include={
            "preset": True,
            "dataset": True,
            "architecture": True,
            "method": {"name", "options", "objective"},
            "compression": {"weights", "keep_ratio", "allocation", "budget"},
            "training": {"epochs", "batch_size"},
            "evaluation": {"autoattack": {"package", "package_version", "seed", "batch_size"}},
        },
    )
    # The resolved experiment holds what the parts above do not, such as the attack inside training. Of the method
    # only the hash of a user's own file counts: a built-in method stays the same when a comment in it changes.
    covered = {"seed", "suite", "method", "evaluation", "first_phase"}
    config = {key: value for key, value in record.provenance.config.items() if key not in covered}
    method = record.provenance.config.get("method")
    config["source"] = method.get("source_sha256") if isinstance(method, dict) else None
    config["first_phase"] = _first_phase(record)
    return json.dumps([chosen, config], sort_keys=True)


def _first_phase(record: Record) -> str | None:
    """Return the cell of the run that the method began with, the same for every seed; None if it began with none."""
    first_phase = record.training.first_phase
    return None if first_phase is None else first_phase.run.rpartition("/")[0]


def _options(record: Record) -> str:
    options = dict(record.method.options)
    if cell := _first_phase(record):
        options["first_phase"] = "/".join(cell.split("/")[-2:])  # the data and the network are the row's own
    if (precision := _precision(record)) != "fp32":
        options["training_precision"] = precision
    return json.dumps(options, sort_keys=True)


def _precision(record: Record) -> str:
    """Return the number format of training, float32 unless the run declared another."""
    return str(training_setting(record, "precision", "fp32"))


def training_setting(record: Record, name: str, default: JsonValue = None) -> JsonValue:
    """Return a setting of training from the record's resolved experiment, or `default`; its type is not checked."""
    training = record.provenance.config.get("training")
    return training.get(name, default) if isinstance(training, dict) else default


def make_row(group: list[Record], reasons: tuple[str, ...]) -> Row:
    """Return the row, not ranked yet, of records that differ in their seeds only, in the order of the seeds.

    `reasons`: why it is refused; empty if it may be ranked.
    """
    first = group[0]
    costs = costs_of(group)
    robust = _stat([record.evaluation.best_known_accuracy for record in group])
    return Row(
        id=first.run_hash[:ID_DIGITS],
        rank=None,
        tie=None,
        fronts=(),
        size_class=size_class(costs.size_bytes),
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
        interval=accuracy_interval([record.evaluation.right("robust") for record in group]),
        wide=_wide(group),
        health=max((record.evaluation.health_verdict for record in group), key=HEALTH_ORDER.index),
        doubts=tuple(
            f"{check.name}, seed {record.seed}: {check.reason}"
            for record in group
            for check in record.evaluation.health
            if check.verdict == "suspect"
        ),
        opponent=answers_of(group),
        costs=costs,
        seeds=tuple(record.seed for record in group),
        runs=tuple(record.run for record in group),
        records=tuple(group),
        reported=None,
        footnotes=(),
        reasons=reasons,
    )


def answers_of(group: Sequence[Record]) -> dict[str, Answer]:
    """Return the results of the later checks for records that differ in their seeds only."""
    return {name: _answer_of(group, name) for name in OPPONENT_CHECKS}


def _answer_of(group: Sequence[Record], name: str) -> Answer:
    checks = [check for record in group for check in record.evaluation.health if check.name == name]
    if len(checks) < len(group):
        return Answer("not checked", None)
    verdicts = [check.verdict for check in checks]
    values = [check.value for check in checks if check.value is not None]
    verdict = "not run" if set(verdicts) == {"not run"} else worst_verdict(verdicts)
    return Answer(verdict, mean(values) if len(values) == len(group) else None, hint=name == HINT)


def _wide(group: list[Record]) -> Wide | None:
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
