"""Images changed in one square after the other; each is kept if it lowers a margin.

Only what a square reaches is computed. The maps of all layers stay in the arenas. A square changes a rectangle of every
map; its tiles are computed again, and put back where an image rejects the square. Every logit is, to the last bit, that
of a whole pass.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from methods.sparse.layout import COLS, CONV, NONE, OP, RES, ROWS, SOURCE, SOURCE_RS, TARGET, TARGET_RS
from methods.sparse.lists import Floats, Integers
from methods.sparse.network import Lease, SparseNetwork, in_threads
from methods.sparse.square_kernels import search

MOST = 0.5  # of a map


class SquareSearch:
    """Random search by squares (Square Attack, Andriushchenko et al. 2020, Linf) on images of one size.

    Attributes:
        best: (N, C, H, W) float32, each image with the squares that it kept.
        rows: (R,) those of the images that are computed; no others are open.
        margins: (R,) float32, the label's logit minus the largest other one; an image is open above 0.
        logits: (R, classes) of the last pass.
    """

    def __init__(self, network: SparseNetwork, images: Floats, best: Floats, labels: Integers, epsilon: float) -> None:
        """Start at `best`, which is changed, at most epsilon from `images`; arrays (N, C, H, W) and (N,)."""
        self.images, self.best, self.labels, self.epsilon = images, best, labels, np.float32(epsilon)
        self.runner = network.runner(images.shape[2:], (1, 1), gradients=True)
        self.links = _links(self.runner.program.forward)
        self._compute(np.arange(len(images)))

    @property
    def open(self) -> int:
        """How many images are open."""
        return int((self.margins > 0).sum())

    def _compute(self, rows: Integers) -> None:
        """Compute the maps of some images, and go on with these alone."""
        self.rows, self.points = rows, self.best[rows]
        self.lease = Lease(self.runner, self.runner.groups(len(rows)))
        self.features = np.empty((len(rows), self.runner.program.channels), np.float32)
        self.logits = self.runner.forward(self.points, self.lease, keep=True)
        others, every = self.logits.copy(), np.arange(len(rows))
        others[every, self.labels[rows]] = -np.inf
        self.margins: Floats = self.logits[every, self.labels[rows]] - others.max(1)
        self.whole = np.zeros(0, np.bool_)

    def run(self, squares: Integers, signs: Floats) -> None:
        """Offer squares to the open images.

        Args:
            squares: (Q, 3) top row, left column and length of the sides.
            signs: (Q, C) the direction in which the square moves each channel, -1, 0 or 1.
        """
        program, rows = self.runner.program, self.rows
        whole = _mostly_reached(program.forward, self.links, int(squares[:, 2].max()))
        if not np.array_equal(whole, self.whole):
            self.whole = whole
            self.runner.forward(self.points, self.lease, keep=True)
        images, labels = self.images[rows], self.labels[rows]

        def part(_: int, begin: int, end: int) -> None:
            search(
                *(self.lease.arenas, begin, end, program.forward, self.links, whole, program.lists, program.size),
                *(self.runner.strips, self.runner.masks, self.runner.ends, self.features, self.logits),
                *(images, self.points, labels, self.margins, self.epsilon, squares, signs),
            )

        in_threads(self.runner.groups(len(rows)), part)
        self.best[rows] = self.points
        if self.runner.groups(self.open) < self.runner.groups(len(rows)):
            self._compute(rows[self.margins > 0])


def _links(steps: Integers) -> Integers:
    """Return for each step (source, residual, stride); a map has the number of the step that writes it.

    Residual is -1 without one. The first step packs the images.
    """
    number_of, row_size = {int(steps[0][TARGET]): 0}, {0: int(steps[0][TARGET_RS])}
    links = np.zeros((len(steps), 3), np.int64)
    for number, step in enumerate(steps):
        if step[OP] != CONV:
            continue
        source = number_of[int(step[SOURCE])]
        residual = -1 if step[RES] == NONE else number_of[int(step[TARGET] + step[RES])]
        links[number] = source, residual, step[SOURCE_RS] // row_size[source]
        number_of[int(step[TARGET])], row_size[number] = number, int(step[TARGET_RS])
    return links


def _mostly_reached(steps: Integers, links: Integers, side: int) -> NDArray[np.bool_]:
    """Return for each step whether a square in the middle reaches most of its map, so that all of it is computed.

    Such maps are neither saved nor put back.
    """
    whole, reach = np.zeros(len(steps), np.bool_), {0: (side, side)}
    for number, step in enumerate(steps):
        if step[OP] != CONV:
            continue
        source, residual, stride = links[number].tolist()
        rows, cols = (length // stride + 2 for length in reach[source])
        if residual >= 0:
            rows, cols = max(rows, reach[residual][0]), max(cols, reach[residual][1])
        reach[number] = rows, cols
        whole[number] = min(rows, step[ROWS]) * min(cols, step[COLS]) > MOST * step[ROWS] * step[COLS]
    return whole
