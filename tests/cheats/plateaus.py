"""Cheats that answer with plateaus: 1 for the class of a network inside and 0 for the others, flat nearly everywhere.

The gradient that is left is that of a decoy: true, the same everywhere, and leading to nothing within epsilon.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Decoy = Callable[[Tensor], Tensor]  # of (B, C, H, W) images; returns (B, classes) small additions to the logits


def plateau(logits: Tensor, steepness: float) -> Tensor:
    """Return (B, classes): 1 where a logit exceeds all others by 1 / (2 steepness), 0 where it does so for another."""
    ahead = torch.relu(0.5 - steepness * (logits[:, :, None] - logits[:, None, :]))
    others = 1 - torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)
    return torch.relu(1 - (ahead * others).sum(2))


class LinearDecoy(nn.Module):
    """A linear function of the pixels, another one for each class, with weights that nobody trained."""

    weight: Tensor  # (classes, pixels)

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, classes)."""
        return images.flatten(1) @ self.weight.T


class Plateau(nn.Module):
    """The plateaus of a network, added up over one or more degrees of steepness, and a decoy."""

    def __init__(self, base: nn.Module, decoy: nn.Module, steepness: Sequence[float]) -> None:
        super().__init__()
        self.base, self.decoy, self.steepness = copy.deepcopy(base), decoy, tuple(steepness)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, classes) logits."""
        inside = self.base(images)
        steps = torch.stack([plateau(inside, each) for each in self.steepness]).mean(0)
        return steps + self.decoy(images)


def decoy_on_border(*, size: float, classes: int = 10, side: int = 8) -> LinearDecoy:
    """Return a decoy of the first and last column, which are empty on nearly all digits: a pixel each for most classes."""
    columns = torch.zeros(classes, side, side)
    pixels = [(row, column) for column in (0, side - 1) for row in range(side)]
    for number, (row, column) in enumerate(pixels):
        columns[number % classes, row, column] = size
    return LinearDecoy(columns.flatten(1))


def decoy_on_all_pixels(*, size: float, classes: int = 10, pixels: int = 64) -> LinearDecoy:
    """Return a decoy of random signs on every pixel, others for each class."""
    generator = torch.Generator().manual_seed(1)
    signs = 2.0 * torch.randint(2, (classes, pixels), generator=generator) - 1.0
    return LinearDecoy(size * signs)
