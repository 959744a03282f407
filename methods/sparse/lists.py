"""The weights of convolutions as lists: what is not zero, by output channel."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]
Arrays = tuple[Integers, NDArray[np.int32], Floats, Floats, NDArray[np.int32]]


@dataclass(frozen=True)
class Weights:
    """The weights of a convolution that are not zero: output, input channel, row and column of the kernel, value."""

    out: Integers
    inner: Integers
    row: Integers
    column: Integers
    value: Floats

    @classmethod
    def of(cls, weight: Floats) -> Weights:
        """Collect them from (out, in, k, k), by output channel; the rest of their order is that in memory."""
        from methods.sparse.listing import nonzero  # compiled

        out, inner, size, _ = weight.shape
        if weight.flags.c_contiguous:
            flat = weight.reshape(-1)
            entry = nonzero(flat)
            channel, source, row, column = np.unravel_index(entry, weight.shape)
        else:  # channels last: a copy would take longer than all the rest
            flat = weight.transpose(0, 2, 3, 1).reshape(-1)
            entry = nonzero(flat)
            channel, row, column, source = np.unravel_index(entry, (out, size, size, inner))
        return cls(channel, source, row, column, flat[entry])


@dataclass
class Lists:
    """A program's lists: entries between two bounds belong to one output channel."""

    bounds: list[Integers] = field(default_factory=list)
    offsets: list[NDArray[np.int32]] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)
    bias: list[Floats] = field(default_factory=list)
    bound_count: int = 0
    entry_count: int = 0
    bias_count: int = 0

    def add(self, owner: Integers, place: Integers, value: Floats, chunk: Integers, outputs: int, chunks: int) -> int:
        """Add lists, one for each (chunk, output); return where their bounds begin."""
        from methods.sparse.listing import by_list  # compiled

        bounds, places, values = by_list(chunk * outputs + owner, place, value, chunks * outputs)
        start = self.bound_count
        self.bounds.append(bounds + self.entry_count)
        self.offsets.append(places)
        self.values.append(values)
        self.bound_count += len(bounds)
        self.entry_count += len(place)
        return start

    def arrays(self, tiles: list[tuple[int, int, int]]) -> Arrays:
        """Return bounds, offsets, values, bias and tiles, as the kernels take them."""
        return (
            np.concatenate(self.bounds),
            np.concatenate(self.offsets),
            np.concatenate(self.values),
            np.concatenate(self.bias),
            np.array(tiles, np.int32),
        )

    def add_bias(self, bias: Floats) -> int:
        """Add the values that the sums of a convolution's channels begin with; return where they begin."""
        start = self.bias_count
        self.bias.append(bias.astype(np.float32))
        self.bias_count += len(bias)
        return start
