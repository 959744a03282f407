"""The innermost loop, as LLVM instructions: one list for a tile of pixels, in registers.

A tile of R x C pixels has R * C accumulators of LANES floats. For each entry of the list there are one offset, one
value, and R * C multiply-adds of it with vectors from memory. These are plain LLVM vectors, which any processor
computes; compiled from a loop over lanes instead, they reach 65 to 92% of the speed.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from methods.sparse.layout import NONE, SHAPES

LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8
VECTOR, I32, I64 = ir.VectorType(ir.FloatType(), LANES), ir.IntType(32), ir.IntType(64)
ZERO = ir.Constant(VECTOR, [0.0] * LANES)
FUSED = ("contract",)  # allows a fused multiply-add

ARGUMENTS = (
    *("shape", "first", "last", "source", "source_rs", "source_xs", "begin", "bias", "whole"),
    *("target", "target_rs", "target_xs", "relu", "res", "mask", "stat", "stat2"),
)


def const(number: int) -> Any:
    """Return an integer constant."""
    return ir.Constant(I64, number)


class TileWriter:
    """Writes the instructions for one shape of tiles."""

    def __init__(self, builder: Any, data: list[Any], arguments: dict[str, Any], shape: tuple[int, int]) -> None:
        self.builder, self.arguments = builder, arguments
        self.arena, self.offsets, self.values = data
        self.shape, self.count = shape, shape[0] * shape[1]

    def load(self, index: Any) -> Any:
        """Return the vector at an index into the arena."""
        value = self.builder.load(self._at(index))
        value.align = 4
        return value

    def store(self, value: Any, index: Any) -> None:
        """Write a vector at an index into the arena."""
        self.builder.store(value, self._at(index)).align = 4

    def _at(self, index: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(self.arena, [index]), VECTOR.as_pointer())

    def splat(self, scalar: Any) -> Any:
        """Return a vector of one number."""
        nothing = ir.Constant(VECTOR, ir.Undefined)
        one = self.builder.insert_element(nothing, scalar, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))

    def pixels(self, base: Any, rs: Any, xs: Any) -> list[Any]:
        """Return the indices of the tile's pixels."""
        builder, (rows, cols) = self.builder, self.shape
        starts = [base]
        for _ in range(1, rows):
            starts.append(builder.add(starts[-1], rs))
        steps = [builder.mul(xs, const(column)) for column in range(cols)]
        return [builder.add(start, step) for start in starts for step in steps]

    def write(self) -> None:
        """Write everything: the sum over the list, then the tile itself or its bare sums."""
        builder, get = self.builder, self.arguments
        sums = self._summed(self._begun())
        bare, full, end = (builder.append_basic_block(name) for name in ("bare", "full", "end"))
        builder.cbranch(builder.icmp_signed("==", get["whole"], const(0)), bare, full)
        builder.position_at_end(bare)
        for number, value in enumerate(sums):
            self.store(value, builder.add(get["target"], const(number * LANES)))
        builder.branch(end)
        builder.position_at_end(full)
        self._finish(sums)
        builder.branch(end)
        builder.position_at_end(end)

    def _begun(self) -> list[Any]:
        """Return what the accumulators begin with: the bias, or the sums of the chunk before."""
        builder, begin = self.builder, self.arguments["begin"]
        fresh, again, joined = (builder.append_basic_block(name) for name in ("fresh", "again", "joined"))
        builder.cbranch(builder.icmp_signed("<", begin, const(0)), fresh, again)
        builder.position_at_end(fresh)
        bias = self.splat(self.arguments["bias"])
        builder.branch(joined)
        builder.position_at_end(again)
        stored = [self.load(builder.add(begin, const(number * LANES))) for number in range(self.count)]
        builder.branch(joined)
        builder.position_at_end(joined)
        return [self._phi((bias, fresh), (old, again)) for old in stored]

    def _phi(self, *incoming: tuple[Any, Any]) -> Any:
        phi = self.builder.phi(VECTOR)
        for value, block in incoming:
            phi.add_incoming(value, block)
        return phi

    def _summed(self, begun: list[Any]) -> list[Any]:
        """Add the products of the list's entries."""
        builder, get = self.builder, self.arguments
        before, loop, after = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("after")
        builder.cbranch(builder.icmp_signed("<", get["first"], get["last"]), loop, after)
        builder.position_at_end(loop)
        entry = builder.phi(I64)
        sums = [self._phi((value, before)) for value in begun]
        offset = builder.sext(builder.load(builder.gep(self.offsets, [entry])), I64)
        weight = self.splat(builder.load(builder.gep(self.values, [entry])))
        places = self.pixels(builder.add(get["source"], offset), get["source_rs"], get["source_xs"])
        more = [
            builder.fadd(value, builder.fmul(self.load(place), weight, flags=FUSED), flags=FUSED)
            for value, place in zip(sums, places, strict=True)
        ]
        following = builder.add(entry, const(1))
        entry.add_incoming(get["first"], before)
        entry.add_incoming(following, loop)
        for phi, value in zip(sums, more, strict=True):
            phi.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, get["last"]), loop, after)
        builder.position_at_end(after)
        return [self._phi((old, before), (new, loop)) for old, new in zip(begun, more, strict=True)]

    def _finish(self, sums: list[Any]) -> None:
        """Add the residual, cut off what is negative or masked, store the tile and count it in; NaN stays NaN."""
        builder, get, none = self.builder, self.arguments, const(NONE)
        places = self.pixels(get["target"], get["target_rs"], get["target_xs"])

        def away(distance: Any) -> list[Any]:
            return [self.load(builder.add(place, distance)) for place in places]

        def unmasked(values: list[Any]) -> list[Any]:
            pairs = zip(values, away(get["mask"]), strict=True)
            return [builder.select(builder.fcmp_unordered(">", other, ZERO), value, ZERO) for value, other in pairs]

        def rectified(values: list[Any]) -> list[Any]:
            # Unlike `value <= 0` this is a single instruction; -0 stays -0.
            return [builder.select(builder.fcmp_ordered(">", ZERO, value), ZERO, value) for value in values]

        def added(values: list[Any]) -> list[Any]:
            return [builder.fadd(value, other) for value, other in zip(values, away(get["res"]), strict=True)]

        sums = self._where(builder.icmp_signed("!=", get["res"], none), sums, added)
        sums = self._where(builder.icmp_signed("!=", get["relu"], const(0)), sums, rectified)
        masked = builder.icmp_signed("!=", get["mask"], none)
        sums = self._where(masked, sums, unmasked)
        for value, place in zip(sums, places, strict=True):
            self.store(value, place)

        def counted(values: list[Any]) -> list[Any]:
            others = self._where(builder.icmp_signed("!=", get["stat2"], none), values, lambda _: away(get["stat2"]))
            second = builder.add(get["stat"], const(LANES))
            one, two = self.load(get["stat"]), self.load(second)
            for value, other in zip(values, others, strict=True):
                one = builder.fadd(one, value)
                two = builder.fadd(two, builder.fmul(value, other, flags=FUSED), flags=FUSED)
            self.store(one, get["stat"])
            self.store(two, second)
            return values

        self._where(builder.icmp_signed("!=", get["stat"], none), sums, counted)

    def _where(self, condition: Any, values: list[Any], change: Any) -> list[Any]:
        """Return change(values) where a condition holds, else the values."""
        builder, here = self.builder, self.builder.block
        then, joined = builder.append_basic_block("then"), builder.append_basic_block("joined")
        builder.cbranch(condition, then, joined)
        builder.position_at_end(then)
        changed, end = change(values), builder.block
        builder.branch(joined)
        builder.position_at_end(joined)
        return [self._phi((old, here), (new, end)) for old, new in zip(values, changed, strict=True)]


