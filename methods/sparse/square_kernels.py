"""The compiled part of `squares`: the tiles that a square reaches, and the loop that offers squares to images."""

from __future__ import annotations

import numpy as np

from methods.sparse.compiled import compiled
from methods.sparse.kernels import run
from methods.sparse.layout import (
    CHANNELS,
    COLS,
    CONV,
    OP,
    ROWS,
    SHAPES,
    TARGET,
    TARGET_CS,
    TARGET_RS,
    TILE,
    TILES,
)
from methods.sparse.tile import LANES

ZERO, ONE = np.float32(0), np.float32(1)


@compiled
def search(
    arenas, begin, end, steps, links, whole, lists, part, strips, masks, ends, features, logits, images, best, labels,
    margins, epsilon, squares, signs
):  # fmt: skip
    """Offer squares to groups of images, see `SquareSearch`; stop a group whose logits are not finite."""
    here = steps[1:].copy()
    tiles = np.empty((_tiles_of(steps), 3), np.int32)
    chosen = (lists[0], lists[1], lists[2], lists[3], tiles)
    saved = np.empty(part, np.float32)
    rectangles = np.empty((len(steps), 4), np.int64)
    written = np.zeros((len(steps), 4), np.int64)  # none by the steps that are no convolutions
    rejected = np.empty(LANES, np.bool_)
    for group in range(begin, end):
        arena, first = arenas[group], group * LANES
        last = min(first + LANES, len(best))
        for number in range(len(squares)):
            top, left, side = squares[number, 0], squares[number, 1], squares[number, 2]
            if not (margins[first:last] > ZERO).any():
                break
            rectangles[0] = top, top + side, left, left + side
            _choose(steps, links, whole, lists[4], here, tiles, rectangles, written)
            _save(arena, steps, written, saved)
            for i in range(first, last):
                if margins[i] > ZERO:
                    _draw(
                        arena, steps[0], ends, images[i], best[i], i - first, rectangles[0], signs[number], epsilon, 1
                    )
            run(arenas, group, group + 1, -1, here, chosen, part, strips, masks, ends, best, features, logits)
            for lane in range(LANES):
                rejected[lane] = True
                i = first + lane
                if i >= last or not margins[i] > ZERO:
                    continue
                margin = _margin(logits[i], labels[i])
                if not np.isfinite(margin):
                    return
                accepted = margin < margins[i]
                if accepted:
                    margins[i], rejected[lane] = margin, False
                stage = 2 if accepted else 0
                _draw(arena, steps[0], ends, images[i], best[i], lane, rectangles[0], signs[number], epsilon, stage)
            _restore(arena, steps, written, saved, rejected)


@compiled
def _tiles_of(steps):
    """Return how many tiles the steps have in all; maps of one shape share theirs."""
    count = 0
    for number in range(len(steps)):
        count += steps[number, TILES] - steps[number, TILE]
    return count


@compiled
def _choose(steps, links, whole, all_tiles, here, tiles, rectangles, written):
    """Choose the tiles of every convolution that a changed pixel reaches."""
    count = 0
    for number in range(1, len(steps)):
        step = steps[number]
        if step[OP] != CONV:
            continue
        source, residual, stride = links[number]
        place = rectangles[source]
        top, bottom = max(0, (place[0] + stride - 2) // stride), min(step[ROWS], place[1] // stride + 1)
        left, right = max(0, (place[2] + stride - 2) // stride), min(step[COLS], place[3] // stride + 1)
        if residual >= 0:
            beside = rectangles[residual]
            top, bottom = min(top, beside[0]), max(bottom, beside[1])
            left, right = min(left, beside[2]), max(right, beside[3])
        if whole[number]:
            top, bottom, left, right = 0, step[ROWS], 0, step[COLS]
        rectangles[number] = top, bottom, left, right
        here[number - 1, TILE] = count
        written[number] = step[ROWS], 0, step[COLS], 0
        for at in range(step[TILE], step[TILES]):
            y, x = all_tiles[at, 1], all_tiles[at, 2]
            rows, cols = SHAPES[all_tiles[at, 0]]
            if y < bottom and y + rows > top and x < right and x + cols > left:
                tiles[count] = all_tiles[at]
                count += 1
                area = written[number]
                area[0], area[1] = min(area[0], y), max(area[1], y + rows)
                area[2], area[3] = min(area[2], x), max(area[3], x + cols)
        here[number - 1, TILES] = count
        if whole[number]:
            written[number] = 0


@compiled
def _draw(arena, step, ends, image, best, lane, square, signs, epsilon, stage):
    """Write a lane's pixels of a square: 0 as they are in `best`, 1 moved, 2 moved and kept in `best`."""
    for channel in range(len(signs)):
        move = np.float32(2) * epsilon * signs[channel]
        for y in range(square[0], square[1]):
            for x in range(square[2], square[3]):
                value = best[channel, y, x]
                if stage > 0:
                    value = min(max(value + move, image[channel, y, x] - epsilon), image[channel, y, x] + epsilon)
                    value = min(max(value, ZERO), ONE)
                if stage == 2:
                    best[channel, y, x] = value
                else:
                    at = step[TARGET] + y * step[TARGET_RS] + channel * step[TARGET_CS] + x * LANES + lane
                    arena[at] = (value - ends[0][channel]) * ends[1][channel]


@compiled
def _margin(logits, label):
    """Return the label's logit minus the largest other one; NaN if any is not finite."""
    other = np.float32(-np.inf)
    for k in range(len(logits)):
        if not np.isfinite(logits[k]):
            return np.float32(np.nan)
        if k != label:
            other = max(other, logits[k])
    return logits[label] - other


@compiled
def _save(arena, steps, written, saved):
    """Copy what the convolutions are about to overwrite."""
    place = 0
    for number in range(1, len(steps)):
        step, area = steps[number], written[number]
        floats = (area[3] - area[2]) * LANES
        for y in range(area[0], area[1]):
            for channel in range(step[CHANNELS]):
                at = step[TARGET] + y * step[TARGET_RS] + channel * step[TARGET_CS] + area[2] * LANES
                for k in range(floats):
                    saved[place + k] = arena[at + k]
                place += floats


@compiled
def _restore(arena, steps, written, saved, rejected):
    """Put back what was saved, in the lanes that rejected the square."""
    place = 0
    for number in range(1, len(steps)):
        step, area = steps[number], written[number]
        vectors = area[3] - area[2]
        for y in range(area[0], area[1]):
            for channel in range(step[CHANNELS]):
                at = step[TARGET] + y * step[TARGET_RS] + channel * step[TARGET_CS] + area[2] * LANES
                for _ in range(vectors):
                    for lane in range(LANES):
                        before, now = saved[place + lane], arena[at + lane]
                        arena[at + lane] = before if rejected[lane] else now
                    at += LANES
                    place += LANES
