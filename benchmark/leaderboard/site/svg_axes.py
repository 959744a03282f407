"""Scales and axes of the site's inline pictures: SVG text from numbers, coloured by the style sheet. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Box:
    """The plotting area inside a picture, in its units; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Return the map of [low, high] onto [start, end]; an empty range lies in the middle."""
    if high == low:
        return lambda value: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """Return the map of [low, high], both above 0, onto [start, end] by their logarithms."""
    inner = linear(math.log10(low), math.log10(high), start, end)
    return lambda value: inner(math.log10(value))


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
    """Return powers of ten within [low, high], both above 0, and where these are few 2 and 5 times them.

    Where these are few too, round numbers at even distances.

    >>> log_ticks(1500, 30000)
    [2000.0, 5000.0, 10000.0, 20000.0]
    >>> log_ticks(33000, 58000)
    [35000.0, 40000.0, 45000.0, 50000.0, 55000.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    wide = high / low > 1000
    found = [digit * 10.0**decade for decade in decades for digit in ((1,) if wide else (1, 2, 5))]
    within = [value for value in found if low <= value <= high]
    return within if len(within) > 2 else ticks(low, high)


def grid(
    box: Box, x: Sequence[tuple[float, str]], y: Sequence[tuple[float, str]], *, x_title: str, y_title: str
) -> str:
    """Return lines, tick labels and titles of both axes.

    Args:
        box: the plotting area.
        x: places along the lower side with their labels, which hold no markup.
        y: likewise along the left side.
        x_title: below the lower side.
        y_title: above the left side.
    """
    lines = "".join(f"M{_n(box.left)} {_n(at)}H{_n(box.right)}" for at, _ in y)
    marks = "".join(f"M{_n(at)} {_n(box.bottom)}v4" for at, _ in x)
    return (
        f'<path class="grid" d="{lines}"/>'
        f'<path class="axis" d="M{_n(box.left)} {_n(box.bottom)}H{_n(box.right)}{marks}"/>'
        + "".join(f'<text class="mid" x="{_n(at)}" y="{_n(box.bottom + 17)}">{label}</text>' for at, label in x)
        + "".join(f'<text class="end" x="{_n(box.left - 6)}" y="{_n(at + 4)}">{label}</text>' for at, label in y)
        + f'<text class="end" x="{_n(box.right)}" y="{_n(box.bottom + 33)}">{x_title}</text>'
        + f'<text x="0" y="{_n(box.top - 10)}">{y_title}</text>'
    )


def polyline(points: Sequence[tuple[float, float]]) -> str:
    """Return the path data of straight lines through points, with one decimal."""
    return "M" + "L".join([f"{x:.1f} {y:.1f}" for x, y in points])


def _n(value: float) -> str:
    """Write a coordinate with one decimal, without a needless zero."""
    return f"{value:.1f}".removesuffix(".0")
