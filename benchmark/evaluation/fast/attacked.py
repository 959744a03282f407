"""What an attack is given in place of a network of this project: the same answers for less work.

The folded copy answers, and only for images that the attack has not broken yet. Where it says that an image is broken,
the stored network is asked, and what that says counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.evaluation.fast.compute_batch import ComputeBatch
from benchmark.evaluation.fast.folding import fold


class AllBroken(Exception):
    """Ends a run of an attack that has nothing left to do."""


@dataclass
class Rows:
    """The rows of a running attack: each an image, or an image and a target class.

    Attributes:
        labels: (R,) int64.
        images: (R, C, H, W), unperturbed.
        places: (R,) int64; rows of the same image have the same place, and are broken together.
        radius: misclassified points farther away than that, in pixels, do not count; None counts all.
        broken: (R,) bool, so far.
        found: (R, C, H, W); for broken rows the point that broke it or another row of its image.
    """

    labels: Tensor
    images: Tensor
    places: Tensor
    radius: float | None = None
    broken: Tensor = field(init=False)
    found: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.broken = torch.zeros_like(self.labels, dtype=torch.bool)
        self.found = self.images.clone()

    def near(self, rows: Tensor, points: Tensor) -> Tensor:
        """Tell which points (K, C, H, W) of some rows (K,) count."""
        if self.radius is None:
            return torch.ones_like(rows, dtype=torch.bool)
        return ~((points - self.images[rows]).abs().flatten(1).amax(1) > self.radius)

    def note(self, rows: Tensor, points: Tensor) -> None:
        """Keep the points (K, C, H, W) that broke rows (K,)."""
        for row, point in zip(rows.tolist(), points, strict=True):
            same = (self.places == self.places[row]) & ~self.broken
            self.found[same] = point
            self.broken |= same


class Attacked(nn.Module):
    """A network as attacks see it: called with images it returns logits, and counts what it does."""

    def __init__(
        self,
        stored: nn.Module,
        compute: ComputeBatch,
        *,
        count: Callable[[int, float], None] = lambda images, passes: None,
        check: Callable[[Tensor], None] = lambda logits: None,
    ) -> None:
        """Fold the network if it is one of this project; any other is attacked as it is.

        Args:
            stored: network in eval mode, its parameters frozen.
            compute: how many images go at once.
            count: is called before each pass with the images computed and with the share of the attack's images that
                stood there to be computed.
            check: is called with the logits (B, classes) of each pass; may raise.
        """
        super().__init__()
        folded = fold(stored)
        self.stored, self.network, self.folded = stored, stored if folded is None else folded, folded is not None
        self.compute, self.count, self.check = compute, count, check
        self.rows: Rows | None = None
        self.share = 1.0

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, classes) logits; within `watching` one image per row, and a folded copy leaves broken ones out."""
        return self._passed(images) if self.rows is None else self._of_rows(self.rows, images, judged=True)

    def unjudged(self, images: Tensor) -> Tensor:
        """Return logits like a call, but break no row: for points that the attack does not judge either."""
        return self._passed(images) if self.rows is None else self._of_rows(self.rows, images, judged=False)

    def truth(self, images: Tensor) -> Tensor:
        """Return the stored network's logits."""
        with torch.no_grad():
            logits = self.compute.forward(self.stored, images)
        self.check(logits)
        return logits

    @contextmanager
    def watching(self, rows: Rows, *, share: float = 1.0) -> Iterator[None]:
        """Let the calls inside the block be about these rows.

        Raises (inside the block):
            AllBroken: when a call finds no row left.
        """
        self.rows, self.share = rows, share
        try:
            yield
        finally:
            self.rows, self.share = None, 1.0

    def _passed(self, images: Tensor) -> Tensor:
        self.count(len(images), self.share)
        logits = self.compute.forward(self.network, images)
        self.check(logits)
        return logits

    def _of_rows(self, rows: Rows, images: Tensor, *, judged: bool) -> Tensor:
        left = (~rows.broken).nonzero().flatten() if self.folded else torch.arange(len(images), device=images.device)
        if not len(left):
            raise AllBroken
        everything = len(left) == len(images)
        points = images if everything else images[left]
        logits = self._passed(points)
        if judged:
            logits = self._judged(rows, left, points, logits)
        if everything:
            return logits
        others = nn.functional.one_hot((rows.labels + 1) % logits.shape[1], logits.shape[1]).to(logits.dtype)
        return others.index_copy(0, left, logits)  # of broken rows: any that are wrong, and no gradient

    def _judged(self, rows: Rows, left: Tensor, points: Tensor, logits: Tensor) -> Tensor:
        """Break the rows that the stored network gets wrong; its logits replace the copy's where those are wrong."""
        labels = rows.labels[left]
        missed = (logits.detach().max(1)[1] != labels) | logits.detach().isnan().any(1)  # NaN names no class
        wrong = missed & rows.near(left, points.detach()) & ~rows.broken[left]
        if not wrong.any():
            return logits
        wrong = wrong.nonzero().flatten()
        if not self.folded:
            rows.note(left[wrong], points[wrong].detach())
            return logits
        truth = self.truth(points[wrong].detach())
        fallen = wrong[(truth.max(1)[1] != labels[wrong]) | truth.isnan().any(1)]
        rows.note(left[fallen], points[fallen].detach())
        return logits.index_add(0, wrong, truth - logits[wrong].detach())


def compacted(attack: Any, attacked: Attacked) -> Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return a replacement for `attack_single_run` of APGD that computes only what is not broken yet.

    Rows do not influence each other, and random numbers are drawn before the first pass: the outcome is the same.
    """
    run = attack.attack_single_run

    def single_run(x: Tensor, y: Tensor, x_init: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = Rows(labels=y, images=x, places=torch.arange(len(y), device=y.device))
        loss = torch.zeros(len(y), device=y.device)
        try:
            with attacked.watching(rows):
                _, _, loss, _ = run(x, y, x_init)
        except AllBroken:
            pass
        return rows.found, ~rows.broken, loss, rows.found

    return single_run
