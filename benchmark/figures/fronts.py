"""Draws robust accuracy against a cost, with the Pareto front."""

from __future__ import annotations

from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from benchmark.figures.axes import label_points, log_axis
from benchmark.figures.style import (
    INK,
    Look,
    accuracy_axis,
    chance_key,
    legend_below,
    looks,
    marker_key,
    new_figure,
    pale,
    set_title,
)
from benchmark.leaderboard.figure_plans.data import BARRED, FrontData, FrontPoint, Plan

_AXES = {
    "size": ("size of the artifact's file (bytes, logarithmic)", "B"),
    "passes": ("images sent forward and backward in training (logarithmic)", ""),
}
_MARKER = 5.0  # half the width of a marker, in points


def draw_front(plan: Plan, data: FrontData) -> Figure:
    """Return the picture of a front."""
    figure = new_figure(4.9)
    axes = figure.add_subplot()
    styles = looks([point.method for point in data.points])
    label, unit = _AXES[data.cost]
    log_axis(axes, [point.cost for point in data.points], unit=unit)
    accuracy_axis(axes, data.chance, max(point.high for point in data.points), "best-known robust accuracy (%)")
    axes.set_xlabel(label)
    set_title(axes, plan.title)
    front = sorted((point for point in data.points if point.on_front), key=lambda point: point.cost)
    # A network on the front is available at every higher cost too: steps to the right.
    ends = [*(point.cost for point in front), axes.get_xlim()[1]]
    heights = [*(100 * point.robust for point in front), 100 * front[-1].robust]
    axes.step(ends, heights, where="post", color=INK, linewidth=1.1, linestyle=(0, (5, 2)), zorder=2)
    for point in sorted(data.points, key=lambda point: point.on_front):
        barred = point.on_front or len(data.points) <= BARRED
        _draw_point(axes, point, styles[point.method], barred=barred)
    keys = [
        marker_key(look, method, face="white" if _all_hollow(data, method) else None) for method, look in styles.items()
    ]
    neutral = Look("#888888", "o")
    keys += [marker_key(neutral, "binary"), marker_key(neutral, "full precision", face="white")]
    keys.append(Line2D([], [], color=INK, linewidth=1.1, linestyle=(0, (5, 2)), label="Pareto front"))
    legend_below(figure, [*keys, chance_key(data.chance)], columns=4)
    figure.draw_without_rendering()
    steps = [(x0, x1, y) for (x0, x1), y in zip(pairwise(ends), heights, strict=False)]
    labels = [(point.id, point.cost, 100 * point.robust) for point in reversed(front)]
    label_points(axes, labels, _obstacles(axes, data, steps))
    return figure


def _draw_point(axes: Axes, point: FrontPoint, look: Look, *, barred: bool) -> None:
    y = 100 * point.robust
    # The bootstrap's interval need not contain the mean it is for.
    below, above = max(0.0, y - 100 * point.low), max(0.0, 100 * point.high - y)
    colour = look.colour if point.on_front else pale(look.colour)
    axes.errorbar(
        point.cost,
        y,
        yerr=[[below], [above]] if barred else None,
        color=colour,
        marker=look.marker,
        markerfacecolor=colour if point.weights == "binary" else "white",
        markeredgewidth=1.4,
        linestyle="none",
        elinewidth=1.2 if point.on_front else 0.8,
        capsize=2.5 if point.on_front else 0,
        zorder=4 if point.on_front else 3,
    )


def _all_hollow(data: FrontData, method: str) -> bool:
    return all(point.weights != "binary" for point in data.points if point.method == method)


def _obstacles(axes: Axes, data: FrontData, steps: list[tuple[float, float, float]]) -> list[Bbox]:
    """Return the boxes of markers, error bars and the level parts of the front in display coordinates."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    pixels = figure.dpi / 72
    boxes = []
    for point in data.points:
        x, y = axes.transData.transform((point.cost, 100 * point.robust))
        _, low = axes.transData.transform((point.cost, 100 * point.low))
        _, high = axes.transData.transform((point.cost, 100 * point.high))
        half = _MARKER * pixels
        boxes += [Bbox([[x - half, y - half], [x + half, y + half]]), Bbox([[x - pixels, low], [x + pixels, high]])]
    for left, right, level in steps:
        (x0, y), (x1, _) = axes.transData.transform([(left, level), (right, level)])
        boxes.append(Bbox([[x0, y - pixels], [x1, y + pixels]]))
    return boxes
