"""The training losses by name, and what each costs. `training.make_objective` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Objective = Literal["pgd", "fast", "trades", "half_clean", "clean"]


@dataclass(frozen=True)
class ObjectiveCost:
    """Passes that one training image needs in one epoch."""

    attack_steps: int | None  # each a pass forward and one back to the input; None: as many as the training attack has
    predictions: int  # passes forward alone
    updates: int  # images in the update's loss, the adversarial one and the clean one


OBJECTIVES: dict[Objective, ObjectiveCost] = {
    "pgd": ObjectiveCost(attack_steps=None, predictions=0, updates=1),
    "fast": ObjectiveCost(attack_steps=1, predictions=0, updates=1),
    # The attack predicts the clean image once.
    "trades": ObjectiveCost(attack_steps=None, predictions=1, updates=2),
    "half_clean": ObjectiveCost(attack_steps=None, predictions=0, updates=2),
    "clean": ObjectiveCost(attack_steps=0, predictions=0, updates=1),
}


def passes_per_image(objective: Objective, attack_steps: int) -> float:
    """Return the forward-and-backward passes per training image and epoch; a forward pass alone counts half.

    Args:
        objective: the training loss.
        attack_steps: of the training attack.
    """
    cost = OBJECTIVES[objective]
    return _steps(cost, attack_steps) + cost.predictions / 2 + cost.updates


def forward_runs(objective: Objective, attack_steps: int) -> int:
    """Return the cost of one training image in one epoch, in forward runs of one image.

    A pass of the attack counts as two, the forward run itself and the gradient by the input; a pass of the update
    counts as three, because it also needs the gradient by the weights.

    Args:
        objective: the training loss.
        attack_steps: of the training attack.
    """
    cost = OBJECTIVES[objective]
    return 2 * _steps(cost, attack_steps) + cost.predictions + 3 * cost.updates


def _steps(cost: ObjectiveCost, attack_steps: int) -> int:
    return attack_steps if cost.attack_steps is None else cost.attack_steps
