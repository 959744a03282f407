"""Batch norm with the statistics of the batch: what reads and writes whole maps between the convolutions of a pass.

Forward, z = relu(scale * y + shift [+ shortcut]); back, with g the gradient where z > 0, y's is p * g + q * y + r: the
gradient of batch norm is affine in g and y, and its numbers follow from the sums of g and g * y.
`place` is (rs, cs, rows, cols * LANES), the same for all maps of one shape; maps are named by their inner place.
"""

from __future__ import annotations

import numpy as np

from methods.sparse.compiled import compiled
from methods.sparse.tile import LANES


@compiled
def normalise(arenas, begin, end, place, source, target, scale, shift, beside, beside_scale):
    """Write relu(scale * source + shift + beside_scale * beside); `beside` < 0: without it."""
    rs, cs, rows, run = place
    zero = np.float32(0)
    for group in range(begin, end):
        arena = arenas[group]
        for y in range(rows):
            for channel in range(len(scale)):
                at = y * rs + channel * cs
                a, b, c = scale[channel], shift[channel], beside_scale[channel]
                x, z = arena[source + at : source + at + run], arena[target + at : target + at + run]
                if beside >= 0:
                    w = arena[beside + at : beside + at + run]
                    for i in range(run):
                        value = a * x[i] + b + c * w[i]
                        z[i] = zero if value <= zero else value
                else:
                    for i in range(run):
                        value = a * x[i] + b
                        z[i] = zero if value <= zero else value


@compiled
def denormalise(arenas, begin, end, place, gradient, source, target, p, q, r):
    """Write p * gradient + q * source + r."""
    rs, cs, rows, run = place
    for group in range(begin, end):
        arena = arenas[group]
        for y in range(rows):
            for channel in range(len(p)):
                at = y * rs + channel * cs
                a, b, c = p[channel], q[channel], r[channel]
                g, x = arena[gradient + at : gradient + at + run], arena[source + at : source + at + run]
                z = arena[target + at : target + at + run]
                for i in range(run):
                    z[i] = a * g[i] + b * x[i] + c


@compiled
def clear_lanes(arena, place, target, channels, first):
    """Write zeros into the lanes of a map from `first` on, which hold no image."""
    rs, cs, rows, run = place
    for y in range(rows):
        for channel in range(channels):
            at = target + y * rs + channel * cs
            for x in range(0, run, LANES):
                for lane in range(first, LANES):
                    arena[at + x + lane] = 0


@compiled
def count(arenas, begin, end, place, first, second, stat, channels):
    """Add the sums of `first`, and of first * second, to those at `stat`, two vectors for each channel."""
    rs, cs, rows, run = place
    for group in range(begin, end):
        arena = arenas[group]
        for y in range(rows):
            for channel in range(channels):
                a, b = first + y * rs + channel * cs, second + y * rs + channel * cs
                at = stat + channel * 2 * LANES
                one, two = arena[at : at + LANES], arena[at + LANES : at + 2 * LANES]
                for x in range(0, run, LANES):
                    for lane in range(LANES):
                        value = arena[a + x + lane]
                        one[lane] += value
                        two[lane] += value * arena[b + x + lane]


@compiled
def collect(arenas, groups, stat, sums):
    """Add up the sums of all groups and lanes in float64, (channels, 2), always in the same order, and reset them."""
    sums[:] = 0.0
    for group in range(groups):
        for channel in range(len(sums)):
            for which in range(2):
                at = stat + (2 * channel + which) * LANES
                for lane in range(LANES):
                    sums[channel, which] += arenas[group, at + lane]
                    arenas[group, at + lane] = 0
