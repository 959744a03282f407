"""The plans of edge-popup's score scale and of its initialisation of the weights, each with and without LBN."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from benchmark.leaderboard.board.reference import PAPERS_METHOD, PAPERS_OPTIONS
from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.setting import setting_of
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.figure_plans.ablations import alike_groups, measure_of, norm_text
from benchmark.leaderboard.figure_plans.data import (
    OptionData,
    OptionPoint,
    OptionSeries,
    Plan,
    figure_name,
    intervals_caption,
    place_text,
    precision,
)
from benchmark.leaderboard.formats import allocation, architecture, short
from methods import BUILT_IN

FIGURES = 3  # at most, of each option
_FANS = ("none", "global", "layer")
_Value = tuple[float, str]  # orders the values of an option; then how it is written, in lines


@dataclass(frozen=True)
class _Option:
    """What is varied in a figure, besides LBN."""

    kind: str  # of the figure
    words: str
    names: tuple[str, ...]  # of the method's options
    value: Callable[[Mapping[str, Any]], _Value | None]  # of all options; None: the row is not shown
    ordered: bool  # the values are numbers
    note: str  # a sentence for the caption


def _score_scale(options: Mapping[str, Any]) -> _Value | None:
    scale = options["score_scale"]
    if not isinstance(scale, int | float):  # a record from elsewhere
        return None
    return float(scale), short(scale) + ("\n(default)" if scale == PAPERS_OPTIONS["score_scale"] else "")


def _initialisation(options: Mapping[str, Any]) -> _Value | None:
    init, fan = options["binary_init"], options["scale_fan"]
    if (init, fan) == ("pm1", "none"):  # any other scale_fan gives the same network
        return 0.0, "pm1\n(default)"
    if init == "signed_kaiming_constant" and fan in _FANS:
        return 1.0 + _FANS.index(fan), f"signed Kaiming,\nscale_fan {fan}"
    return None


_OPTIONS = (
    _Option(
        kind="score-scale",
        words="scale of the initial scores",
        names=("score_scale",),
        value=_score_scale,
        ordered=True,
        note="Values of score_scale are evenly spaced.",
    ),
    _Option(
        kind="initialisation",
        words="initialisation of the weights",
        names=("binary_init", "scale_fan"),
        value=_initialisation,
        ordered=False,
        note="pm1: +1 or -1; signed Kaiming: binary_init signed_kaiming_constant, one magnitude per layer.",
    ),
)


def option_plans(board: Board, preset: str, rows: Sequence[Row]) -> tuple[list[Plan], list[str]]:
    """Plan robust accuracy against score scale and initialisation, one figure for rows alike in all but it and LBN.

    Returns:
        The plans, and a clause for each of the two that these rows do not allow.
    """
    plans: list[Plan] = []
    reasons = []
    # The defaults are those of the built-in method; the initialisation that is varied is that of binary weights.
    built_in = [row for row in rows if row.target == BUILT_IN[PAPERS_METHOD] and row.weights == "binary"]
    for option in _OPTIONS:
        figures = _figures(built_in, option)
        plans += [_plan(board, preset, key, option, placed) for key, placed in figures[:FIGURES]]
        if not figures:
            reasons.append(
                f"no {option.words}, no binary {PAPERS_METHOD} rows differ in {' and '.join(option.names)} alone"
            )
        elif len(figures) > FIGURES:
            reasons.append(f"{option.words}: {FIGURES} figures, {len(figures) - FIGURES} of no more rows are left out")
    return plans, reasons


def _figures(rows: Sequence[Row], option: _Option) -> list[tuple[str, list[tuple[Row, _Value]]]]:
    """Return the rows of each figure with their values, those of most rows first, and a short name of each."""
    figures = []
    for key, group in alike_groups(rows, lambda row: _without(row, option.names)):
        valued = [(row, option.value({**PAPERS_OPTIONS, **row.own[0].method.options})) for row in group]
        placed = [(row, value) for row, value in valued if value is not None]
        tried = [{value for row, value in placed if row.last_norm is norm} for norm in (True, False)]
        # One value with LBN and another without it would show two effects as one.
        if max(map(len, tried)) > 1:
            placed.sort(key=lambda pair: (not pair[0].last_norm, pair[1]))
            figures.append((key, placed))
    return sorted(figures, key=lambda pair: -len(pair[1]))


def _without(row: Row, names: Sequence[str]) -> str:
    """Return the row's setting without some options and LBN, which the resolved experiment holds too."""
    chosen, config = json.loads(setting_of(row.records[0]))
    del chosen["architecture"]["last_norm"], chosen["architecture"]["all_parameters"]
    for name in names:
        chosen["method"]["options"].pop(name, None)
    if isinstance(network := config.get("architecture"), dict):
        network.pop("last_norm", None)
    return json.dumps([chosen, config], sort_keys=True)


def _plan(board: Board, preset: str, key: str, option: _Option, placed: Sequence[tuple[Row, _Value]]) -> Plan:
    first = placed[0][0]
    rows = [row for row, _ in placed]
    measure = measure_of(board, rows)
    values = sorted({value for _, value in placed})
    series = []
    for last_norm, members in groupby(placed, key=lambda pair: pair[0].last_norm):
        points = tuple(OptionPoint(values.index(value), *measure.of(row)) for row, value in members)
        series.append(OptionSeries(last_norm, points))
    others = {name: value for name, value in json.loads(first.options).items() if name not in option.names}
    network, kept = first.own[0].architecture, first.own[0].compression
    pruned = f"keep {short(kept.keep_ratio)}, p {allocation(kept.keep_ratio, kept.allocation)}"
    kind = [precision(first.weights), architecture(network.name, network.width), pruned]
    kind += [f"objective {first.objective}", *(f"{name}={value}" for name, value in others.items())]
    place = place_text(board, preset)
    return Plan(
        name=figure_name(option.kind, board.protocol, preset, key),
        title=f"{measure.title} against {option.words}: {PAPERS_METHOD}, {first.weights}, {pruned}; {place}",
        caption=(
            f"{measure.caption} of {PAPERS_METHOD} against the {option.words}, with and without LBN, a batch norm on "
            f"the logits; {', '.join(kind)}. {place}. {intervals_caption(measure.n_images, rows)} "
            f"{option.note} Points of one value are set side by side.{measure.note}"
        ),
        protocol=board.protocol,
        run=None,
        numbers=tuple(
            (f"{_line(value)}, {norm_text(row.own[0].architecture.last_norm)} ({row.id})", measure.text(row))
            for row, value in placed
        ),
        data=OptionData(
            option=" and ".join(option.names),
            values=tuple(text for _, text in values),
            ordered=option.ordered,
            series=tuple(series),
            measured=measure.axis,
            chance=1 / board.num_classes,
        ),
    )


def _line(value: _Value) -> str:
    return value[1].replace("\n", " ")
