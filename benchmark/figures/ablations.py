"""Draws the ablations of edge-popup: robust accuracy against the pruning rate, and for each value of an option."""

from __future__ import annotations

import math
from itertools import pairwise

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from benchmark.figures.style import (
    FAINT,
    accuracy_axis,
    chance_key,
    drawable,
    legend_below,
    look_number,
    marker_key,
    new_figure,
    set_title,
)
from benchmark.leaderboard.figure_plan import OptionData, Plan, RateData, norm_text

_SIDE = 0.012  # distance of points that share a rate, as a share of the axis
_SPREAD = 0.4  # of all points that share a rate, at most, as a share of the way to the next rate
_TICKS_APART = 0.05  # least distance of two ticks, as a share of the axis
_BESIDE = 0.12  # distance of points that share a value of an option, from one value to the next


def draw_rates(plan: Plan, data: RateData) -> Figure:
    """Return the picture of robust accuracy against the pruning rate."""
    figure = new_figure(4.7)
    axes = figure.add_subplot()
    ratios = sorted({point.keep_ratio for series in data.series for point in series.points}, reverse=True)
    # Rates crowd towards 1: x is the number of times that the kept share was divided by ten.
    places = {ratio: -math.log10(ratio) for ratio in ratios}
    low, high = min(places.values()), max(places.values())
    span = high - low
    keys = []
    gap = min(places[after] - places[before] for before, after in pairwise(ratios))
    side = min(_SIDE * span, _SPREAD * gap / max(1, len(data.series) - 1))
    for place, series in enumerate(data.series):
        look = look_number(place)
        shift = 0.0 if data.reported else (place - (len(data.series) - 1) / 2) * side
        x = [places[point.keep_ratio] + shift for point in series.points]
        y = [100 * point.robust for point in series.points]
        errors = [
            (
                0.0 if point.low is None else max(0.0, 100 * (point.robust - point.low)),
                0.0 if point.high is None else max(0.0, 100 * (point.high - point.robust)),
            )
            for point in series.points
        ]
        axes.errorbar(
            *(x, y),
            yerr=None if data.reported else list(zip(*errors, strict=True)),
            color=look.colour,
            marker=look.marker,
            elinewidth=1.1,
            capsize=3,
            zorder=3,
        )
        keys.append(marker_key(look, f"p = {series.p}", line="-"))
    tops = [point.robust if point.high is None else point.high for series in data.series for point in series.points]
    accuracy_axis(axes, data.chance, max(tops), f"{data.measure} accuracy (%)")
    axes.set_xlim(low - 0.06 * span, high + 0.06 * span)
    shown: list[float] = []
    for ratio in ratios:
        if not shown or places[ratio] - places[shown[-1]] >= _TICKS_APART * span:
            shown.append(ratio)
    axes.xaxis.set_major_locator(FixedLocator([places[ratio] for ratio in shown]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{100 * (1 - ratio):.4g}%\n{ratio:.4g}" for ratio in shown])
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


def draw_options(plan: Plan, data: OptionData) -> Figure:
    """Return the picture of robust accuracy for each value of an option."""
    figure = new_figure(4.7)
    axes = figure.add_subplot()
    keys = []
    for place, series in enumerate(data.series):
        look = look_number(place)
        shift = (place - (len(data.series) - 1) / 2) * _BESIDE
        values, accuracies, lows, highs = zip(*series.points, strict=True)
        axes.errorbar(
            *([value + shift for value in values], [100 * accuracy for accuracy in accuracies]),
            yerr=[
                [max(0.0, 100 * (accuracy - low)) for accuracy, low in zip(accuracies, lows, strict=True)],
                [max(0.0, 100 * (high - accuracy)) for accuracy, high in zip(accuracies, highs, strict=True)],
            ],
            color=look.colour,
            marker=look.marker,
            linestyle="none",
            elinewidth=1.1,
            capsize=3,
            zorder=3,
        )
        keys.append(marker_key(look, norm_text(series.last_norm)))
    tops = [high for series in data.series for *_, high in series.points]
    accuracy_axis(axes, data.chance, max(tops), f"{data.measure} accuracy (%)")
    axes.set_xlim(-0.5, len(data.values) - 0.5)
    ticks = ["\n".join(map(drawable, value.splitlines())) for value in data.values]
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_xlabel(data.option)
    set_title(axes, plan.title)
    legend_below(figure, [*keys, chance_key(data.chance)], columns=3)
    return figure
