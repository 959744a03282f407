"""Which parameters a phase trains, and proof that the others stay as they were."""

from __future__ import annotations

from torch import nn

from benchmark.hashing import tensors_sha256
from methods.base import Phase
from methods.layers import parameters_by_role


def set_trainable(model: nn.Module, phase: Phase) -> list[nn.Parameter]:
    """Switch gradients on for what the phase trains, off for the rest; return the trained parameters."""
    trained = []
    for role, parameters in parameters_by_role(model).items():
        for parameter in parameters.values():
            parameter.requires_grad_(role in phase.trains)
            if role in phase.trains:
                trained.append(parameter)
    return trained


def frozen_digest(model: nn.Module, phase: Phase) -> str | None:
    """Hash the parameters a phase promises to leave alone; None if there are none."""
    roles = parameters_by_role(model)
    frozen = {name: value for role, part in roles.items() if role not in phase.trains for name, value in part.items()}
    return tensors_sha256(frozen) if frozen else None
