"""The kernels: a program's steps for groups of images."""

from __future__ import annotations

import numpy as np

from methods.sparse import layout
from methods.sparse.compiled import compiled
from methods.sparse.layout import (
    BIAS,
    BOUNDS,
    CHANNELS,
    CHUNKS,
    CLASSIFY,
    COLS,
    CONV,
    HALO,
    MASK,
    NONE,
    OP,
    PACK,
    POOL,
    RELU,
    RES,
    ROWS,
    SOURCE,
    SOURCE_RS,
    SOURCE_XS,
    STAT,
    STAT2,
    TARGET,
    TARGET_CS,
    TARGET_RS,
    TARGET_XS,
    TILE,
    TILES,
    UNCLASSIFY,
    UNPACK,
    UNPOOL,
)
from methods.sparse.tile import LANES, shift, tile

PART = layout.TILE_PIXELS * LANES  # floats that a channel's sums take between two chunks


@compiled
def run(arenas, begin, end, shared, steps, lists, part, strips, masks, ends, images, features, logits):
    """Run steps for the groups `begin` to `end` of a batch.

    Args:
        arenas: (groups, floats); a group's maps are in its own, unless all use a shared one and nothing is kept.
        begin: the first group.
        end: the first group after them.
        shared: an arena for all groups, or -1.
        steps: (S, fields).
        lists: bounds, offsets, values, bias and tiles of the program.
        part: where sums of a convolution between its chunks are, in an arena.
        strips: images in a group, and rows and columns of strips in an image.
        masks: (4, LANES), see `lane_masks`.
        ends: mean and 1 / std of the pixels, weight (C, classes) and bias of the classifier.
        images: (N, channels, height, width); read by PACK, written by UNPACK.
        features: (N, C); between POOL and CLASSIFY, and between UNCLASSIFY and UNPOOL.
        logits: (N, classes); written by CLASSIFY; their gradient, read by UNCLASSIFY.
    """
    for group in range(begin, end):
        arena = arenas[shared] if shared >= 0 else arenas[group]
        first = group * strips[0]
        last = min(first + strips[0], len(images))
        for number in range(len(steps)):
            step, op = steps[number], steps[number, OP]
            if op == CONV:
                _convolve(arena, step, lists, part)
            elif op == HALO:
                _copy_borders(arena, step, lists, strips, masks)
            elif op == PACK:
                _pack(arena, step, strips, images, first, last, ends[0], ends[1])
            elif op == POOL:
                _pool(arena, step, strips, features, first, last)
            elif op == CLASSIFY:
                _classify(features, logits, ends[2], ends[3], first, last)
            elif op == UNCLASSIFY:
                _unclassify(features, logits, ends[2], first, last)
            elif op == UNPOOL:
                _unpool(arena, step, strips, features, first, last)
            elif op == UNPACK:
                _unpack(arena, step, strips, images, first, last, ends[1])


@compiled
def _convolve(arena, step, lists, part):
    bounds, offsets, values, bias, tiles = lists
    channels, chunks = step[CHANNELS], step[CHUNKS]
    # In variables: as far as the compiler knows, writes to the arena could change the step.
    source_rs, source_xs, first_list, first_bias = step[SOURCE_RS], step[SOURCE_XS], step[BOUNDS], step[BIAS]
    target_rs, target_xs, target_cs = step[TARGET_RS], step[TARGET_XS], step[TARGET_CS]
    relu, res, mask, stat, stat2 = step[RELU], step[RES], step[MASK], step[STAT], step[STAT2]
    for number in range(step[TILE], step[TILES]):
        shape, y, x = tiles[number, 0], tiles[number, 1], tiles[number, 2]
        source = step[SOURCE] + y * source_rs + x * source_xs
        target = step[TARGET] + y * target_rs + x * target_xs
        for chunk in range(chunks):
            whole = 1 if chunk == chunks - 1 else 0
            for channel in range(channels):
                at = first_list + chunk * channels + channel
                begun = part + channel * PART
                tile(
                    arena,
                    offsets,
                    values,
                    shape,
                    bounds[at],
                    bounds[at + 1],
                    source,
                    source_rs,
                    source_xs,
                    begun if chunk > 0 else -1,
                    bias[first_bias + channel],
                    whole,
                    target + channel * target_cs if whole else begun,
                    target_rs,
                    target_xs,
                    relu,
                    res,
                    mask,
                    NONE if stat == NONE else stat + channel * (2 * LANES),
                    stat2,
                )


