"""Collects the parts of a program: lists of weights, tiles and steps.

A convolution is, for each output channel, a list of (offset, value). Its gradient with respect to the input is the same
with the lists transposed; with stride 2 there is one list for each parity of the pixel. So one kernel serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from methods.sparse.layout import CONV, FIELDS, HALO, NONE, SHAPES, TILE_PIXELS, Map
from methods.sparse.lists import Floats, Integers, Lists, Weights

L1_BYTES = 20_000  # of a tile's window: what should stay in the first-level cache
MIN_LIST = 14  # entries: below this, cutting a list costs more than the cache saves
MAX_CHUNKS = 4


@dataclass
class Builder:
    """Collects maps, lists, tiles and steps."""

    lanes: int
    strips: tuple[int, int]  # rows and columns of strips that an image is cut into
    size: int = 0  # of the arena so far, in floats
    part: int = 0  # floats for sums of a convolution between its chunks
    steps: list[list[int]] = field(default_factory=list)
    lists: Lists = field(default_factory=Lists)
    tiles: list[tuple[int, int, int]] = field(default_factory=list)  # shape's number, row, column
    tilings: dict[tuple[int, int, bool], tuple[int, int]] = field(default_factory=dict)  # those that there are

    def map(self, channels: int, rows: int, cols: int) -> Map:
        """Return a new map."""
        made = Map(self.size, channels, rows, cols, self.lanes)
        self.size += -(-made.size // 16) * 16 + 16
        return made

    def map_beside(self, channels: int, rows: int, cols: int, avoid: Sequence[Map], first: int) -> Map:
        """Return a map in the lowest place from `first` on that no map to avoid takes."""
        start, size = first, Map(0, channels, rows, cols, self.lanes).size
        for each in sorted(avoid, key=lambda each: each.start):
            if start + size <= each.start:
                break
            start = max(start, -(-(each.start + each.size) // 16) * 16 + 16)
        self.size = max(self.size, -(-(start + size) // 16) * 16 + 16)
        return Map(start, channels, rows, cols, self.lanes)

    def space(self, floats: int) -> int:
        """Return where so many floats begin that are no map."""
        start = self.size
        self.size += -(-floats // 16) * 16
        return start

    def tiling(self, rows: int, cols: int, *, wide: bool) -> tuple[int, int]:
        """Cover rows x cols with tiles as large as fit; return the range of their numbers."""
        if (rows, cols, wide) in self.tilings:
            return self.tilings[rows, cols, wide]
        start, row = len(self.tiles), 0
        while row < rows:
            rest = rows - row
            height = 1 if wide or rest < 2 else 4 if cols == 2 and rest >= 4 else 2
            column = 0
            while column < cols:
                width = max(c for r, c in SHAPES if r == height and column + c <= cols)
                self.tiles.append((SHAPES.index((height, width)), row, column))
                column += width
            row += height
        self.tilings[rows, cols, wide] = start, len(self.tiles)
        return start, len(self.tiles)

    def step(self, op: int, **fields: int) -> None:
        """Add a step; fields that are not named are zero, or `NONE`."""
        optional = dict.fromkeys(("res", "mask", "stat", "stat2"), NONE)
        named = {"op": op, **optional, **fields}
        self.steps.append([named.get(name, 0) for name in FIELDS])

    def cut(self, first: int) -> Integers:
        """Return the steps from `first` on."""
        return np.array(self.steps[first:], np.int64).reshape(-1, len(FIELDS))

    def map_step(self, op: int, place: Map, **fields: int) -> None:
        """Add a step that reads or writes a whole map."""
        shape = {"channels": place.channels, "rows": place.rows, "cols": place.cols}
        between = {"target_rs": place.rs, "target_cs": place.cs, "target_xs": place.lanes}
        self.step(op, target=place.inner, **shape, **between, **fields)

    def halo(self, source: Map, weight: Weights, padding: int, channel: Integers) -> None:
        """Copy the borders between strips before a map is read, in those channels where an entry crosses a border.

        `channel`: of each entry, the channel of the source.
        """
        read = np.unique(channel[(weight.row != padding) | (weight.column != padding)])
        if self.strips != (1, 1) and len(read):
            one = np.zeros(len(read), np.int64)
            bounds = self.lists.add(one, read * source.cs, one.astype(np.float32), one, 1, 1)
            self.map_step(HALO, source, bounds=bounds)

    def conv(
        self,
        source: Map,
        target: Map,
        owner: Integers,
        place: Integers,
        value: Floats,
        channel: Integers,
        *,
        bias: Floats | None = None,
        stride: int = 1,
        phase: tuple[int, int] | None = None,
        res: int = NONE,
        mask: int = NONE,
        relu: bool = False,
        stat: int = NONE,
        stat2: int = NONE,
    ) -> None:
        """Add a step: the sum over the entries of a list for each pixel and channel of the target.

        Args:
            source: map to read.
            target: map to write.
            owner: of each entry, the channel of the target that it adds to.
            place: of each entry, its offset from the pixel that the target's comes from.
            value: of each entry.
            channel: of each entry, the channel of the source.
            bias: what the channels of the target begin with; zeros if None.
            stride: pixels of the source for a pixel of the target.
            phase: write every second row and column from this pixel on; None: every pixel.
            res: add what lies so far from the result.
            mask: zero where what lies so far from the result is not positive.
            relu: zero where negative.
            stat: add the results to sums from here on, two vectors for each channel: of the results, and of their
                squares or, with `stat2`, of their products with what lies so far from the result.
            stat2: see `stat`.
        """
        outputs, rows, cols = target.channels, target.rows, target.cols
        out, out_rs, out_xs = target.inner, target.rs, self.lanes
        if phase is not None:
            out += phase[0] * target.rs + phase[1] * self.lanes
            out_rs, out_xs = 2 * target.rs, 2 * self.lanes
            rows, cols = (rows - phase[0] + 1) // 2, (cols - phase[1] + 1) // 2
        chunks, wide = self._chunks(source, len(owner) / max(outputs, 1), stride, rows, cols)
        tile, tiles = self.tiling(rows, cols, wide=wide)
        self.part = max(self.part, outputs * TILE_PIXELS * self.lanes)
        bounds = self.lists.add(owner, place, value, channel * chunks // source.channels, outputs, chunks)
        first_bias = self.lists.add_bias(np.zeros(outputs, np.float32) if bias is None else bias)
        from_map = {"source": source.inner, "source_rs": stride * source.rs, "source_xs": stride * self.lanes}
        to_map = {"target": out, "target_rs": out_rs, "target_cs": target.cs, "target_xs": out_xs}
        shape = {"channels": outputs, "rows": rows, "cols": cols, "tile": tile, "tiles": tiles}
        entries = {"bounds": bounds, "chunks": chunks, "bias": first_bias}
        end = {"relu": int(relu), "res": res, "mask": mask, "stat": stat, "stat2": stat2}
        self.step(CONV, **from_map, **to_map, **shape, **entries, **end)

    def _chunks(self, source: Map, entries: float, stride: int, rows: int, cols: int) -> tuple[int, bool]:
        """Return how many runs the input channels of a wide layer take, and whether tiles are one row high.

        The order of summation depends on it, and so nothing here depends on how an image is cut into strips.
        """
        window = 24 * source.channels * self.lanes * 4  # bytes below a tile of 2 x 4 pixels
        rows, cols = rows * self.strips[0], cols * self.strips[1]
        chunks = 1
        if stride == 1 and rows >= 2 and cols % 4 == 0:
            chunks = max(1, min(round(window / L1_BYTES), int(entries // MIN_LIST), MAX_CHUNKS))
        return chunks, chunks == 1 and window > 3 * L1_BYTES and cols >= 8

    def forward(
        self, weight: Weights, bias: Floats | None, stride: int, padding: int, source: Map, target: Map, **more: Any
    ) -> None:
        """Add a convolution; further arguments as for `conv`."""
        place = (weight.row - padding) * source.rs + weight.inner * source.cs + (weight.column - padding) * self.lanes
        self.halo(source, weight, padding, weight.inner)
        self.conv(source, target, weight.out, place, weight.value, weight.inner, bias=bias, stride=stride, **more)

    def backward(
        self,
        weight: Weights,
        stride: int,
        padding: int,
        source: Map,
        target: Map,
        extra: tuple[Weights, Map] | None = None,
        **more: Any,
    ) -> None:
        """Add the gradient of a convolution with respect to its input; further arguments as for `conv`.

        `source` holds the gradient with respect to the output, `target` will hold that with respect to the input.
        `extra`: weights and map of a 1x1 convolution with the same stride, whose gradient is added.
        """
        self.halo(source, weight, padding, weight.out)
        for py in range(stride):
            for px in range(stride):
                # Output row o reads input row stride * i + py at kernel row stride * (i - o) + py + padding.
                below, beside = py + padding - weight.row, px + padding - weight.column
                here = (below % stride == 0) & (beside % stride == 0)
                out = weight.out[here]
                place = below[here] // stride * source.rs + out * source.cs + beside[here] // stride * self.lanes
                fields = more
                if extra is not None and (py, px) == (0, 0):
                    self.backward_1x1(extra[0], stride, extra[1], target)
                    fields = {**more, "res": 0}  # what has just been written there
                phase = (py, px) if stride == 2 else None
                self.conv(source, target, weight.inner[here], place, weight.value[here], out, phase=phase, **fields)

    def backward_1x1(self, weight: Weights, stride: int, source: Map, target: Map, **more: Any) -> None:
        """Add the gradient of a 1x1 convolution at the pixels that it reads; the others stay as they are."""
        phase = (0, 0) if stride == 2 else None
        self.conv(source, target, weight.inner, weight.out * source.cs, weight.value, weight.out, phase=phase, **more)
