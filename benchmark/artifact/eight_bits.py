"""Batch-norm tensors in eight bits, with one power of two per tensor; exact arithmetic, so rounding is idempotent.

A variance has four bits of exponent and four of fraction, because its relative error matters: it is off by at most one
part in 32, down to 2^-14 of the largest, and zero only below 2^-19 of it. All other tensors are whole multiples of the
power of two, off by at most one part in 128 of the largest magnitude.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST_EXPONENT = -128
_LINEAR_BITS = 7  # the largest magnitude is a multiple from 64 to 127
_FRACTION_BITS = 4
_TOP = 15 + _FRACTION_BITS  # the largest variance is from 2^18 to 31 * 2^14 times the power of two


def to_eight_bits(values: NDArray[np.float32], *, variance: bool) -> tuple[NDArray[np.uint8], int]:
    """Round values to eight bits times 2 ** exponent, to the nearest, ties to even.

    Args:
        values: finite, of any shape; variances are not negative.
        variance: which of the two codes to use.

    Returns:
        The codes, bytes of signed integers unless `variance`, and the exponent, in [-128, 127]; 0 if all are zero.
    """
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0:
        return np.zeros(values.shape, np.uint8), 0
    fraction, top = np.frexp(largest)
    bits, offset = (_FRACTION_BITS + 1, _TOP) if variance else (_LINEAR_BITS, _LINEAR_BITS)
    # A fraction that rounds up to 1 gives the next power of two.
    top = int(top) + int(np.rint(np.ldexp(fraction, bits)) == 2**bits)
    exponent = max(top - offset, LEAST_EXPONENT)
    scaled = np.ldexp(values.astype(np.float64), -exponent)
    if not variance:
        return np.rint(scaled).astype(np.int8).view(np.uint8), exponent
    shift = np.maximum(np.frexp(scaled)[1] - _FRACTION_BITS - 1, 0)
    # Fractions of 16 to 31 and shifts follow each other without gaps, so that rounding up to 32 is the next shift.
    return (16 * shift + np.rint(np.ldexp(scaled, -shift))).astype(np.uint8), exponent


def from_eight_bits(codes: NDArray[np.uint8], exponent: int, *, variance: bool) -> NDArray[np.float32]:
    """Return the numbers that `to_eight_bits` coded; overflow gives infinities."""
    if variance:
        shift = np.maximum(codes.astype(np.int64) // 16 - 1, 0)
        numbers = np.ldexp((codes.astype(np.int64) - 16 * shift).astype(np.float64), shift)
    else:
        numbers = codes.view(np.int8).astype(np.float64)
    with np.errstate(over="ignore"):
        restored: NDArray[np.float32] = np.ldexp(numbers, exponent).astype(np.float32)
    return restored
