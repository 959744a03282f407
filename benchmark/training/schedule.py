"""Optimisers and learning-rate schedules of phases, and batches of epochs.

Schedules are fractions of a phase, so that presets scale.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from methods.base import Phase


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
    """Cut at least two rows into batches of nearly equal size, of two rows at least and about `batch_size` at most.

    No row is left out, and no batch is too small for batch norm.

    >>> [len(batch) for batch in even_batches(torch.arange(10), batch_size=4)]
    [4, 3, 3]
    """
    return rows.tensor_split(min(math.ceil(len(rows) / batch_size), len(rows) // 2))
