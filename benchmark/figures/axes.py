"""Logarithmic axes, and labels of points that do not overlap anything."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, NullLocator
from matplotlib.transforms import Bbox

from benchmark.figures.style import INK
from benchmark.leaderboard.ticks import log_ticks

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_NEAR = 9.0  # in points; a label farther from its point than this is connected to it by a line
# Where a label may stand, in points from its point: right, left, above, below, then farther away.
_PLACES = tuple(
    (math.cos(math.radians(angle)) * distance, math.sin(math.radians(angle)) * distance)
    for distance in (_NEAR, 16.0, 26.0)
    for angle in (30, -30, 0, 150, -150, 180, 60, -60, 120, -120, 90, -90)
)

_TIE = {"arrowstyle": "-", "color": INK, "linewidth": 0.7, "shrinkA": 0.0, "shrinkB": 4.0}


def with_prefix(value: float, unit: str) -> str:
    """Return a round quantity as text, such as 30 kB or 1.5 M."""
    factor, prefix = next((each for each in _PREFIXES if value >= each[0]), _PREFIXES[-1])
    return f"{value / factor:.3g} {prefix}{unit}".rstrip()


def log_axis(axes: Axes, values: Sequence[float], *, unit: str) -> None:
    """Make x logarithmic over positive values with a margin, its ticks written with prefix and unit."""
    low, high = min(values), max(values)
    margin = max((high / low) ** 0.11, 1.03)
    low, high = low / margin, high * margin
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    places = log_ticks(low, high)
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([with_prefix(place, unit) for place in places])


def label_points(axes: Axes, labels: Sequence[tuple[str, float, float]], obstacles: Sequence[Bbox]) -> list[str]:
    """Write labels beside their points where there is room, in the order given.

    Args:
        axes: of a figure whose layout is final.
        labels: text, x and y in data coordinates.
        obstacles: boxes in display coordinates that no label may touch.

    Returns:
        The labels for which there was no room.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    taken, unplaced = list(obstacles), []
    inside = axes.get_window_extent(renderer)
    for text, x, y in labels:
        for right, up in _PLACES:
            note = axes.annotate(
                text,
                (x, y),
                xytext=(right, up),
                textcoords="offset points",
                ha="left" if right > 4 else "right" if right < -4 else "center",
                va="center" if abs(up) < abs(right) * 1.2 else "bottom" if up > 0 else "top",
                fontsize=9,
                color=INK,
                zorder=6,
                arrowprops=_TIE if math.hypot(right, up) > 1.01 * _NEAR else None,
            )
            note.set_in_layout(False)
            note.update_positions(renderer)
            box = Text.get_window_extent(note, renderer).padded(1.5)  # without the line, which may cross anything
            within = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if within and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            note.remove()
        else:
            unplaced.append(text)
    return unplaced
