"""RayS (Chen and Gu 2020): an attack that sees only the predicted class, so that no gradient can mislead it.

It searches the corners of the Linf ball: one sign per pixel, the same sign for a block of neighbours, and blocks half
as large in every round. It keeps the flip of a block that brings the boundary of the class nearer. Which pixels are
neighbours depends on their order; several orders in turn break far more images than one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmark.runtime.seeding import generator_for

# Queries per image in each order of the pixels. Of 64 images of a plateau around a network for 3x32x32 images, 500
# queries by rows and 500 by columns broke 51, 250 in each of four orders 41; on 8x8 digits a random order broke most of
# the survivors of those two.
ORDERS = {"rows": 400, "columns": 400, "random": 200}
WIDEST = 1.0  # radius at which a direction is first tried: the whole range of a pixel
TOLERANCE = 1e-3  # of the distance to the boundary, in pixels

Classify = Callable[[Tensor], Tensor]  # maps (B, C, H, W) images to (B,) predicted classes


def pixel_ranks(shape: torch.Size, order: str, seed: int) -> Tensor:
    """Return the (C * H * W,) rank of each pixel of (C, H, W) images in an order.

    "rows" and "columns" take one channel after the other; "random" draws an order.
    """
    indices = torch.arange(shape.numel()).view(shape)
    if order == "rows":
        sequence = indices.flatten()
    elif order == "columns":
        sequence = indices.transpose(1, 2).flatten()
    else:
        generator = generator_for(torch.device("cpu"), "rays-order", seed)
        sequence = torch.randperm(indices.numel(), generator=generator)
    ranks = torch.empty_like(sequence)
    ranks[sequence] = torch.arange(len(sequence))
    return ranks


@torch.no_grad()
def rays(
    classify: Classify, images: Tensor, labels: Tensor, *, epsilon: float, ranks: Tensor, queries: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Search for adversarial images with one query per image and turn; yield the result of each turn.

    DEVIATION: the paper's search ends with the nearest boundary found, this one as soon as a point in the ball is
    misclassified.

    Args:
        classify: returns the predicted classes.
        images: (B, C, H, W) in [0, 1], classified correctly.
        labels: (B,) int64.
        epsilon: radius of the Linf ball, in (0, 1) pixels.
        ranks: (C * H * W,) ranks of the pixels, see `pixel_ranks`.
        queries: turns, at most.

    Yields:
        (K,) rows that are misclassified within the ball, and the (K, C, H, W) points; no row twice.
    """
    search = _Search(images, epsilon, ranks)
    for _ in range(queries):
        if not len(search.rows):
            break
        points = search.points()
        wrong = classify(points) != labels[search.rows]
        broken = wrong & (search.radius <= epsilon)
        yield search.rows[broken], points[broken]
        search.update(wrong, broken)


class _Search:
    """The state of every image's search; each turn makes one query for every image.

    Attributes:
        rows: (A,) images that are not broken yet.
        radius: (A,) of the last queries.
    """

    def __init__(self, images: Tensor, epsilon: float, ranks: Tensor) -> None:
        count, device = len(images), images.device
        self.images, self.epsilon, self.ranks = images, epsilon, ranks.to(device)
        self.levels = max(1, (len(ranks) - 1).bit_length())
        self.rows = torch.arange(count, device=device)
        self.signs = torch.ones(count, len(ranks), device=device)
        self.trial = self.signs.clone()
        self.distance = torch.full((count,), WIDEST, device=device)  # to the boundary along `signs`, at most
        self.level = torch.zeros(count, dtype=torch.int64, device=device)  # of 2 ** level blocks of equal signs
        self.block = torch.zeros_like(self.level)
        self.halving = torch.zeros(count, dtype=torch.bool, device=device)  # between `low` and `high` along `trial`
        self.low, self.high = torch.zeros_like(self.distance), torch.full_like(self.distance, WIDEST)
        self.radius = self.distance

    def points(self) -> Tensor:
        """Return (A, C, H, W) points to query: a block flipped at the distance so far, or the middle of a halving."""
        rows, halving = self.rows, self.halving[self.rows]
        fresh = rows[~halving]
        blocks = self._blocks(fresh)
        member = self.ranks * blocks[:, None] // len(self.ranks) == self.block[fresh, None]
        self.trial[fresh] = torch.where(member, -self.signs[fresh], self.signs[fresh])
        middle = (self.low[rows] + self.high[rows]) / 2
        # The ball's radius comes first: a boundary within it ends the search, and halving finds one outside only.
        inside = (self.low[rows] == 0) & (self.high[rows] > self.epsilon)
        middle = torch.where(inside, torch.full_like(middle, self.epsilon), middle)
        self.radius = torch.where(halving, middle, self.distance[rows])
        shift = (self.radius[:, None] * self.trial[rows]).view(len(rows), *self.images.shape[1:])
        return (self.images[rows] + shift).clamp(0.0, 1.0)

    def update(self, wrong: Tensor, broken: Tensor) -> None:
        """Use the (A,) answers to the queries; the search of a `broken` image ends."""
        rows, radius, halving = self.rows, self.radius, self.halving[self.rows]
        halved = rows[halving]
        self.high[halved] = torch.where(wrong[halving], radius[halving], self.high[halved])
        self.low[halved] = torch.where(wrong[halving], self.low[halved], radius[halving])
        nearer = rows[~halving & wrong]
        self.halving[nearer] = True
        self.low[nearer], self.high[nearer] = 0.0, self.distance[nearer]
        done = halved[self.high[halved] - self.low[halved] < TOLERANCE]
        self.halving[done] = False
        self.distance[done], self.signs[done] = self.high[done], self.trial[done]
        self._next_block(torch.cat([rows[~halving & ~wrong], done]))
        self.rows = rows[~broken]

    def _next_block(self, rows: Tensor) -> None:
        """Go to the next block; after the last one halve the block size, and after single pixels start over."""
        self.block[rows] += 1
        over = rows[self.block[rows] >= self._blocks(rows)]
        self.block[over] = 0
        self.level[over] = (self.level[over] + 1) % (self.levels + 1)

    def _blocks(self, rows: Tensor) -> Tensor:
        return (2 ** self.level[rows]).clamp(max=len(self.ranks))
