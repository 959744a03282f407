"""Training steps of experiments, ready to be timed, on random images of the data set's shape.

A step is the loop's: zero the gradients, loss, backward, optimiser, and the method's own `after_step`; data loading,
validation and checkpoints are not part of it. The phase that has most of the epochs stands for all of them, the later
one of several: phases of a method differ little beside their attack.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from benchmark.data.catalog import DATASETS
from benchmark.data.load import DataInfo, Images, TrainingData
from benchmark.evaluation.accuracy import as_float_images
from benchmark.networks.resnet import network_plan
from benchmark.runtime.seeding import generator_for
from benchmark.suite.experiment import Experiment
from benchmark.suite.registry import ResolvedMethod
from benchmark.suite.target import target_of
from benchmark.training.make_objective import make_objective
from benchmark.training.objectives import PgdObjective
from benchmark.training.schedule import make_optimizer, set_trainable
from methods.base import Batch, Method, Phase


@dataclass
class TrainingStep:
    """A network, its optimiser and its objective; called, it makes the next training step on its batch."""

    method: Method
    phase: Phase
    model: nn.Module
    optimizer: torch.optim.Optimizer
    objective: PgdObjective
    batch: Batch
    steps: int = 0  # made so far

    def __call__(self) -> None:
        """Make one step; on a GPU it returns before the device is done."""
        self.optimizer.zero_grad(set_to_none=True)
        self.method.loss(self.model, self.phase, self.batch, self.objective).backward()
        self.optimizer.step()
        self.method.after_step(self.model, self.phase, self.steps)
        self.steps += 1


def experiment_step(
    experiment: Experiment,
    resolved_method: ResolvedMethod,
    *,
    batch_size: int,
    device: torch.device,
    channels_last: bool = True,
) -> TrainingStep:
    """Build the network, optimiser and objective of an experiment, as its training would.

    Args:
        experiment: of a data set in the catalog.
        resolved_method: its method.
        batch_size: images in the batch; the experiment's own, or fewer where that one takes too long to time.
        device: where to train.
        channels_last: lay network and images out as training does; False keeps the contiguous layout.
    """
    data = random_data(experiment.dataset, batch_size)
    target = target_of(experiment)
    method = resolved_method.create(experiment.method.options, experiment.run)
    objective = make_objective(experiment, data, torch.Generator(device))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    torch.manual_seed(0)
    model = method.build(method.resize(network_plan(experiment.architecture, data.info), target), target)
    model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    phases = method.phases(experiment.training.epochs, target)
    longest = max(range(len(phases)), key=lambda index: (phases[index].epochs, index))
    for phase in phases[: longest + 1]:
        trained = set_trainable(model, phase)
        method.begin_phase(model, phase)
    images = as_float_images(data.train.images).to(device, memory_format=layout)
    batch = Batch(images, data.train.labels.to(device), torch.arange(batch_size, device=device))
    return TrainingStep(method, phase, model.train(), make_optimizer(phase, trained), objective, batch)


def random_data(dataset: str, count: int) -> TrainingData:
    """Return `count` random images of the shape of a data set in the catalog, with random labels."""
    facts = DATASETS[dataset]
    generator = generator_for(torch.device("cpu"), "bench", dataset, count)
    shape = (count, facts.channels, facts.size, facts.size)
    images = Images(
        torch.randint(256, shape, generator=generator, dtype=torch.uint8),
        torch.randint(facts.num_classes, (count,), generator=generator),
    )
    info = DataInfo(
        name=facts.name,
        num_classes=facts.num_classes,
        channels=facts.channels,
        height=facts.size,
        width=facts.size,
        epsilon=facts.epsilon,
        class_names=tuple(str(label) for label in range(facts.num_classes)),
        mean=facts.mean,
        std=facts.std,
        flip=facts.flip,
        crop_padding=facts.crop_padding,
    )
    return TrainingData(info, images, images, sha256="")
