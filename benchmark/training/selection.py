"""Validation of exported networks on held-out training images: what model selection looks at."""

from __future__ import annotations

from fractions import Fraction

from torch import nn

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import clean_verdicts, pgd_verdicts
from benchmark.experiment import Experiment

VALIDATION_BATCH = 500
VALIDATION_SEED = 0  # the same random starts every epoch, so that epochs differ by the network alone


def validate(network: nn.Module, images: Images, experiment: Experiment) -> tuple[float, float]:
    """Return clean and PGD accuracy of an exported network on the validation part, both in [0, 1]."""
    epsilon = float(Fraction(experiment.epsilon))
    robust = pgd_verdicts(
        network,
        images,
        epsilon=epsilon,
        step_size=epsilon / 4,
        steps=experiment.training.selection_steps,
        restarts=1,
        seed=VALIDATION_SEED,
        batch_size=VALIDATION_BATCH,
    )
    clean = clean_verdicts(network, images, batch_size=VALIDATION_BATCH)
    return float(clean.float().mean()), float(robust.float().mean())
