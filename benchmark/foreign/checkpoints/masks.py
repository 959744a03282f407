"""The mask that a layer of scores keeps, with the rounding of the original forward pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.errors import UserError


@dataclass(frozen=True)
class Kept:
    """What one layer keeps.

    Attributes:
        mask: bool, in the shape of the scores: True where the weight is kept.
        tied: weights that are equal in score to the least kept one, where some of these are kept and some are not;
            0 if the scores decide.
    """

    mask: Tensor
    tied: int


def pruned_count(density: float, size: int) -> int:
    """Return how many of `size` scores the sorted masks of hidden-networks and its descendants set to zero.

    They truncate (1 - k) * size, computed in Python's floats: 1 - 0.9 is just below 0.1, so that of 10 weights at
    k = 0.9 none is pruned.

    >>> pruned_count(0.9, 10), pruned_count(0.8, 10)
    (0, 1)
    """
    return int((1 - density) * size)


def keep_largest(scores: Tensor, pruned: int) -> Kept:
    """Return the mask without the `pruned` scores of smallest magnitude.

    Among equal magnitudes the order of `torch.sort` decides, as in the original; it may be another on another device.

    Args:
        scores: any shape, finite.
        pruned: how many to leave out, from 0 to the number of scores.
    """
    magnitudes = scores.abs().flatten()
    order = magnitudes.sort().indices
    mask = torch.ones(len(magnitudes), dtype=torch.bool)
    mask[order[:pruned]] = False
    tied = 0
    if 0 < pruned < len(magnitudes):
        threshold = magnitudes[order[pruned]]
        equal = magnitudes == threshold
        tied = int(equal.sum()) if bool((equal & ~mask).any()) else 0
    return Kept(mask.view(scores.shape), tied)


def check_density(density: float, where: str) -> None:
    """Raise UserError unless a share of kept weights is in (0, 1]."""
    if not 0 < density <= 1:
        raise UserError(
            f"{where} is {density:g}, but the share of kept weights is above 0 and at most 1; give that share"
        )
