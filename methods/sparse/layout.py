"""How maps lie in memory, and the fields of a program's steps; shared by the programs and the kernels.

A map is [row][channel][column][lane] with a border of one pixel all round. A lane is an image, or for small batches a
strip of one: a rectangle of its pixels. So a tap of a convolution is an offset, a load is one aligned vector, and one
image fills the vectors as well as many do. With whole images as lanes the border is zero and never written; between
strips it is copied from the neighbours ("halo").
"""

from __future__ import annotations

from dataclasses import dataclass

# Operations.
CONV, HALO, PACK, POOL, CLASSIFY, UNCLASSIFY, UNPOOL, UNPACK = range(8)
# Fields of a step. Places are offsets into the arena, in floats; *_rs, *_cs and *_xs are what lies between two rows,
# channels and columns of a map. `res`, `mask` and `stat2` are relative to what a step writes.
FIELDS = (
    *("op", "source", "source_rs", "source_xs", "target", "target_rs", "target_cs", "target_xs", "channels", "rows"),
    *("cols", "bounds", "chunks", "bias", "tile", "tiles", "relu", "res", "mask", "stat", "stat2"),
)
(OP, SOURCE, SOURCE_RS, SOURCE_XS, TARGET, TARGET_RS, TARGET_CS, TARGET_XS, CHANNELS, ROWS) = range(10)
(COLS, BOUNDS, CHUNKS, BIAS, TILE, TILES, RELU, RES, MASK, STAT, STAT2) = range(10, len(FIELDS))
NONE = -(2**62)  # in `res`, `mask`, `stat` and `stat2`: without

# Tiles, (rows, columns): what one run through a list computes, in as many accumulators. The first three fill the vector
# registers, (4, 2) in the narrow maps of strips; the others are for what remains at the edges.
SHAPES = ((2, 4), (1, 8), (4, 2), (1, 4), (2, 2), (1, 2), (2, 1), (1, 1))
TILE_PIXELS = 8


@dataclass(frozen=True)
class Map:
    """Where a map lies in an arena, in floats."""

    start: int
    channels: int
    rows: int  # of a lane
    cols: int
    lanes: int

    @property
    def cs(self) -> int:
        """From one channel to the next."""
        return (self.cols + 2) * self.lanes

    @property
    def rs(self) -> int:
        """From one row to the next."""
        return self.channels * self.cs

    @property
    def inner(self) -> int:
        """Pixel (0, 0) of channel 0."""
        return self.start + self.rs + self.lanes

    @property
    def size(self) -> int:
        """Of the whole map, borders included."""
        return (self.rows + 2) * self.rs
