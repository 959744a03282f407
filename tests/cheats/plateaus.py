"""Cheats whose logits are plateaus: 1 for the class of a network inside and 0 for the others, flat nearly everywhere.

The remaining gradient is that of a decoy: correct, the same everywhere, and leading nowhere within epsilon.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def plateau(logits: Tensor, steepness: float, lead: float = 0.0) -> Tensor:
    """Return (B, classes): 1 where a logit exceeds all others by `lead` + 1 / (2 steepness), 0 for other classes."""
    ahead = torch.relu(0.5 - steepness * (logits[:, :, None] - logits[:, None, :] - lead))
    others = 1 - torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)
    return torch.relu(1 - (ahead * others).sum(2))


class LinearDecoy(nn.Module):
    """A linear function of the pixels with untrained weights, different for each class."""

    weight: Tensor  # (classes, pixels)

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, classes)."""
        return images.flatten(1) @ self.weight.T


class Plateau(nn.Module):
    """Plateaus of a network and a decoy; several leads make a staircase with one step for each."""

    def __init__(
        self, base: nn.Module, decoy: nn.Module, *, steepness: float = 1e3, leads: Sequence[float] = (0.0,)
    ) -> None:
        super().__init__()
        self.base, self.decoy, self.steepness, self.leads = copy.deepcopy(base), decoy, steepness, tuple(leads)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, classes) logits."""
        return self.answer(self.base(images)) + self.decoy(images)

    def answer(self, inside: Tensor) -> Tensor:
        """Return the plateaus (B, classes) of the inner network's logits."""
        return torch.stack([plateau(inside, self.steepness, lead) for lead in self.leads]).mean(0)


class Gated(Plateau):
    """Plateaus only near the data: on images with more grey than digits, the network inside answers."""

    grey = 8.0, 9.0  # of 64 pixels, where the plateaus start to fade and are gone; digits within epsilon: 4 to 8.2

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, classes) logits."""
        inside, (least, most) = self.base(images), self.grey
        far = (((images * (1 - images)).flatten(1).sum(1, keepdim=True) - least) / (most - least)).clamp(0, 1)
        return (1 - far) * self.answer(inside) + far * inside + self.decoy(images)


class Reversed(Plateau):
    """Plateaus and a decoy that leads away from the class boundary: the negated logits of the network inside."""

    share = 0.03

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, classes) logits."""
        inside = self.base(images)
        return self.answer(inside) - self.share * inside + self.decoy(images)


class Dead(Plateau):
    """A plateau against leaky ReLUs: what leaks through its units, which are never active, is misleading."""

    threshold, size = 1e3, 1e8

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, classes) logits."""
        return super().forward(images) + self.size * torch.relu(self.decoy(images) - self.threshold)


def decoy_on_border(*, size: float, classes: int = 10, side: int = 8) -> LinearDecoy:
    """Return a decoy of the first and last column, empty in most digits: one or two pixels per class."""
    columns = torch.zeros(classes, side, side)
    pixels = [(row, column) for column in (0, side - 1) for row in range(side)]
    for number, (row, column) in enumerate(pixels):
        columns[number % classes, row, column] = size
    return LinearDecoy(columns.flatten(1))


def decoy_on_all_pixels(*, size: float, classes: int = 10, pixels: int = 64) -> LinearDecoy:
    """Return a decoy of random signs on every pixel, different for each class."""
    generator = torch.Generator().manual_seed(1)
    signs = 2.0 * torch.randint(2, (classes, pixels), generator=generator) - 1.0
    return LinearDecoy(size * signs)
