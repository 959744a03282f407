"""The steps of `rans_steps`, compiled by numba: the same bits, states and words.

Compiled code does not check an index. Every one here is below the length of its array by construction: those of states
by a count that starts again at their number, those of masks by the loop, and those of words by the comparison before
each of them, or because a symbol moves at most one word.
"""

from __future__ import annotations

import numpy as np

from benchmark.artifact.rans_steps import (
    LOW_BITS,
    SCALE_BITS,
    TOO_SHORT,
    WORD_BITS,
    Bits,
    Frequencies,
    States,
    Words,
)
from methods.sparse.compiled import compiled

PART = 1 << 20  # symbols whose words, at most as many, are collected at a time

# A number of another type would make numba compute in float64.
_SCALE, _WORD, _FULL = np.uint64(SCALE_BITS), np.uint64(WORD_BITS), np.uint64(LOW_BITS + WORD_BITS - SCALE_BITS)
_LOW, _SLOTS, _ONE = np.uint64(1 << LOW_BITS), np.uint64((1 << SCALE_BITS) - 1), np.uint64(1)
_LAST_WORD = np.uint64((1 << WORD_BITS) - 1)


def encode_mask(mask: Bits, frequencies: Frequencies, states: States) -> list[Words]:
    """As `rans_steps.encode_mask`."""
    zero, one = frequencies
    words: list[Words] = []
    for begin in range((len(mask) - 1) // PART * PART, -1, -PART):
        part = mask[begin : begin + PART]
        moved = np.empty(len(part), np.uint32)
        first = _encode(part, begin % len(states), zero, one, states, moved)
        words.append(moved[first:].copy())
    return words


def decode_mask(mask: Bits, frequencies: Frequencies, states: States, words: Words, position: int) -> int:
    """As `rans_steps.decode_mask`."""
    zero, one = frequencies
    return _decode(mask, zero, one, states, words, position)


@compiled
def _encode(mask: Bits, lane: int, zero: np.uint64, one: np.uint64, states: States, words: Words) -> int:
    """Put symbols into states, the last one first.

    Args:
        mask: symbols.
        lane: of the first of them, below the number of states.
        zero: frequency.
        one: frequency.
        states: one per lane.
        words: as many as symbols; filled from the end.

    Returns:
        The position of the first word that was filled.
    """
    lanes = len(states)
    lane = (lane + len(mask)) % lanes
    first = len(words)
    for index in range(len(mask) - 1, -1, -1):
        lane = (lane if lane > 0 else lanes) - 1
        state = states[lane]
        frequency = one if mask[index] else zero
        if state >= frequency << _FULL:
            first -= 1
            words[first] = state & _LAST_WORD
            state >>= _WORD
        turns = state // frequency
        states[lane] = state + (turns + _ONE) * zero if mask[index] else state + turns * one
    return first


@compiled
def _decode(mask: Bits, zero: np.uint64, one: np.uint64, states: States, words: Words, position: int) -> int:
    """See `decode_mask`."""
    lane, lanes, end = 0, len(states), len(words)
    for index in range(len(mask)):
        state = states[lane]
        slot = state & _SLOTS
        bit = slot >= zero
        mask[index] = bit
        state = (state >> _SCALE) * (one if bit else zero) + slot - (zero if bit else np.uint64(0))
        if state < _LOW:
            if position >= end:
                return TOO_SHORT
            state = state << _WORD | np.uint64(words[position])
            position += 1
        states[lane] = state
        lane = lane + 1 if lane + 1 < lanes else 0
    return position
