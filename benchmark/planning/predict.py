"""How long an experiment takes, from what was measured. Pure: numbers in, numbers out.

A training step that was measured is taken as it is. Any other is scaled by FLOPs from the nearest that was: of the same
objective if there is one, then of the same precision, then of the nearest network and batch. So is the evaluation.
AutoAttack drops an image once it is misclassified, so its time depends on how many survive, which is unknown before:
the share in earlier records of the same data set and epsilon is taken, or else ROBUST_SHARE.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmark.planning.measured import EvaluationEntry, Measurement, TrainingEntry
from benchmark.planning.work import Work
from benchmark.suite.objectives import forward_runs

ROBUST_SHARE = 0.45  # of the test images
# The gradient checks run PGD of the protocol's steps about 11 times, and some steps more, on at most 64 images.
HEALTH_ROUNDS, HEALTH_STEPS, HEALTH_IMAGES = 11, 10, 64
# Every attack but the first gets only the images that survived the first; the first gets all.
FIRST_ATTACK = "apgd-ce"
FIXED = 2.0  # seconds to read the data, pack the network and time one image


@dataclass(frozen=True)
class Prediction:
    """Seconds of the parts of one experiment, alone on the threads that were measured."""

    training: float
    validation: float  # after every epoch, all epochs together
    evaluation: float  # clean images, PGD and the gradient checks
    autoattack: float
    exact: bool  # whether this very step and network were measured, rather than scaled from others

    @property
    def total(self) -> float:
        """Seconds from start to record."""
        return self.training + self.validation + self.evaluation + self.autoattack + FIXED


def predict(work: Work, measured: Measurement, *, robust_share: float = ROBUST_SHARE) -> Prediction | None:
    """Predict how long an experiment takes; None if nothing was measured that it could be predicted from.

    Args:
        work: what it computes.
        measured: on the machine where it is to run.
        robust_share: of the test images, expected to survive AutoAttack, in [0, 1].
    """
    if not measured.training or not measured.evaluation:
        return None
    step = min(measured.training, key=lambda entry: _training_distance(entry, work))
    network = min(measured.evaluation, key=lambda entry: _evaluation_distance(entry, work, robust_share))
    pgd = network.pgd_seconds * work.forward_flops / network.forward_flops  # one step of one image
    clean = network.clean_seconds * work.forward_flops / network.forward_flops
    health = min(HEALTH_IMAGES, work.test_images) * (HEALTH_ROUNDS * work.pgd_steps + HEALTH_STEPS)
    images = work.test_images + work.further_images
    return Prediction(
        training=work.epochs * work.training_images * _training_seconds(step, work),
        validation=work.epochs * work.validation_images * (work.selection_steps * pgd + 2 * clean),
        evaluation=(images * work.pgd_steps + health) * pgd + images * clean,
        autoattack=_autoattack_seconds(network, work, robust_share),
        exact=step.key == work.key and network.network == work.key.network,
    )


def _training_seconds(entry: TrainingEntry, work: Work) -> float:
    """Return the seconds of one training image in one epoch."""
    return entry.seconds / entry.key.batch_size * _training_flops(work) / _entry_flops(entry)


def _training_flops(work: Work) -> int:
    return forward_runs(work.key.objective, work.key.attack_steps) * work.forward_flops


def _entry_flops(entry: TrainingEntry) -> int:
    return forward_runs(entry.key.objective, entry.key.attack_steps) * entry.forward_flops


def _autoattack_seconds(entry: EvaluationEntry, work: Work, robust_share: float) -> float:
    scale = work.test_images * work.forward_flops / entry.forward_flops
    return sum(
        seconds * scale * (1.0 if attack == FIRST_ATTACK else robust_share)
        for attack, seconds in entry.autoattack.items()
    )


def _log_ratio(a: float, b: float) -> float:
    """Return how far apart two positive numbers are, as the logarithm of their ratio."""
    return abs(math.log(a / b))


def _training_distance(entry: TrainingEntry, work: Work) -> tuple[bool | float, ...]:
    key, wanted = entry.key, work.key
    return (
        key != wanted,
        key.objective != wanted.objective,
        key.precision != wanted.precision,
        _log_ratio(entry.forward_flops, work.forward_flops),
        key.network.size != wanted.network.size,
        (key.method != wanted.method) + (key.weights != wanted.weights),
        _log_ratio(key.batch_size, wanted.batch_size),
        _log_ratio(key.attack_steps, wanted.attack_steps),
    )


def attacked_images(work: Work, robust_share: float = ROBUST_SHARE) -> int:
    """Return the images in a typical batch of AutoAttack's costly attacks, which get only survivors of the first."""
    return max(1, min(work.autoattack_batch, round(work.test_images * robust_share)))


def _evaluation_distance(entry: EvaluationEntry, work: Work, robust_share: float) -> tuple[bool | float, ...]:
    return (
        entry.network != work.key.network,
        not entry.autoattack,
        _log_ratio(entry.forward_flops, work.forward_flops),
        _log_ratio(entry.images, attacked_images(work, robust_share)),
    )
