"""The code of 2:4 masks in an artifact: a digit from 0 to 5 for each group of four, three digits a byte.

Of four weights two are kept in one of six patterns, numbered in the order of the positions kept: 0 for the first two,
5 for the last two. A rest of two or three weights keeps one, and its digit is the position of that one; a single weight
is dropped and has no digit. A byte is 36a + 6b + c of three digits; the last one is completed with zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from benchmark.artifact.groups import FOUR, Bits, from_rows, rows_of

_DIGITS = 3  # in a byte
_BASE = 6
_PLACES = np.array([_BASE**2, _BASE, 1], np.uint8)


class BadPatterns(ValueError):
    """Bytes that `encode` cannot produce."""


def encode(masks: Sequence[Bits]) -> bytes:
    """Return the digits of masks (out, in, k, k) that keep two of every four weights."""
    digits = [np.empty(0, np.uint8)]
    for mask in masks:
        fours, rest = rows_of(mask)
        parts = [fours.reshape(len(mask), -1, FOUR)] + ([rest[:, None]] if rest.shape[1] > 1 else [])
        digits.append(np.concatenate([_numbers(part) for part in parts], axis=1).reshape(-1))
    flat = np.concatenate(digits)
    return (np.pad(flat, (0, -len(flat) % _DIGITS)).reshape(-1, _DIGITS) @ _PLACES).astype(np.uint8).tobytes()


def decode(stream: bytes, shapes: Sequence[tuple[int, ...]]) -> list[Bits]:
    """Return the masks of these shapes that `encode` turned into `stream`.

    Raises:
        BadPatterns: if there are none.
    """
    per_row = [math.prod(shape[1:]) // FOUR + (math.prod(shape[1:]) % FOUR > 1) for shape in shapes]
    needed = sum(shape[0] * count for shape, count in zip(shapes, per_row, strict=True))
    if len(stream) != -(-needed // _DIGITS):
        raise BadPatterns(f"there are {len(stream):,} bytes for {needed:,} groups")
    code = np.frombuffer(stream, np.uint8)
    if (code >= _BASE**_DIGITS).any():
        raise BadPatterns("a byte is not made of digits from 0 to 5")
    digits = (code[:, None] // _PLACES % _BASE).reshape(-1)
    if digits[needed:].any():
        raise BadPatterns("there are more digits than groups")
    masks, start = [], 0
    for shape, count in zip(shapes, per_row, strict=True):
        part = digits[start : start + shape[0] * count].reshape(shape[0], count)
        masks.append(_mask(part, shape))
        start += part.size
    return masks


def _mask(digits: NDArray[np.uint8], shape: tuple[int, ...]) -> Bits:
    out_channels, fan_in = shape[0], math.prod(shape[1:])
    whole, width = fan_in // FOUR, fan_in % FOUR
    rows = [_patterns(FOUR)[digits[:, :whole]].reshape(out_channels, -1)]
    if width > 1:
        patterns = _patterns(width)
        if (digits[:, whole] >= len(patterns)).any():
            raise BadPatterns(f"a rest of {width} weights has only {len(patterns)} patterns")
        rows.append(patterns[digits[:, whole]])
    elif width == 1:
        rows.append(np.zeros((out_channels, 1), np.bool_))
    return from_rows(np.concatenate(rows, axis=1), shape)


def _numbers(groups: Bits) -> NDArray[np.uint8]:
    """Return the number of each group's pattern, the groups along the last axis."""
    patterns = _patterns(groups.shape[-1])
    powers = 1 << np.arange(groups.shape[-1])
    number_of = np.zeros(2 ** groups.shape[-1], np.uint8)
    number_of[patterns @ powers] = np.arange(len(patterns))
    numbers: NDArray[np.uint8] = number_of[groups @ powers]
    return numbers


def _patterns(width: int) -> Bits:
    """Return the patterns of a group, one a row, in the order of the positions that they keep."""
    chosen = list(combinations(range(width), width // 2))
    patterns = np.zeros((len(chosen), width), np.bool_)
    for row, kept in enumerate(chosen):
        patterns[row, list(kept)] = True
    return patterns
