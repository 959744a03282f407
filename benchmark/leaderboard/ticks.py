"""Round numbers for the axes of the site's pictures and of the figures."""

from __future__ import annotations

import math

# Steps within a decade, the widest first: the first that gives enough ticks is taken.
_LOG_STEPS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0))
_FEWEST = 3


def ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Return round numbers within [low, high], at most `most` of them, 1, 2 or 5 times a power of ten apart.

    >>> ticks(0, 0.27)
    [0.0, 0.05, 0.1, 0.15, 0.2, 0.25]
    """
    span = high - low
    if span <= 0:
        return [low]
    exponent = math.floor(math.log10(span / most))
    for power in (exponent, exponent + 1):
        for digit in (1, 2, 5):
            step = digit * 10.0**power
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            if last - first < most:
                return [round(place * step, 12) for place in range(first, last + 1)]
    raise AssertionError("ten times the smallest step leaves fewer ticks than that")


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers within [low, high], both above 0: a few of each decade, evenly spaced in a narrow range.

    >>> log_ticks(1500, 30000)
    [3000.0, 10000.0, 30000.0]
    >>> log_ticks(33000, 58000)
    [35000.0, 40000.0, 45000.0, 50000.0, 55000.0]
    """
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in _LOG_STEPS:
        candidates = [step * 10.0**exponent for exponent in exponents for step in steps]
        within = [value for value in candidates if low <= value <= high]
        if len(within) >= _FEWEST:
            return within
    return ticks(low, high)
