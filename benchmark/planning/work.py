"""What an experiment computes, in numbers: everything that its time is predicted from."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.data.catalog import DATASETS
from benchmark.data.published import TEST_PART
from benchmark.networks.count import forward_flops
from benchmark.networks.resnet import NetworkPlan
from benchmark.planning.cost import training_images, validation_images
from benchmark.planning.measured import Network, TrainingKey
from benchmark.suite.experiment import Experiment
from methods.base import Architecture


@dataclass(frozen=True)
class Work:
    """Sizes of one experiment's training and evaluation."""

    key: TrainingKey
    forward_flops: int  # of one image
    epochs: int  # that the run trains itself
    training_images: int
    validation_images: int  # attacked after every epoch
    selection_steps: int  # PGD steps on the validation images after every epoch
    test_images: int
    further_images: int  # beyond these, clean and PGD only
    pgd_steps: int  # all restarts together
    autoattack_batch: int


def work_of(experiment: Experiment, architecture: Architecture, epochs: int) -> Work | None:
    """Return the work of an experiment; None for a data set or an architecture whose sizes are not known.

    Args:
        experiment: what is run.
        architecture: the network that is built, after the method's `resize`.
        epochs: what the run trains itself, all of them or those after a reused first phase.

    Raises:
        UserError: if PGD is to attack more images than the test part has.
    """
    facts, images, validation = (
        DATASETS.get(experiment.dataset),
        training_images(experiment),
        validation_images(experiment),
    )
    if facts is None or images is None or validation is None or not isinstance(architecture, NetworkPlan):
        return None
    training, evaluation = experiment.training, experiment.evaluation
    most = training.selection_images
    test = TEST_PART[experiment.dataset]
    protocol_images = test if evaluation.images is None else min(test, evaluation.images)
    return Work(
        key=TrainingKey(
            method=experiment.method.name,
            objective=experiment.objective,
            weights=experiment.weights,
            precision=training.precision,
            attack_steps=training.attack.num_steps,
            batch_size=min(training.batch_size, images),
            network=network_of(architecture, facts.size),
        ),
        forward_flops=forward_flops(architecture, facts.channels, facts.size),
        epochs=epochs,
        training_images=images,
        validation_images=validation if most is None else min(validation, most),
        selection_steps=training.selection_steps,
        test_images=protocol_images,
        further_images=(evaluation.wide_images(test) or protocol_images) - protocol_images,
        pgd_steps=evaluation.pgd.steps * evaluation.pgd.restarts,
        autoattack_batch=evaluation.autoattack.batch_size,
    )


def network_of(plan: NetworkPlan, size: int) -> Network:
    """Return what determines the cost of a network.

    Args:
        plan: the network.
        size: height and width of its images.
    """
    return Network(name=plan.name, width=plan.width, channels=plan.in_channels, size=size, classes=plan.num_classes)
