"""Draws the ablations of edge-popup: accuracy against pruning rate, file size, and the values of an option."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from benchmark.figures.axes import log_axis
from benchmark.figures.style import (
    FAINT,
    accuracy_axis,
    chance_key,
    legend_below,
    look_number,
    marker_key,
    new_figure,
    set_title,
)
from benchmark.leaderboard.figure_plans.ablations import norm_text
from benchmark.leaderboard.figure_plans.data import OptionData, OptionPoint, Plan, RateData, RatePoint
from benchmark.leaderboard.figure_plans.size_data import SizeData, SizePoint
from methods.allocation import AUTO

_SIDE = 0.012  # distance of points that share a rate, as a share of the axis
_SPREAD = 0.4  # of all points that share a rate, at most, as a share of the way to the next rate
_TICKS_APART = 0.05  # least distance of two ticks, as a share of the axis
_ASIDE = 0.12  # distance of points that share an option's value, whose own distance is 1


def draw_rates(plan: Plan, data: RateData) -> Figure:
    """Return the picture of robust accuracy against the pruning rate."""
    figure = new_figure(4.7)
    axes = figure.add_subplot()
    ratios = sorted({point.keep_ratio for series in data.series for point in series.points}, reverse=True)
    # Rates crowd towards 1: x is the number of times that the kept share was divided by ten.
    places = {ratio: -math.log10(ratio) for ratio in ratios}
    low, high = min(places.values()), max(places.values())
    span = high - low
    gap = min(places[after] - places[before] for before, after in pairwise(ratios))
    side = min(_SIDE * span, _SPREAD * gap / max(1, len(data.series) - 1))
    keys = []
    for number, series in enumerate(data.series):
        shift = 0.0 if data.reported else (number - (len(data.series) - 1) / 2) * side
        x = [places[point.keep_ratio] + shift for point in series.points]
        keys.append(
            _draw_series(
                axes, number, x, series.points, series.p if series.p.startswith(AUTO) else f"p = {series.p}", line="-"
            )
        )
    _measured_axis(axes, data, [point for series in data.series for point in series.points])
    axes.set_xlim(low - 0.06 * span, high + 0.06 * span)
    shown: list[float] = []
    for ratio in ratios:
        if not shown or places[ratio] - places[shown[-1]] >= _TICKS_APART * span:
            shown.append(ratio)
    _ticks(axes, [places[ratio] for ratio in shown], [f"{100 * (1 - ratio):.4g}%\n{ratio:.4g}" for ratio in shown])
    axes.set_xlabel("pruning rate: share of weights removed; below it the keep ratio (logarithmic)")
    set_title(axes, plan.title)
    if data.reported:
        axes.text(
            *(0.985, 0.06, "reported by the authors, not measured here"),
            transform=axes.transAxes,
            ha="right",
            color=FAINT,
            fontstyle="italic",
        )
    legend_below(figure, [*keys, chance_key(data.chance)], columns=4)
    return figure


def draw_sizes(plan: Plan, data: SizeData) -> Figure:
    """Return the picture of robust accuracy against file size, a line for each granularity."""
    figure = new_figure(4.7)
    axes = figure.add_subplot()
    everything = [point for series in data.series for point in series.points]
    log_axis(axes, [point.size_bytes for point in everything], unit="B")
    keys = [
        _draw_series(
            *(axes, number, [point.size_bytes for point in series.points], series.points, series.granularity), line="-"
        )
        for number, series in enumerate(data.series)
    ]
    for point in everything:
        axes.annotate(
            f"{point.keep_ratio:g}",
            (point.size_bytes, 100 * point.robust),
            xytext=(5, 5),
            textcoords="offset points",
            fontsize=7.5,
            color=FAINT,
        )
    _measured_axis(axes, data, everything)
    axes.set_xlabel("size of the artifact's file (bytes, logarithmic); beside each point its keep ratio")
    set_title(axes, plan.title)
    legend_below(figure, [*keys, chance_key(data.chance)], columns=4)
    return figure


def draw_options(plan: Plan, data: OptionData) -> Figure:
    """Return the picture of robust accuracy against the values of an option, with LBN and without it."""
    figure = new_figure(4.4)
    axes = figure.add_subplot()
    line: Literal["-", "none"] = "-" if data.ordered else "none"
    keys = []
    for series in data.series:
        number = 0 if series.last_norm else 1  # the same colour in every figure
        x = [point.place + _ASIDE * (number - 0.5) for point in series.points]
        keys.append(_draw_series(axes, number, x, series.points, norm_text(series.last_norm), line=line))
    _measured_axis(axes, data, [point for series in data.series for point in series.points])
    axes.set_xlim(-0.5, len(data.values) - 0.5)
    _ticks(axes, list(range(len(data.values))), data.values)
    axes.grid(visible=data.ordered, axis="x")
    axes.set_xlabel(data.option)
    set_title(axes, plan.title)
    legend_below(figure, [*keys, chance_key(data.chance)], columns=3)
    return figure


def _draw_series(
    axes: Axes,
    number: int,
    x: Sequence[float],
    points: Sequence[RatePoint] | Sequence[SizePoint] | Sequence[OptionPoint],
    label: str,
    *,
    line: Literal["-", "none"],
) -> Line2D:
    """Draw points with their intervals, where they have any, and return the legend's entry."""
    look = look_number(number)
    errors = [
        (
            0.0 if point.low is None else max(0.0, 100 * (point.robust - point.low)),
            0.0 if point.high is None else max(0.0, 100 * (point.high - point.robust)),
        )
        for point in points
    ]
    axes.errorbar(
        *(x, [100 * point.robust for point in points]),
        yerr=list(zip(*errors, strict=True)) if any(map(any, errors)) else None,
        color=look.colour,
        marker=look.marker,
        linestyle=line,
        elinewidth=1.1,
        capsize=3,
        zorder=3,
    )
    return marker_key(look, label, line=line)


def _measured_axis(
    axes: Axes, data: RateData | SizeData | OptionData, points: Sequence[RatePoint | SizePoint | OptionPoint]
) -> None:
    tops = [point.robust if point.high is None else point.high for point in points]
    accuracy_axis(axes, data.chance, max(tops), f"{data.measured} (%)")


def _ticks(axes: Axes, places: Sequence[float], labels: Sequence[str]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(labels)
