"""Which published result a network reproduces, by one strict rule for planned experiments and for records.

In doubt a network reproduces nothing: a difference from a published number is shown only where both were trained alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from benchmark.leaderboard.board.reference import ReportedRow, published_schedule
from benchmark.results.protocol import default_pgd_step
from benchmark.results.record import Record
from benchmark.results.statistics import accuracy_interval
from benchmark.suite.experiment import Experiment, TrainingSpec
from methods import BUILT_IN

TRAINING_IMAGES = 50_000  # of CIFAR-10 and of CIFAR-100, validation included
TEST_IMAGES = 10_000  # likewise; the published numbers are of all of them


@dataclass(frozen=True)
class Comparison:
    """A published number and the one measured here. Accuracies are fractions, the difference is measured - reported."""

    reported: float
    measured: float  # mean over the seeds
    difference: float
    n_seeds: int
    interval: tuple[float, float]  # 95% of what was measured


def find_reported(experiment: Experiment, rows: Sequence[ReportedRow]) -> ReportedRow | None:
    """Return the published result that an experiment reproduces, or None.

    Only a built-in method does, at full size on all images with the paper's schedule, with all its phases trained by
    the run itself, with the options behind the published number, stored in float32.

    Args:
        experiment: what is trained.
        rows: as `load_reported` returns them; of several for one cell the first one counts.
    """
    method, architecture = experiment.method, experiment.architecture
    if BUILT_IN.get(method.name) != method.target or method.source_sha256 is not None:
        return None
    if experiment.preset != "paper" or experiment.train_images is not None or experiment.first_phase is not None:
        return None
    if experiment.granularity != "weight" or experiment.artifact.weights != "stored":
        return None
    if architecture.width != 1.0 or experiment.artifact.statistics != "float32" or not _paper_schedule(experiment):
        return None
    allocation = None if experiment.keep_ratio == 1.0 else experiment.allocation
    cell = (experiment.dataset, experiment.epsilon, method.name, architecture.name)
    target = (architecture.last_norm, experiment.keep_ratio, allocation, experiment.weights)
    for row in rows:
        if (
            (row.dataset, row.epsilon, row.method, row.architecture) == cell
            and (row.last_norm, row.keep_ratio, row.allocation, row.weights) == target
            and (row.objective == "fast") == (experiment.objective == "fast")
            and row.options == method.options
        ):
            return row
    return None


def reported_of(group: Sequence[Record], rows: Sequence[ReportedRow]) -> ReportedRow | None:
    """Return the published result that every record of a row reproduces, or None; see `find_reported`."""
    reported = [_reported_of_record(record, rows) for record in group]
    return reported[0] if reported and all(each is not None and each is reported[0] for each in reported) else None


def compared(
    reported: ReportedRow | None, group: Sequence[Record], measure: Literal["autoattack", "clean"]
) -> Comparison | None:
    """Compare a row's networks with the published result they reproduce.

    Args:
        reported: that result; None: there is none.
        group: the records of the row, one per seed.
        measure: "autoattack", which the paper calls robust accuracy, or "clean".

    Returns:
        The comparison; None if no such number was published.
    """
    if reported is None:
        return None
    published = reported.robust if measure == "autoattack" else reported.clean
    if published is None:
        return None
    right = [record.evaluation.right(measure) for record in group]
    counted, images = sum(int(bits.sum()) for bits in right), sum(bits.size for bits in right)
    measured = counted / images
    return Comparison(published, measured, round(measured - published, 9), len(group), accuracy_interval(right))


def _paper_schedule(experiment: Experiment) -> bool:
    training = experiment.training
    schedule = published_schedule(experiment.method.name, experiment.objective, experiment.weights, experiment.dataset)
    if schedule is None:
        return False
    epochs, batch_size = schedule
    paper = TrainingSpec(epochs=epochs, batch_size=batch_size)
    usual_step = experiment.attack_step == default_pgd_step(experiment.epsilon)  # also where it is spelled out
    attack = training.attack.model_copy(update={"step_size": None})
    return usual_step and training.model_copy(update={"attack": attack}) == paper


def _reported_of_record(record: Record, rows: Sequence[ReportedRow]) -> ReportedRow | None:
    if record.preset != "paper":  # which decides nearly every case without reading the configuration
        return None
    try:
        experiment = Experiment.model_validate(record.provenance.config)
    except ValidationError:
        return None
    return find_reported(experiment, rows) if _is_of(experiment, record) else None


def _is_of(experiment: Experiment, record: Record) -> bool:
    """Return whether the record's own parts agree with its resolved experiment, so that neither can be borrowed."""
    data, network, method, kept = record.dataset, record.architecture, record.method, record.compression
    recorded = (
        *(record.run, record.run_hash, record.preset, record.seed, data.name, record.evaluation.epsilon),
        *(network.name, network.width, network.last_norm, method.name, method.target, method.options),
        *(method.objective, kept.weights, kept.keep_ratio, kept.allocation, record.artifact.statistics),
        *(record.training.epochs, record.training.batch_size, record.training.first_phase),
        data.train_images + data.validation_images,
    )
    chosen, spec = experiment.method, experiment.architecture
    return recorded == (
        *(experiment.run, experiment.run_hash, experiment.preset, experiment.seed),
        *(experiment.dataset, experiment.epsilon, spec.name, spec.width, spec.last_norm),
        *(chosen.name, chosen.target, chosen.options, experiment.objective),
        *(experiment.weights, experiment.keep_ratio, experiment.allocation, experiment.artifact.statistics),
        *(experiment.training.epochs, experiment.training.batch_size, None),
        TRAINING_IMAGES,
    )