@compiled
def _copy_borders(arena, step, lists, strips, masks):
    """Copy the borders between strips, in the channels of a list: a neighbour's pixels are in other lanes.

    Outside of the image they are zero. Corners come from the rows copied first, long enough before.
    """
    bounds, offsets = lists[0], lists[1]
    channels = offsets[bounds[step[BOUNDS]] : bounds[step[BOUNDS] + 1]]
    rows, cols, rs = step[ROWS], step[COLS], step[TARGET_RS]
    row_shift, column_shift = strips[2] * strips[0], strips[0]
    corner = step[TARGET] - rs - LANES
    if strips[1] > 1:
        for channel in channels:
            at = corner + channel + LANES
            shift(arena, masks, 0, at + rows * rs - row_shift, at, LANES, cols)
            shift(arena, masks, 1, at + rs + row_shift, at + (rows + 1) * rs, LANES, cols)
    if strips[2] > 1:
        for channel in channels:
            left = corner + channel
            right = left + (cols + 1) * LANES
            shift(arena, masks, 2, right - LANES - column_shift, left, rs, rows + 2)
            shift(arena, masks, 3, left + LANES + column_shift, right, rs, rows + 2)


def lane_masks(images, strip_rows, strip_columns):
    """Return (4, LANES): 1 for lanes that have a neighbour above, below, left and right."""
    lane = np.arange(LANES)
    row, column = lane // (strip_columns * images), lane // images % strip_columns
    return np.stack([row > 0, row < strip_rows - 1, column > 0, column < strip_columns - 1]).astype(np.float32)


@compiled
def _pack(arena, step, strips, images, first, last, mean, scale):
    """Write standardised images into the lanes of a map; lanes without one hold zeros."""
    rows, cols = step[ROWS], step[COLS]
    for channel in range(step[CHANNELS]):
        for strip in range(strips[1] * strips[2]):
            top, left = strip // strips[2] * rows, strip % strips[2] * cols
            for i in range(strips[0]):
                for y in range(rows):
                    at = step[TARGET] + y * step[TARGET_RS] + channel * step[TARGET_CS] + strip * strips[0] + i
                    if first + i < last:
                        line = images[first + i, channel, top + y]
                        for x in range(cols):
                            arena[at + x * LANES] = (line[left + x] - mean[channel]) * scale[channel]
                    else:
                        for x in range(cols):
                            arena[at + x * LANES] = 0.0


@compiled
def _unpack(arena, step, strips, images, first, last, scale):
    """Write a map, a gradient, back into images, times scale."""
    rows, cols = step[ROWS], step[COLS]
    for channel in range(step[CHANNELS]):
        for strip in range(strips[1] * strips[2]):
            top, left = strip // strips[2] * rows, strip % strips[2] * cols
            for i in range(last - first):
                for y in range(rows):
                    at = step[TARGET] + y * step[TARGET_RS] + channel * step[TARGET_CS] + strip * strips[0] + i
                    line = images[first + i, channel, top + y]
                    for x in range(cols):
                        line[left + x] = arena[at + x * LANES] * scale[channel]


@compiled
def _pool(arena, step, strips, features, first, last):
    """Average a map over its pixels, in the order of the image's rows, so that strips change no bit."""
    rows, cols, images = step[ROWS], step[COLS], strips[0]
    scale = np.float32(1 / (rows * cols * strips[1] * strips[2]))
    for channel in range(step[CHANNELS]):
        base = step[TARGET] + channel * step[TARGET_CS]
        for i in range(last - first):
            total = np.float32(0)
            for strip_row in range(strips[1]):
                for y in range(rows):
                    for strip_column in range(strips[2]):
                        lane = (strip_row * strips[2] + strip_column) * images + i
                        for x in range(cols):
                            total += arena[base + y * step[TARGET_RS] + x * LANES + lane]
            features[first + i, channel] = total * scale


@compiled
def _unpool(arena, step, strips, features, first, last):
    """Spread the gradient of the features over a map, where the map that lies `mask` away is positive."""
    rows, cols, images = step[ROWS], step[COLS], strips[0]
    scale = np.float32(1 / (rows * cols * strips[1] * strips[2]))
    spread = np.zeros(LANES, np.float32)
    for channel in range(step[CHANNELS]):
        for lane in range(LANES):
            i = first + lane % images
            spread[lane] = features[i, channel] * scale if i < last else np.float32(0)
        for y in range(rows):
            for x in range(cols):
                at = step[TARGET] + y * step[TARGET_RS] + channel * step[TARGET_CS] + x * LANES
                for lane in range(LANES):
                    stopped = arena[at + lane + step[MASK]] <= 0  # NaN is let through, as by torch
                    arena[at + lane] = np.float32(0) if stopped else spread[lane]


@compiled
def _classify(features, logits, weight, bias, first, last):
    for i in range(first, last):
        out = logits[i]
        for k in range(len(bias)):
            out[k] = bias[k]
        for channel in range(len(weight)):
            value = features[i, channel]
            for k in range(len(bias)):
                out[k] += value * weight[channel, k]


@compiled
def _unclassify(features, logits, weight, first, last):
    for i in range(first, last):
        for channel in range(len(weight)):
            total = np.float32(0)
            for k in range(weight.shape[1]):
                total += logits[i, k] * weight[channel, k]
            features[i, channel] = total
