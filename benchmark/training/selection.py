"""Validation for model selection: exported networks, recalibrated if the method requires it, on held-out images."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images, clean_verdicts, pgd_verdicts
from benchmark.suite.experiment import Experiment
from benchmark.training.schedule import even_batches

VALIDATION_BATCH = 500
VALIDATION_SEED = 0  # the same random starts every epoch, so that epochs differ by the network alone
# More images hardly change the means, and a forward pass over these costs little compared with an epoch of adversarial
# training on any data set.
RECALIBRATION_IMAGES = 10_000


@torch.no_grad()
def recalibrate(network: nn.Module, images: Images, *, batch_size: int) -> None:
    """Recompute the batch-norm statistics of an exported network on the first training images, in place.

    Every norm gets the average over all batches of the batch's mean and unbiased variance, and normalises by the batch
    as in training. Training images are in hash order, so that the first ones come from all classes. Nothing is random,
    so a resumed run gets the same statistics.

    Args:
        network: plain network; left in eval mode.
        images: training images on the network's device; not augmented.
        batch_size: of training.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain average instead of an exponential one
        norm.train()  # the norms alone: other layers might draw random numbers in train mode
    for batch in even_batches(images.images[:RECALIBRATION_IMAGES], batch_size):
        network(as_float_images(batch))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


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
