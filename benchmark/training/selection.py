"""Validation for model selection: exported networks, recalibrated if the method requires it, on held-out images."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images, clean_verdicts, pgd_verdicts
from benchmark.networks.resnet import convolutions
from benchmark.runtime.stopping import leave_if_requested
from benchmark.suite.experiment import Experiment
from benchmark.training.processes import ALONE, Processes
from benchmark.training.schedule import even_batches
from methods.base import Method

VALIDATION_BATCH = 500
VALIDATION_SEED = 0  # the same random starts every epoch, so that epochs differ by the network alone
# More images hardly change the means, and a forward pass over these costs little compared with an epoch of adversarial
# training on any data set.
RECALIBRATION_IMAGES = 10_000


@dataclass(frozen=True)
class Validated:
    """An epoch's exported network, its clean and PGD accuracy in [0, 1], and the seconds that these took."""

    network: nn.Module
    clean: float
    robust: float
    seconds: float

    @property
    def kept_weights(self) -> int:
        """The number of weights that are not zero in the network's convolutions."""
        return sum(int(conv.weight.count_nonzero()) for conv in convolutions(self.network).values())


def export_and_validate(
    method: Method,
    model: nn.Module,
    training: Images,
    validation: Images,
    experiment: Experiment,
    processes: Processes = ALONE,
) -> Validated:
    """Export the network as it is now, recalibrate it if the method requires it, and validate it.

    All processes get the same network and accuracies; each has validated its share of the images.

    Raises:
        Stopped: if a stop is requested meanwhile.
    """
    started = time.perf_counter()
    network = method.export(model)
    with processes.leaving_together():
        if method.bn_recalibrate:
            recalibrate(network, training, batch_size=experiment.training.batch_size)
        clean, robust = validate(network, validation, experiment, processes)
    return Validated(network, clean, robust, time.perf_counter() - started)


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
        leave_if_requested()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def validate(
    network: nn.Module, images: Images, experiment: Experiment, processes: Processes = ALONE
) -> tuple[float, float]:
    """Return clean and PGD accuracy of an exported network on the validation part, both in [0, 1].

    Each process attacks its share of the images, with the random starts that they have for one process.

    Raises:
        Stopped: if a stop is requested meanwhile.
    """
    epsilon, own = float(Fraction(experiment.epsilon)), processes.among(len(images))
    robust = pgd_verdicts(
        network,
        images,
        epsilon=epsilon,
        step_size=epsilon / 4,
        steps=experiment.training.selection_steps,
        restarts=1,
        seed=VALIDATION_SEED,
        batch_size=VALIDATION_BATCH,
        among=own,
        progress=lambda share: leave_if_requested(),
    )
    mine = images
    if own is not None:
        place = own.to(images.labels.device)
        mine = Images(images.images[place], images.labels[place])
    clean = clean_verdicts(network, mine, batch_size=VALIDATION_BATCH)
    return _mean(clean, len(images), processes), _mean(robust, len(images), processes)


def _mean(verdicts: Tensor, images: int, processes: Processes) -> float:
    """Return the share of right verdicts among those of all processes, as the float32 that the verdicts' mean is."""
    return float(torch.tensor(processes.total(int(verdicts.sum())), dtype=torch.float32) / images)
