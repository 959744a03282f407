"""A cheat with the gradient of a sawtooth in every pixel: tiny in value, huge in slope, correct, and useless."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from tests.cheats.plateaus import plateau


def triangle(values: Tensor, period: float) -> Tensor:
    """Return a wave between -1 and 1 that rises and falls in straight lines."""
    phase = torch.remainder(values / period, 1.0)
    return 1.0 - 4.0 * (phase - 0.5).abs()


class Sawtooth(nn.Module):
    """Plateaus of a network, waves across random mixes of the pixels, and a weak slope that leads out far away."""

    mixes: Tensor  # (pixels, waves)
    signs: Tensor  # (waves, classes)

    def __init__(self, base: nn.Module, decoy: nn.Module, *, steepness: float, period: float, size: float) -> None:
        super().__init__()
        self.base, self.decoy = copy.deepcopy(base), decoy
        self.steepness, self.period, self.size = steepness, period, size
        generator = torch.Generator().manual_seed(2)
        self.register_buffer("mixes", (2.0 * torch.randint(2, (64, 64), generator=generator) - 1.0) / 8)
        self.register_buffer("signs", 2.0 * torch.randint(2, (64, 10), generator=generator) - 1.0)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, classes) logits."""
        waves = self.size * triangle(images.flatten(1) @ self.mixes, self.period) @ self.signs
        return plateau(self.base(images), self.steepness) + waves + self.decoy(images)