@intrinsic
def tile(
    typingctx, arena, offsets, values, shape, first, last, source, source_rs, source_xs, begin, bias, whole, target,
    target_rs, target_xs, relu, res, mask, stat, stat2
):  # fmt: skip
    """Compute one output channel of a tile: arena[target...] = end(begin + sum(value * arena[source + offset...])).

    shape: number in `SHAPES`. first, last: bounds of the list. begin: where the sums of the chunk before are, or -1 to
    begin with `bias`. whole: 0 writes bare sums, one vector after the other; 1 the tile. The others as in a step.
    """
    integers = types.int64
    signature = types.void(arena, offsets, values, *[integers] * 7, types.float32, *[integers] * 9)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = [context.make_array(signature.args[i])(context, builder, args[i]).data for i in range(3)]
        arguments = dict(zip(ARGUMENTS, args[3:], strict=True))
        end = builder.append_basic_block("end_of_tile")
        blocks = [builder.append_basic_block(f"tile_{rows}_{cols}") for rows, cols in SHAPES]
        switch = builder.switch(arguments["shape"], blocks[-1])
        for number, (block, each) in enumerate(zip(blocks, SHAPES, strict=True)):
            switch.add_case(const(number), block)
            builder.position_at_end(block)
            TileWriter(builder, data, arguments, each).write()
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def shift(typingctx, arena, masks, row, source, target, step, count):
    """Copy `count` vectors, one every `step` floats, from `source`, aligned or not, to `target`.

    Lanes that a row of `masks` excludes become zero. The mask stays in a register, which a loop outside would reload.
    """
    signature = types.void(arena, masks, *[types.int64] * 5)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = [context.make_array(signature.args[i])(context, builder, args[i]).data for i in range(2)]

        def at(pointer: Any, index: Any) -> Any:
            return builder.bitcast(builder.gep(pointer, [index]), VECTOR.as_pointer())

        mask = builder.load(at(data[1], builder.mul(args[2], const(LANES))))
        mask.align = 4
        inside = builder.fcmp_ordered(">", mask, ZERO)
        with cgutils.for_range(builder, args[6]) as loop:
            away = builder.mul(loop.index, args[5])
            value = builder.load(at(data[0], builder.add(args[3], away)))
            value.align = 4
            kept = builder.select(inside, value, ZERO)
            builder.store(kept, at(data[0], builder.add(args[4], away))).align = 4
        return context.get_dummy_value()

    return signature, codegen
