"""How a network's margin falls on the straight way from an image to one of another class: a hint at plateaus.

A network that keeps its full margin until just before the boundary gives gradients nothing to follow. It is no more
than a hint: plateaus leave 1.0 and two steps 0.25, while a few honest networks with hardly any weights leave 1.0 too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.evaluation.health.gradient_checks import margins
from benchmark.evaluation.health.verdict import Check

IMAGES = 8
HALVINGS = 13  # of the way, to find the boundary
NEAR = 0.9  # of the way to the boundary


@torch.no_grad()
def straight_way(model: nn.Module, images: Tensor, labels: Tensor) -> Check:
    """Return the median share of the margin that is left at nine tenths of the way to the boundary of the class.

    Args:
        model: see `Attackable`.
        images: (B, C, H, W) in [0, 1], classified right; the first few are looked at.
        labels: (B,) int64.
    """
    starts = torch.arange(min(len(images), IMAGES), device=images.device)
    others = [(labels != labels[start]).nonzero().flatten() for start in starts]
    chosen = [start for start, other in zip(starts, others, strict=True) if len(other)]
    if not chosen:
        return Check("straight_way", None, "not run", "straight_way was not run: there are no images of two classes.")
    here = torch.stack(chosen)
    nearest = [others[start][(images[others[start]] - images[start]).flatten(1).norm(dim=1).argmin()] for start in here]
    begin, way, label = images[here], images[torch.stack(nearest)] - images[here], labels[here]
    low, high = torch.zeros(len(here), device=images.device), torch.ones(len(here), device=images.device)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        right = margins(model(begin + middle[:, None, None, None] * way), label) < 0
        low, high = torch.where(right, middle, low), torch.where(right, high, middle)
    near, start = margins(model(begin + NEAR * low[:, None, None, None] * way), label), margins(model(begin), label)
    if not (start < 0).any():
        return Check("straight_way", None, "not run", "straight_way was not run: no image has a margin.")
    left = float((near / start)[start < 0].median())
    reason = f"{left:.0%} of the margin is left at {NEAR:.0%} of the straight way to another class, in the median."
    return Check("straight_way", left, "pass", reason)
