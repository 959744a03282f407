"""The steps of the mask coder for one mask, in numpy: the reference for `rans_kernels`, used where numba is missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]
States = NDArray[np.uint64]
Words = NDArray[np.uint32]
Frequencies = tuple[np.uint64, np.uint64]  # of zeros and ones: positive, with sum 2 ** SCALE_BITS

SCALE_BITS = 24  # probabilities are multiples of 2 ** -24, enough for one weight in 16 million
LOW_BITS = 31  # between symbols every state is in [2 ** 31, 2 ** 63)
WORD_BITS = 32  # renormalisation moves one word of 32 bits
TOO_SHORT = -1  # in place of a position: the words have ended before the mask

# Some versions of numpy turn the product of a uint64 and a Python int into a float.
_SCALE, _LOW, _WORD = np.uint64(SCALE_BITS), np.uint64(LOW_BITS), np.uint64(WORD_BITS)


def encode_mask(mask: Bits, frequencies: Frequencies, states: States) -> list[Words]:
    """Put a mask into `states`, and return the words that leave them: arrays in the reverse order of the stream.

    Args:
        mask: one-dimensional.
        frequencies: of zeros and ones.
        states: one per lane; those after the mask go in, those before it come out.
    """
    zero, one = frequencies
    full_zero, full_one = (frequency << _LOW + _WORD - _SCALE for frequency in (zero, one))
    words: list[Words] = []
    lanes = len(states)
    # Last bit first, because the decoder gets symbols out of a state in reverse order.
    for start in range((len(mask) - 1) // lanes * lanes, -1, -lanes):
        bits = mask[start : start + lanes]
        active = states[: len(bits)]
        full = (active >= np.where(bits, full_one, full_zero)).nonzero()[0]
        words.append(active[full].astype(np.uint32))
        active[full] >>= _WORD
        ones = bits.nonzero()[0]
        taken = active[ones]
        active += active // zero * one
        active[ones] = taken + (taken // one + np.uint64(1)) * zero
    return words


def decode_mask(mask: Bits, frequencies: Frequencies, states: States, words: Words, position: int) -> int:
    """Fill `mask`, advance `states`, and return the position of the next word, or TOO_SHORT.

    Args:
        mask: one-dimensional; what is in it does not matter.
        frequencies: of zeros and ones.
        states: one per lane, each in [2 ** LOW_BITS, 2 ** (LOW_BITS + WORD_BITS)), where every step leaves it.
        words: of the whole stream.
        position: of the next word, at most their number.
    """
    zero, one = frequencies
    low, slots, lanes = np.uint64(1 << LOW_BITS), np.uint64((1 << SCALE_BITS) - 1), len(states)
    for start in range(0, len(mask), lanes):
        bits = mask[start : start + lanes]
        active = states[: len(bits)]
        slot = active & slots
        np.greater_equal(slot, zero, out=bits)
        active >>= _SCALE
        active *= np.where(bits, one, zero)
        active += slot
        active[bits] -= zero
        empty = (active < low).nonzero()[0]
        if position + len(empty) > len(words):
            return TOO_SHORT
        active[empty] = (active[empty] << _WORD) | words[position : position + len(empty)]
        position += len(empty)
    return position
