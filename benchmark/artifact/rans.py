"""Entropy coder for masks: interleaved rANS (Duda 2013), vectorised over lanes; pure functions on numpy arrays.

Every mask is coded with its own density as the probability of a one, and all masks share one stream. The layout of the
stream is part of the file format: docs/artifact-format.md.

Bytes for random masks of ResNet34 (21 million weights), compared with other codes:

    keep ratio, p       bound      rANS   Rice gaps   varint gaps + zlib      bitmap
    0.01, p=0.1       184,151   185,708     185,181              208,312   2,658,136
    0.1,  p=1       1,246,615 1,248,188   1,264,233            1,385,480   2,658,136
    0.3,  p=1       2,342,549 2,344,160   2,360,998            2,772,249   2,658,136
    0.9,  p=1       1,246,615 1,248,208   1,264,245            1,726,825   2,658,136

Rice codes of the gaps between kept weights (between dropped ones above one half) are as short at 1% and up to 1.4%
longer elsewhere; rANS stays within 0.9% of the bound log2 C(n, k) at every density.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from benchmark.artifact import rans_steps
from benchmark.artifact.rans_steps import LOW_BITS, SCALE_BITS, TOO_SHORT, WORD_BITS, Bits, Frequencies, Words
from methods.sparse.support import compiles

MAX_LANES = 256
# Fewer symbols are coded in numpy before numba would be imported: both take about half a second.
MIN_COMPILED = 4_000_000


class BadStream(ValueError):
    """A stream that `encode` cannot produce."""


def lanes_for(symbols: int) -> int:
    """Return the number of states that share a stream of `symbols` bits: 1 to 256, about sqrt(symbols) / 8.

    A lane costs about six bytes, at most eight; a step takes as long for 256 lanes as for one.
    """
    return min(max(math.isqrt(symbols) // 8, 1), MAX_LANES)


def encode(masks: Sequence[Bits]) -> bytes:
    """Encode masks so that one of n bits with k ones takes about log2 C(n, k) bits.

    Args:
        masks: one-dimensional, at least one bit each; constant masks are better left out.

    Returns:
        The states as little-endian uint64, one per lane, followed by little-endian uint32 words; b"" without masks.
    """
    if not masks:
        return b""
    symbols = sum(len(mask) for mask in masks)
    steps = _steps(symbols)
    states = np.full(lanes_for(symbols), 1 << LOW_BITS, np.uint64)
    words: list[Words] = []
    for mask in reversed(masks):
        words += steps.encode_mask(mask, _frequencies(len(mask), int(mask.sum())), states)
    return states.astype("<u8").tobytes() + b"".join(part.astype("<u4").tobytes() for part in reversed(words))


def decode(stream: bytes, sizes: Sequence[int], ones: Sequence[int]) -> list[Bits]:
    """Return the masks that `encode` turned into `stream`.

    Time and memory depend only on `sizes`, so check these first.

    Args:
        stream: what `encode` returned.
        sizes: number of bits of each mask, at least 1.
        ones: number of set bits of each mask, at most its size.

    Raises:
        BadStream: if no masks of these sizes and counts are encoded as this stream.
    """
    if not sizes:
        if stream:
            raise BadStream("there are bytes but no masks to decode")
        return []
    lanes = lanes_for(sum(sizes))
    if len(stream) < 8 * lanes or len(stream) % 4:
        raise BadStream(f"{len(stream)} bytes are not {lanes} states and whole words")
    states = np.frombuffer(stream, "<u8", lanes).astype(np.uint64)
    if ((states < 1 << LOW_BITS) | (states >= 1 << LOW_BITS + WORD_BITS)).any():
        raise BadStream("a state is out of range")
    words = np.frombuffer(stream, "<u4", offset=8 * lanes).astype(np.uint32)
    steps, position, masks = _steps(sum(sizes)), 0, []
    for size, count in zip(sizes, ones, strict=True):
        mask = np.empty(size, np.bool_)
        position = steps.decode_mask(mask, _frequencies(size, count), states, words, position)
        if position == TOO_SHORT:
            raise BadStream("it ends too early")
        if int(mask.sum()) != count:
            raise BadStream(f"a mask has {int(mask.sum()):,} ones instead of {count:,}")
        masks.append(mask)
    if position != len(words) or (states != 1 << LOW_BITS).any():
        raise BadStream("data is left over after the last mask")
    return masks


def _steps(symbols: int) -> ModuleType:
    """Return what codes single masks: compiled if numba is at hand and the wait for it pays; the bytes are the same."""
    if (symbols < MIN_COMPILED and "numba" not in sys.modules) or not compiles():
        return rans_steps
    from benchmark.artifact import rans_kernels

    return rans_kernels


def _frequencies(size: int, ones: int) -> Frequencies:
    """Return the shares of zeros and ones, rounded to positive multiples of 2 ** -24 that add up to one."""
    total = 1 << SCALE_BITS
    one = min(max((ones * total + size // 2) // size, 1), total - 1)
    return np.uint64(total - one), np.uint64(one)
