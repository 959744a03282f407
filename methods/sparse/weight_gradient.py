"""The gradient of a convolution's weights, from the maps of a pass: dense, since scores need all of it.

dW[o, i, dy, dx] is the sum over images and pixels of G[o, y, x] * X[i, y * stride + dy - padding, x * stride + dx -
padding]. Images are lanes, so every term is a multiply-add of whole vectors. A tile of 4 outputs and 3 columns of the
kernel (3 inputs, where the kernel is 1x1) is summed in 12 registers: 12 multiply-adds for 7 loads. Sums of a block of
pixels are in float32, those of blocks in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from methods.sparse.compiled import compiled
from methods.sparse.layout import Map
from methods.sparse.network import Floats, in_threads
from methods.sparse.tile import FUSED, I32, LANES, VECTOR, ZERO, const

OUTPUTS, TAPS = 4, 3  # of a tile
BLOCK = 64  # pixels of a lane summed in float32; their part of a tile's maps stays in the first-level cache
SOURCE_BYTES = 100_000  # of the source, read by all outputs before the next: what stays in the second-level cache


@intrinsic
def _tile(
    typingctx, arenas, total, groups, rows, cols, gradient, gradient_rs, gradient_last, gradient_cs, source, source_rs,
    source_xs, source_last, source_tap, width, at
):  # fmt: skip
    """Add the products of a block of pixels to a tile of sums: total[at + tap * OUTPUTS + output].

    gradient, source: where the first pixel of the first output and tap lies. *_rs, *_xs: from one pixel to that of the
    row below, and to the next. gradient_cs, source_tap: to the next output and tap, of which there are `*_last` more;
    those beyond are the last one again. width: from one group to the next.
    """
    signature = types.void(arenas, total, *[types.int64] * 14)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        arena, sums = (context.make_array(signature.args[i])(context, builder, args[i]).data for i in range(2))
        names = (
            *("groups", "rows", "cols", "gradient", "gradient_rs", "gradient_last", "gradient_cs", "source"),
            *("source_rs", "source_xs", "source_last", "source_tap", "width", "at"),
        )
        get = dict(zip(names, args[2:], strict=True))
        outputs = [_clamped(builder, number, get["gradient_last"], get["gradient_cs"]) for number in range(OUTPUTS)]
        taps = [_clamped(builder, number, get["source_last"], get["source_tap"]) for number in range(TAPS)]

        def load(index: Any) -> Any:
            value = builder.load(builder.bitcast(builder.gep(arena, [index]), VECTOR.as_pointer()))
            value.align = 4
            return value

        def pixel(places: list[Any], values: list[Any]) -> list[Any]:
            read = [load(builder.add(places[1], tap)) for tap in taps]
            result = []
            for number, output in enumerate(outputs):
                pulled = load(builder.add(places[0], output))
                for value, other in zip(values[number * TAPS : (number + 1) * TAPS], read, strict=True):
                    result.append(builder.fadd(value, builder.fmul(pulled, other, flags=FUSED), flags=FUSED))
            return result

        def row(places: list[Any], values: list[Any]) -> list[Any]:
            return _loop(builder, get["cols"], places, [const(LANES), get["source_xs"]], values, pixel)

        def group(places: list[Any], values: list[Any]) -> list[Any]:
            return _loop(builder, get["rows"], places, [get["gradient_rs"], get["source_rs"]], values, row)

        begun, places = [ZERO] * (OUTPUTS * TAPS), [get["gradient"], get["source"]]
        done = _loop(builder, get["groups"], places, [get["width"]] * 2, begun, group)
        for tap in range(TAPS):
            place = builder.gep(sums, [builder.add(get["at"], const(tap * OUTPUTS))])
            place = builder.bitcast(place, ir.VectorType(ir.DoubleType(), OUTPUTS).as_pointer())
            held = builder.load(place)
            more = builder.fpext(_totals(builder, done[tap::TAPS]), held.type)
            held.align = builder.store(builder.fadd(held, more), place).align = 8
        return context.get_dummy_value()

    return signature, codegen


def _clamped(builder: Any, number: int, last: Any, step: Any) -> Any:
    """Return min(number, last) * step."""
    here = const(number)
    return builder.mul(builder.select(builder.icmp_signed("<", here, last), here, last), step)


def _loop(builder: Any, count: Any, places: list[Any], steps: list[Any], values: list[Any], body: Any) -> list[Any]:
    """Write values = body(places, values) `count` times, at least once, each time with places a step further."""
    before, loop, after = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    phis = [builder.phi(value.type) for value in (count, *places, *values)]
    left, here, held = phis[0], phis[1 : 1 + len(places)], phis[1 + len(places) :]
    results: list[Any] = body(here, held)
    fewer = builder.sub(left, const(1))
    following = [fewer, *(builder.add(*pair) for pair in zip(here, steps, strict=True)), *results]
    for phi, begun, more in zip(phis, (count, *places, *values), following, strict=True):
        phi.add_incoming(begun, before)
        phi.add_incoming(more, builder.block)
    builder.cbranch(builder.icmp_signed(">", fewer, const(0)), loop, after)
    builder.position_at_end(after)
    return results


def _totals(builder: Any, values: list[Any]) -> Any:
    """Return the sums of the lanes of four vectors, as one vector: neighbours are added twice, then halves."""

    def picked(one: Any, two: Any, lanes: list[int]) -> Any:
        return builder.shuffle_vector(one, two, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))

    def neighbours(one: Any, two: Any) -> Any:
        # Four lanes at a time, as processors do: two sums from one vector, two from the other.
        even = [first + lane for first in range(0, LANES, 4) for lane in (0, 2, LANES, LANES + 2)]
        return builder.fadd(picked(one, two, even), picked(one, two, [lane + 1 for lane in even]))

    total = neighbours(neighbours(*values[:2]), neighbours(*values[2:]))
    lanes = LANES
    while lanes > OUTPUTS:
        lanes //= 2
        total = builder.fadd(*(picked(total, total, list(range(first, first + lanes))) for first in (0, lanes)))
    return total


@compiled
def _accumulate(arenas, groups, begin, end, total, gradient, source, kernel, block, inputs_at_once):
    """Add to total (tiles of outputs, inputs * size * size, OUTPUTS), for tiles begin to end.

    gradient, source: (inner, rs, cs, channels, rows, cols) of the maps. kernel: size, stride and padding. block: groups
    and rows of a block.
    """
    size, stride, padding = kernel
    start, rs, cs, outputs, rows, cols = gradient
    source_start, source_rs, source_cs, inputs = source[:4]
    width, flat, sums = arenas.shape[1], arenas.reshape(-1), total.reshape(-1)
    at_once = TAPS if size == 1 else 1
    for group in range(0, groups, block[0]):
        group_count = min(block[0], groups - group)
        for y in range(0, rows, block[1]):
            row_count = min(block[1], rows - y)
            for some in range(0, inputs, inputs_at_once):
                for tile in range(begin, end):
                    output = tile * OUTPUTS
                    first = group * width + start + y * rs + output * cs
                    for channel in range(some, min(some + inputs_at_once, inputs), at_once):
                        read = group * width + source_start + channel * source_cs - padding * (source_rs + LANES)
                        for dy in range(size):
                            _tile(
                                flat,
                                sums,
                                group_count,
                                row_count,
                                cols,
                                first,
                                rs,
                                outputs - 1 - output,
                                cs,
                                read + (y * stride + dy) * source_rs,
                                stride * source_rs,
                                stride * LANES,
                                inputs - 1 - channel if size == 1 else size - 1,
                                source_cs if size == 1 else LANES,
                                width,
                                (tile * total.shape[1] + (channel * size + dy) * size) * OUTPUTS,
                            )


def weight_gradient(
    arenas: Floats, groups: int, source: Map, gradient: Map, *, size: int, stride: int, padding: int
) -> Floats:
    """Return the gradient (outputs, inputs, size, size) of a convolution's weights, summed over groups of images.

    It does not depend on the number of threads: every number is summed by one of them.

    Args:
        arenas: (at least `groups`, floats), with whole images as lanes.
        groups: how many of the arenas hold images.
        source: what the convolution has read.
        gradient: of what it has written; zero in lanes without an image.
        size: of the kernel, 1 or 3.
        stride: of the convolution.
        padding: at most 1, the border of a map.
    """
    assert size in (1, 3) and groups <= len(arenas) and 0 <= padding <= 1 and source.lanes == gradient.lanes == LANES
    for length, other in ((gradient.rows, source.rows), (gradient.cols, source.cols)):
        assert length == (other + 2 * padding - size) // stride + 1, "the maps are not those of one convolution"
    pixels = gradient.rows * gradient.cols
    block = max(1, BLOCK // pixels), max(1, min(gradient.rows, BLOCK // gradient.cols))
    channel_bytes = 4 * LANES * block[0] * (block[1] * stride + size - 1) * (source.cols + 2)
    inputs_at_once = -(-max(1, SOURCE_BYTES // channel_bytes) // TAPS) * TAPS
    tiles = -(-gradient.channels // OUTPUTS)
    columns = -(-source.channels // TAPS) * TAPS if size == 1 else source.channels * size * size
    total = np.zeros((tiles, columns, OUTPUTS))
    places = ((each.inner, each.rs, each.cs, each.channels, each.rows, each.cols) for each in (gradient, source))
    arguments = (total, *places, (size, stride, padding), block, inputs_at_once)
    in_threads(tiles, lambda _, begin, end: _accumulate(arenas, groups, begin, end, *arguments))
    used = total.swapaxes(1, 2).reshape(-1, columns)[: gradient.channels, : source.channels * size * size]
    return used.astype(np.float32).reshape(gradient.channels, source.channels, size, size)
