"""The network that attacks query in place of the stored one: the same answers for less work.

A copy answers, folded or sparse, and only for images that the attack has not broken yet. When it misclassifies an
image, the stored network is asked, and its answer counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from benchmark.evaluation.fast.compute_batch import ComputeBatch
from benchmark.evaluation.fast.folding import fold
from benchmark.evaluation.fast.leaking import leaking
from benchmark.evaluation.fast.sparse import sparse_copy

WAY = "folded 2"  # of computing: in the journals' settings, because another way may round differently
SPARSE_WAY = "sparse 1"


class AllBroken(Exception):
    """Ends an attack that has no image left to break."""


@dataclass
class Rows:
    """The rows of a running attack: each an image, or an image and a target class.

    Attributes:
        labels: (R,) int64.
        images: (R, C, H, W), unperturbed.
        places: (R,) int64; rows of the same image share a place and are broken together.
        radius: in pixels; misclassified points farther away do not count. None counts all.
        broken: (R,) bool, so far.
        adversarial: (R, C, H, W); for a broken row the point that broke it or another row of its image.
    """

    labels: Tensor
    images: Tensor
    places: Tensor
    radius: float | None = None
    broken: Tensor = field(init=False)
    adversarial: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.broken = torch.zeros_like(self.labels, dtype=torch.bool)
        self.adversarial = self.images.clone()

    def within_radius(self, rows: Tensor, points: Tensor) -> Tensor:
        """Return (K,) bool: which points (K, C, H, W) of some rows (K,) count."""
        if self.radius is None:
            return torch.ones_like(rows, dtype=torch.bool)
        return ~((points - self.images[rows]).abs().flatten(1).amax(1) > self.radius)

    def mark_broken(self, rows: Tensor, points: Tensor) -> None:
        """Keep the points (K, C, H, W) that broke rows (K,)."""
        for row, point in zip(rows.tolist(), points, strict=True):
            newly_broken = (self.places == self.places[row]) & ~self.broken
            self.adversarial[newly_broken] = point
            self.broken |= newly_broken


class AttackedNetwork(nn.Module):
    """A network as attacks see it: maps images to logits and counts its passes.

    Attributes:
        folded: whether a copy answers; a network of others is queried as it is.
        way: names how answers are computed.
        sparse: the sparse copy, if it answers.
        count: see below; for passes that go round this module.
        check: as well.
    """

    def __init__(
        self,
        stored: nn.Module,
        compute: ComputeBatch,
        *,
        count: Callable[[int, float], None] = lambda images, passes: None,
        check: Callable[[Tensor], None] = lambda logits: None,
    ) -> None:
        """Copy the network if it is one of this project.

        Args:
            stored: network in eval mode, its parameters frozen.
            compute: how many images go through at once; reports why a sparse network is attacked by a dense copy.
            count: called before each pass with the number of images computed, and with the share of the attack's images
                that they stand for.
            check: called with the logits (B, classes) of each pass; may raise.
        """
        super().__init__()
        folded = fold(stored)
        self.folded = folded is not None
        sparse, reason = (None, "") if folded is None else sparse_copy(folded)
        compute.say(reason)
        self.way = "plain" if folded is None else WAY if sparse is None else SPARSE_WAY
        self._stored, self._dense, self.sparse = stored, stored if folded is None else folded, sparse
        self._network = self._dense if sparse is None else sparse
        self._compute, self.count, self.check = compute, count, check
        self._rows: Rows | None = None
        self._share = 1.0

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, classes) logits; within `watching`, one image per row, and a folded copy skips broken rows."""
        return self._passed(images) if self._rows is None else self._of_rows(self._rows, images, judged=True)

    def unjudged(self, images: Tensor) -> Tensor:
        """Return the same logits but break no row, for points that the attack does not judge either."""
        return self._passed(images) if self._rows is None else self._of_rows(self._rows, images, judged=False)

    def stored_logits(self, images: Tensor) -> Tensor:
        """Return the logits of the stored network, without gradients."""
        with torch.no_grad():
            logits = self._compute.forward(self._stored, images)
        self.check(logits)
        return logits

    def through(self, wrap: Callable[[nn.Module], nn.Module], images: Tensor) -> Tensor:
        """Return what the queried network gives inside a wrapper; judges no row, counts and checks nothing."""
        return self._compute.forward(wrap(self._network), images)

    def choose_rows(self, image: Tensor) -> None:
        """Choose how many images like this one (1, C, H, W) go through the copy at once."""
        unit = 1 if self.sparse is None else self.sparse.lanes * torch.get_num_threads()
        self._compute.choose_rows(self._dense, image, unit=unit)

    def at_most(self, rows: int) -> int:
        """Return how many of `rows` rows go through at once."""
        return self._compute.at_most(rows)

    @contextmanager
    def leaking(self, slope: float) -> Iterator[None]:
        """Give ReLUs this slope below zero inside the block, in the backward pass only, of the folded copy."""
        network, self._network = self._network, self._dense
        try:
            with leaking(self._dense, slope):
                yield
        finally:
            self._network = network

    @contextmanager
    def watching(self, rows: Rows, *, share: float = 1.0) -> Iterator[None]:
        """Judge calls inside the block as points of these rows.

        Raises (inside the block):
            AllBroken: when no row is left.
        """
        self._rows, self._share = rows, share
        try:
            yield
        finally:
            self._rows, self._share = None, 1.0

    def _passed(self, images: Tensor) -> Tensor:
        self.count(len(images), self._share)
        logits = self._compute.forward(self._network, images)
        self.check(logits)
        return logits

    def _of_rows(self, rows: Rows, images: Tensor, *, judged: bool) -> Tensor:
        if self.folded:
            computed = (~rows.broken).nonzero().flatten()
        else:
            computed = torch.arange(len(images), device=images.device)
        if not len(computed):
            raise AllBroken
        complete = len(computed) == len(images)
        points = images if complete else images[computed]
        logits = self._passed(points)
        if judged:
            logits = self._judged(rows, computed, points, logits)
        if complete:
            return logits
        wrong_class = nn.functional.one_hot((rows.labels + 1) % logits.shape[1], logits.shape[1]).to(logits.dtype)
        return wrong_class.index_copy(0, computed, logits)  # a broken row gets any wrong class, and no gradient

    def _judged(self, rows: Rows, computed: Tensor, points: Tensor, logits: Tensor) -> Tensor:
        """Break the rows that the stored network misclassifies; its logits replace the copy's wrong ones."""
        labels = rows.labels[computed]
        missed = (logits.detach().max(1)[1] != labels) | logits.detach().isnan().any(1)  # NaN names no class
        wrong = missed & rows.within_radius(computed, points.detach()) & ~rows.broken[computed]
        if not wrong.any():
            return logits
        wrong = wrong.nonzero().flatten()
        if not self.folded:
            rows.mark_broken(computed[wrong], points[wrong].detach())
            return logits
        stored = self.stored_logits(points[wrong].detach())
        confirmed = wrong[(stored.max(1)[1] != labels[wrong]) | stored.isnan().any(1)]
        rows.mark_broken(computed[confirmed], points[confirmed].detach())
        return logits.index_add(0, wrong, stored - logits[wrong].detach())
