"""The training losses by name, and the cost of each; `training.make_objective` creates them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Objective = Literal["pgd", "fast", "trades", "half_clean", "clean"]


@dataclass(frozen=True)
class ObjectiveCost:
    """Passes per training image and epoch."""

    attack_steps: int | None  # forward passes with a gradient by the input; None: those of the training attack
    predictions: int  # forward passes only
    updates: int  # images in the loss of the update: adversarial, clean or both


OBJECTIVES: dict[Objective, ObjectiveCost] = {
    "pgd": ObjectiveCost(attack_steps=None, predictions=0, updates=1),
    "fast": ObjectiveCost(attack_steps=1, predictions=0, updates=1),
    # The attack predicts the clean image once.
    "trades": ObjectiveCost(attack_steps=None, predictions=1, updates=2),
    "half_clean": ObjectiveCost(attack_steps=None, predictions=0, updates=2),
    "clean": ObjectiveCost(attack_steps=0, predictions=0, updates=1),
}


def passes_per_image(objective: Objective, attack_steps: int) -> float:
    """Return the forward-and-backward passes per training image and epoch; a forward pass alone counts as half.

    Args:
        objective: the training loss.
        attack_steps: number of steps of the training attack.
    """
    cost = OBJECTIVES[objective]
    return _steps(cost, attack_steps) + cost.predictions / 2 + cost.updates


def forward_runs(objective: Objective, attack_steps: int) -> int:
    """Return the cost of one training image in one epoch, in forward passes of one image.

    A pass of the attack counts as two, the forward pass and the gradient by the input; a pass of the update counts as
    three, because it also needs the gradient by the weights.

    Args:
        objective: the training loss.
        attack_steps: number of steps of the training attack.
    """
    cost = OBJECTIVES[objective]
    return 2 * _steps(cost, attack_steps) + cost.predictions + 3 * cost.updates


def _steps(cost: ObjectiveCost, attack_steps: int) -> int:
    return attack_steps if cost.attack_steps is None else cost.attack_steps
