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
