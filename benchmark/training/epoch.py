"""One epoch of training: every image once, in batches of nearly equal size."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images
from benchmark.training.objectives import PgdObjective
from benchmark.training.position import Position
from benchmark.training.processes import ALONE, Processes
from benchmark.training.progress import Progress
from benchmark.training.schedule import even_batches
from benchmark.training.state import TrainingFailed
from methods.base import Batch, Method, Phase


def as_training_images(images: Tensor) -> Tensor:
    """Turn (B, C, H, W) uint8 pixels into float32 in [0, 1], in the network's memory layout."""
    return as_float_images(images).contiguous(memory_format=torch.channels_last)


def train_epoch(
    method: Method,
    model: nn.Module,
    phase: Phase,
    objective: PgdObjective,
    optimizer: torch.optim.Optimizer,
    images: Images,
    position: Position,
    *,
    epoch: int,
    first_step: int,
    batch_size: int,
    seed: int,
    report: Callable[[str], None],
    processes: Processes = ALONE,
) -> float:
    """Run one epoch, or the rest of it, and return its mean loss.

    Args:
        method: computes the loss and acts after each update.
        model: the network made of the method's layers, on the device of the images.
        phase: the current phase.
        objective: the adversarial loss; its generator is seeded here.
        optimizer: of the phase.
        images: to train on, on the training device.
        position: where to begin; follows the updates, so that a checkpoint may be made when this returns or is left.
        epoch: of the phase, from 0.
        first_step: number of updates made in this phase before the epoch.
        batch_size: approximate number of images in an update.
        seed: of all random draws in this epoch.
        report: receives a line every few seconds.
        processes: all of them call this with the same arguments, and make the same updates.

    Raises:
        Stopped: after an update, if a stop was requested.
        TrainingFailed: if the mean loss is not finite.
    """
    torch.manual_seed(seed)
    objective.generator.manual_seed(seed)
    if position.updates:
        position.restore_generators(objective.generator)
    model.train()
    device = images.labels.device
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    batches = even_batches(order.to(device), batch_size)
    total = torch.zeros((), device=device) if position.loss is None else position.loss.to(device)
    progress = Progress(len(batches), f"{phase.name:<9}{epoch + 1:>4}/{phase.epochs:<4}", report, position.updates)
    try:
        for share in processes.shares(batches[position.updates :], device):
            batch = Batch(as_training_images(images.images[share.rows]), images.labels[share.rows], share.rows)
            optimizer.zero_grad(set_to_none=True)
            with processes.computing(share, model, objective.part):
                loss = method.loss(model, phase, batch, objective)
            total += processes.backward(loss, share, model)
            optimizer.step()
            method.after_step(model, phase, first_step + position.updates)
            position.updates += 1
            progress.count()
            processes.leave_if_requested()
    finally:
        position.loss = total
        position.save_generators(objective.generator)
    mean = float(total) / len(batches)
    if not math.isfinite(mean):
        raise TrainingFailed(f"the loss is {mean} in epoch {epoch + 1} of phase {phase.name}; lower the learning rate")
    return mean
