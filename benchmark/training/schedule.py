"""Optimisers and learning-rate schedules of phases. Schedules are fractions of a phase, so that presets scale."""

from __future__ import annotations

import math

import torch
from torch import nn

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
