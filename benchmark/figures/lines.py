"""Draws curves: security curves and training curves."""

from __future__ import annotations

import math
from fractions import Fraction

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from benchmark.figures.style import (
    FAINT,
    INK,
    accuracy_axis,
    chance_key,
    drawable,
    legend_below,
    look_number,
    looks,
    marker_key,
    new_figure,
    set_title,
    wrapped,
)
from benchmark.leaderboard.figure_plans.data import Plan, SecurityData, TrainingData, TrainingPanel

_SOLID: tuple[float, tuple[float, ...]] = (0.0, ())  # dashes: an offset, then lengths on and off
_DASHED = (0.0, (4.0, 1.5))


def draw_security(plan: Plan, data: SecurityData) -> Figure:
    """Return the picture of security curves."""
    figure = new_figure(4.7 + 0.17 * len(data.lines))
    axes = figure.add_subplot()
    keys = []
    for place, line in enumerate(data.lines):
        look = look_number(place)
        face = look.face(line.weights)
        radii = [255 * epsilon for epsilon, _ in line.points]
        accuracies = [100 * accuracy for _, accuracy in line.points]
        dash = _SOLID if line.weights == "binary" else _DASHED
        axes.plot(
            *(radii, accuracies),
            color=look.colour,
            marker=look.marker,
            markerfacecolor=face,
            markeredgewidth=1.4,
            linestyle=dash,
            clip_on=False,
            zorder=3,
        )
        key = marker_key(look, line.label, face=face)
        key.set_linestyle(dash)
        keys.append(key)
    top = max(accuracy for line in data.lines for _, accuracy in line.points)
    accuracy_axis(axes, data.chance, top, "accuracy under PGD (%)")
    marked = 255 * float(Fraction(data.epsilon))
    axes.axvline(marked, color=INK, linewidth=1, linestyle=(0, (5, 2)), zorder=1)
    axes.set_xlim(0, max(255 * epsilon for line in data.lines for epsilon, _ in line.points) * 1.02)
    axes.set_xlabel("epsilon, radius of the L-infinity ball (255ths of the pixel range)")
    set_title(axes, plan.title)
    protocols = Line2D(
        [], [], color=INK, linewidth=1, linestyle=(0, (5, 2)), label=f"the protocol's epsilon, {data.epsilon}"
    )
    legend_below(figure, [*keys, protocols, chance_key(data.chance)], columns=2)
    return figure


def draw_training(plan: Plan, data: TrainingData) -> Figure:
    """Return the picture of training curves, two panels in a row."""
    rows = math.ceil(len(data.panels) / 2)
    figure = new_figure(1.0 + 2.15 * rows)
    figure.suptitle(wrapped(plan.title), fontsize=10.5, x=0.012, ha="left")
    styles = looks([panel.method for panel in data.panels])
    panels = figure.subplots(rows, 2, squeeze=False)
    top = max(accuracy for panel in data.panels for accuracy in (*panel.clean, *panel.robust))
    for place, axes in enumerate(panels.flat):
        if place >= len(data.panels):
            axes.set_axis_off()
            continue
        panel = data.panels[place]
        accuracy_axis(axes, data.chance, top, "accuracy (%)" if place % 2 == 0 else "")
        _draw_panel(axes, panel, styles[panel.method].colour)
        if place >= len(data.panels) - 2:
            axes.set_xlabel("epoch")
    keys = [
        Line2D([], [], color=INK, label="under PGD"),
        Line2D([], [], color=INK, linestyle=(0, (2, 1.5)), linewidth=1.2, label="clean"),
        Line2D([], [], color=INK, marker="v", linestyle="none", label="chosen epoch"),
    ]
    legend_below(figure, [*keys, chance_key(data.chance)], columns=4)
    return figure


def _draw_panel(axes: Axes, panel: TrainingPanel, colour: str) -> None:
    for number, (_, first, last) in enumerate(panel.phases):
        axes.axvspan(first - 0.5, last + 0.5, color="#F1F1F1" if number % 2 else "white", linewidth=0, zorder=0)
        if number:
            axes.axvline(first - 0.5, color=FAINT, linewidth=0.8, zorder=1)
    many = len(panel.epochs) > 40
    marker = None if many else "."
    axes.plot(panel.epochs, [100 * each for each in panel.robust], color=colour, marker=marker, zorder=3)
    dash = (0, (2, 1.5))
    axes.plot(panel.epochs, [100 * each for each in panel.clean], color=colour, linestyle=dash, linewidth=1.2, zorder=3)
    at = dict(zip(panel.epochs, panel.robust, strict=True))
    chosen = sorted({epoch for epoch in panel.selected if epoch in at})
    lift = 0.05 * axes.get_ylim()[1]  # above the line, not on it
    heights = [100 * at[epoch] + lift for epoch in chosen]
    axes.plot(chosen, heights, color=colour, marker="v", linestyle="none", clip_on=False, zorder=4)
    axes.set_xlim(panel.epochs[0] - 0.5, panel.epochs[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    axes.grid(visible=False, axis="x")
    phases = ", ".join(
        f"{name} {first}-{last}" if first < last else f"{name} {first}" for name, first, last in panel.phases
    )
    below = drawable(f"{panel.setting}; {phases}", 56)
    axes.set_title(f"{drawable(panel.label, 50)}\n{below}", fontsize=9, linespacing=1.35)
