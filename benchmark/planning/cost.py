"""What training will cost: the images of a pass, and floating-point operations.

Multiply-adds are those of the convolutions, counted from their shapes; everything else in these networks is less than
a hundredth. One multiply-add is two FLOPs. A pass of the attack counts as two forward runs, the forward run itself and
the gradient by the input; a pass of the update counts as three, because it also needs the gradient by the weights.
Zeros save nothing here: while it is trained, a sparse network is computed like a dense one. Validation after every
epoch and the evaluation at the end are left out.
"""

from __future__ import annotations

from benchmark.data.catalog import DATASETS
from benchmark.data.published import TRAINING_PART
from benchmark.data.splits import VALIDATION_SHARE
from benchmark.networks.count import forward_flops
from benchmark.suite.experiment import Experiment
from benchmark.suite.objectives import forward_runs
from methods.base import Architecture


def training_images(experiment: Experiment) -> int | None:
    """Return the images that one pass covers; None for a data set whose size is not known before it is read."""
    whole, validation = TRAINING_PART.get(experiment.dataset), validation_images(experiment)
    if whole is None or validation is None:
        return experiment.train_images
    images = whole - validation
    return images if experiment.train_images is None else min(images, experiment.train_images)


def validation_images(experiment: Experiment) -> int | None:
    """Return the images of the validation part; None for a data set whose size is not known."""
    whole = TRAINING_PART.get(experiment.dataset)
    return None if whole is None else max(1, round(VALIDATION_SHARE * whole))


def training_flops(experiment: Experiment, architecture: Architecture, epochs: int) -> int | None:
    """Return the FLOPs of training; None for a data set whose size is not known before it is read.

    Args:
        experiment: what is trained.
        architecture: the network that is built, after the method's `resize`.
        epochs: what the run trains itself, all of them or those after a reused first phase.
    """
    facts, images = DATASETS.get(experiment.dataset), training_images(experiment)
    if facts is None or images is None:
        return None
    forward = forward_flops(architecture, facts.channels, facts.size)
    return epochs * images * forward_runs(experiment.objective, experiment.training.attack.num_steps) * forward
