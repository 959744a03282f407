"""How the margin changes on a straight line from an image to one of another class: a hint at plateaus.

A network that keeps its full margin until just before the boundary gives gradients nothing to follow. It is only a
hint: plateaus keep 1.0 and two steps 0.25, but a few honest networks with hardly any weights keep 1.0 too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.evaluation.health.gradient_checks import margins
from benchmark.evaluation.health.verdict import Check

IMAGES = 8
HALVINGS = 13  # of the line, to find the boundary
NEAR = 0.9  # of the distance to the boundary


@torch.no_grad()
def straight_way(model: nn.Module, images: Tensor, labels: Tensor) -> Check:
    """Measure the median share of the margin that remains at nine tenths of the distance to the class boundary.

    Args:
        model: see `Attackable`.
        images: (B, C, H, W) in [0, 1], classified correctly; only the first few are used.
        labels: (B,) int64.
    """
    starts = torch.arange(min(len(images), IMAGES), device=images.device)
    others = [(labels != labels[start]).nonzero().flatten() for start in starts]
    chosen = [start for start, other in zip(starts, others, strict=True) if len(other)]
    if not chosen:
        return Check("straight_way", None, "not run", "straight_way was not run: there are no images of two classes.")
    rows = torch.stack(chosen)
    nearest = [others[row][(images[others[row]] - images[row]).flatten(1).norm(dim=1).argmin()] for row in rows]
    begin, line, label = images[rows], images[torch.stack(nearest)] - images[rows], labels[rows]
    low, high = torch.zeros(len(rows), device=images.device), torch.ones(len(rows), device=images.device)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        correct = margins(model(begin + middle[:, None, None, None] * line), label) < 0
        low, high = torch.where(correct, middle, low), torch.where(correct, high, middle)
    near, start = margins(model(begin + NEAR * low[:, None, None, None] * line), label), margins(model(begin), label)
    if not (start < 0).any():
        return Check("straight_way", None, "not run", "straight_way was not run: no image has a margin.")
    share = float((near / start)[start < 0].median())
    reason = f"{share:.0%} of the margin remains at {NEAR:.0%} of the distance to the class boundary, in the median."
    return Check("straight_way", share, "pass", reason)
