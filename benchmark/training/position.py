"""How far an epoch has come: what a checkpoint within it needs besides network, optimiser and objective."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Position:
    """A place between two updates of an epoch, at its beginning by default."""

    updates: int = 0  # of the epoch that are done
    loss: Tensor | None = None  # the sum of their losses, a scalar on the training device; None before the first
    generators: dict[str, Tensor] = field(default_factory=dict)  # states of the random streams after them

    def save_generators(self, objective: torch.Generator) -> None:
        """Keep the states of torch's global generators, which methods draw from, and that of the objective."""
        self.generators = {"global": torch.get_rng_state(), "objective": objective.get_state()}
        if objective.device.type == "cuda":
            self.generators["device"] = torch.cuda.get_rng_state(objective.device)

    def restore_generators(self, objective: torch.Generator) -> None:
        """Restore what `save_generators` kept.

        A position that was saved on another kind of device restores the global generator alone: generators of different
        devices have different states, and the draws on another device are other numbers anyway.
        """
        torch.set_rng_state(self.generators["global"])
        if ("device" in self.generators) == (objective.device.type == "cuda"):
            objective.set_state(self.generators["objective"])
        if "device" in self.generators and objective.device.type == "cuda":
            torch.cuda.set_rng_state(self.generators["device"], objective.device)
