"""The parameters, optimiser and learning rates of a phase, and the batches of its epochs.

Milestones are fractions of a phase, so that presets can scale its length.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmark.runtime.hashing import tensors_sha256
from methods.base import Phase
from methods.layers import parameters_by_role


def make_optimizer(phase: Phase, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the phase's optimiser over the parameters it trains."""
    if phase.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=phase.lr, weight_decay=phase.weight_decay)
    return torch.optim.SGD(parameters, lr=phase.lr, momentum=phase.momentum, weight_decay=phase.weight_decay)


def learning_rate(phase: Phase, epoch: int) -> float:
    """Return the learning rate of an epoch of a phase, counted from 0.

    >>> learning_rate(Phase("train", 4, frozenset({"weights"}), lr=0.1), epoch=2)
    0.05
    """
    if phase.schedule == "step":
        return phase.lr * 0.1 ** sum(epoch >= milestone * phase.epochs for milestone in phase.milestones)
    return phase.lr * (1 + math.cos(math.pi * epoch / phase.epochs)) / 2


def even_batches(rows: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """Cut two or more rows into batches of nearly equal size, from two rows up to about `batch_size`.

    Every row is used, and every batch is large enough for batch norm.

    >>> [len(batch) for batch in even_batches(torch.arange(10), batch_size=4)]
    [4, 3, 3]
    """
    return rows.tensor_split(updates_per_epoch(len(rows), batch_size))


def updates_per_epoch(images: int, batch_size: int) -> int:
    """Return into how many batches `even_batches` cuts so many images."""
    return min(math.ceil(images / batch_size), images // 2)


def set_trainable(model: nn.Module, phase: Phase) -> list[nn.Parameter]:
    """Enable gradients for the parameters that the phase trains, and only for these; return them."""
    trained = []
    for role, parameters in parameters_by_role(model).items():
        for parameter in parameters.values():
            parameter.requires_grad_(role in phase.trains)
            if role in phase.trains:
                trained.append(parameter)
    return trained


def frozen_digest(model: nn.Module, phase: Phase) -> str | None:
    """Hash the parameters that a phase promises not to change; None if there are none."""
    roles = parameters_by_role(model)
    frozen = {name: value for role, part in roles.items() if role not in phase.trains for name, value in part.items()}
    return tensors_sha256(frozen) if frozen else None
