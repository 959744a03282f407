"""Float16 with one power of two per tensor, so that variances beyond float16's range keep eleven bits of precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOP_EXPONENT = 15  # the largest magnitude of a tensor is stored between 2 ** 14 and 2 ** 15
LEAST_EXPONENT = -128


def to_halves(values: NDArray[np.float32]) -> tuple[NDArray[np.float16], int]:
    """Round values to float16 times 2 ** exponent, to the nearest, ties to even.

    Magnitudes of at least 2 ** -28 times the largest keep eleven significant bits. Rounding is idempotent.

    Args:
        values: finite, of any shape.

    Returns:
        The float16 numbers and the exponent, in [-128, 127]; 0 if all values are zero.
    """
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0:
        return values.astype(np.float16), 0
    fraction, exponent = np.frexp(largest)
    # A fraction that rounds up to 1 gives the next power of two.
    exponent = max(int(exponent) + int(np.float16(fraction) == 1.0) - TOP_EXPONENT, LEAST_EXPONENT)
    return np.ldexp(values.astype(np.float64), -exponent).astype(np.float16), exponent


def from_halves(halves: NDArray[np.float16], exponent: int) -> NDArray[np.float32]:
    """Return halves * 2 ** exponent; overflow gives infinities, and NaN stays NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ldexp(halves.astype(np.float64), exponent).astype(np.float32)
