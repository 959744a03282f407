"""Batch norm with the statistics of the batch: what reads and writes whole maps between the convolutions of a pass.

Forward, z = relu(scale * (y - mean) + beta [+ shortcut]); back, with g the gradient where z > 0, y's is p * g + q *
(y - mean) + r: the gradient of batch norm is affine in g and y, and its numbers follow from the sums of g and g * y.
Both are one kind of sweep.
"""

from __future__ import annotations

import numpy as np

from methods.sparse.compiled import compiled
from methods.sparse.kernels import run
from methods.sparse.layout import MASK, SOURCE, TARGET
from methods.sparse.tile import LANES

# Maps from here on lie in scratch memory. Each thread has one, whose maps the next group of images overwrites, so that
# they stay in the cache; or each group has one, whose maps are there until the next phase.
SCRATCH = 2**40
# Fields of a sweep: inner places of two maps to read and one to write, the shape of all three, whether to cut off what
# is negative. SECOND < 0: there is none.
FIRST, SECOND, INTO, ROW, CHANNEL, HEIGHT, LENGTH, DEPTH, CUT = range(9)


@compiled
def phase(arenas, begin, end, thread, place, lanes, sweeps, factors, steps, lists, part, strips, masks, ends, images,
          features, nothing):  # fmt: skip
    """Sweep over maps of a group, then run steps that read them, group by group.

    Args:
        arenas: (groups, floats); a group's maps, sums of convolutions and scratch memory.
        begin: the first group.
        end: the first group after them.
        thread: whose scratch memory to use, the one in the arena of that number; -1: each group's own.
        place: where scratch memory begins in an arena.
        lanes: of the last group that hold an image; the others are kept at zero, where they change no sum.
        sweeps: (sweeps, fields).
        factors: (sweeps, 5, channels); a, d, b, e and c of a * (first - d) + b * (second - e) + c.
        steps: as the following, see `run`; there may be none.
        lists: see `run`.
        part: see `run`.
        strips: see `run`.
        masks: see `run`.
        ends: see `run`.
        images: see `run`.
        features: see `run`.
        nothing: in place of logits.
    """
    flat, width = arenas.reshape(-1), arenas.shape[1]
    moved = steps.copy()
    for group in range(begin, end):
        base = group * width
        away = (base if thread < 0 else thread * width) + place - SCRATCH - base
        for number in range(len(sweeps)):
            _combine(flat, base, away, sweeps[number], factors[number])
            if lanes < LANES and group == len(arenas) - 1:
                _clear_lanes(flat, base, away, sweeps[number], lanes)
        for number in range(len(steps)):
            source, mask = steps[number, SOURCE], steps[number, MASK]
            moved[number, SOURCE] = source + away if source >= SCRATCH else source
            # Relative to the target, which is never in scratch memory.
            in_scratch = mask >= 0 and mask + steps[number, TARGET] >= SCRATCH
            moved[number, MASK] = mask + away if in_scratch else mask
        run(arenas, group, group + 1, -1, moved, lists, part, strips, masks, ends, images, features, nothing)


@compiled
def _combine(flat, base, away, sweep, factors):
    first, second, into = sweep[FIRST], sweep[SECOND], sweep[INTO]
    first += base + (away if first >= SCRATCH else 0)
    into += base + (away if into >= SCRATCH else 0)
    run_length, zero = sweep[LENGTH], np.float32(0)
    for y in range(sweep[HEIGHT]):
        for channel in range(sweep[DEPTH]):
            at = y * sweep[ROW] + channel * sweep[CHANNEL]
            a, d, b = factors[0, channel], factors[1, channel], factors[2, channel]
            e, c = factors[3, channel], factors[4, channel]
            x, z = flat[first + at : first + at + run_length], flat[into + at : into + at + run_length]
            if second < 0:
                for i in range(run_length):
                    value = a * (x[i] - d) + c
                    z[i] = zero if value <= zero else value
                continue
            w = flat[base + second + at : base + second + at + run_length]
            if sweep[CUT]:
                for i in range(run_length):
                    value = a * (x[i] - d) + b * (w[i] - e) + c
                    z[i] = zero if value <= zero else value
            else:
                for i in range(run_length):
                    z[i] = a * (x[i] - d) + b * (w[i] - e) + c


@compiled
def _clear_lanes(flat, base, away, sweep, lanes):
    into = base + sweep[INTO] + (away if sweep[INTO] >= SCRATCH else 0)
    for y in range(sweep[HEIGHT]):
        for channel in range(sweep[DEPTH]):
            at = into + y * sweep[ROW] + channel * sweep[CHANNEL]
            for x in range(0, sweep[LENGTH], LANES):
                for lane in range(lanes, LANES):
                    flat[at + x + lane] = 0


@compiled
def count(arenas, begin, end, sweep, stat):
    """Add the sums of a sweep's first map, and of its products with the second, to those at `stat`."""
    for group in range(begin, end):
        arena = arenas[group]
        for y in range(sweep[HEIGHT]):
            for channel in range(sweep[DEPTH]):
                at = y * sweep[ROW] + channel * sweep[CHANNEL]
                a, b = sweep[FIRST] + at, sweep[SECOND] + at
                sums = stat + channel * 2 * LANES
                one, two = arena[sums : sums + LANES], arena[sums + LANES : sums + 2 * LANES]
                for x in range(0, sweep[LENGTH], LANES):
                    for lane in range(LANES):
                        value = arena[a + x + lane]
                        one[lane] += value
                        two[lane] += value * arena[b + x + lane]


@compiled
def centre(arenas, begin, end, lanes, sweep, stat, means, far):
    """Subtract the means from the channels that are far from zero, and count them again, as convolutions do.

    Otherwise the variance of numbers that differ little would be lost between two large sums. `lanes`: see `phase`.
    """
    for group in range(begin, end):
        arena, living = arenas[group], lanes if group == len(arenas) - 1 else LANES
        for y in range(sweep[HEIGHT]):
            for channel in range(sweep[DEPTH]):
                if not far[channel]:
                    continue
                at, mean = sweep[INTO] + y * sweep[ROW] + channel * sweep[CHANNEL], means[channel]
                sums = stat + channel * 2 * LANES
                one, two = arena[sums : sums + LANES], arena[sums + LANES : sums + 2 * LANES]
                for x in range(at, at + sweep[LENGTH], LANES):
                    for lane in range(LANES):
                        value = arena[x + lane] - mean if lane < living else np.float32(0)
                        arena[x + lane] = value
                        one[lane] += value
                        two[lane] += value * value


@compiled
def collect(arenas, stat, sums):
    """Add up the sums of all groups and lanes in float64, (channels, 2), always in the same order, and reset them."""
    sums[:] = 0.0
    for group in range(len(arenas)):
        for channel in range(len(sums)):
            for which in range(2):
                at = stat + (2 * channel + which) * LANES
                for lane in range(LANES):
                    sums[channel, which] += arenas[group, at + lane]
                    arenas[group, at + lane] = 0
