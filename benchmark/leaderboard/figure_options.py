"""The plans of the ablations of edge-popup's options, each with and without LBN: score scale and initialisation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

from benchmark.leaderboard.figure_plan import (
    OptionData,
    OptionSeries,
    Plan,
    figure_name,
    interval_text,
    intervals_caption,
    norm_text,
    place_text,
    precision,
    robustness,
)
from benchmark.leaderboard.figure_rates import ABLATED, alike_groups
from benchmark.leaderboard.rows import Row, setting_of
from benchmark.leaderboard.tables import Board
from benchmark.leaderboard.text import allocation, architecture, options_text, printable, short

# Options of an ablation that are varied together, with the method's defaults, which records leave out.
ABLATIONS: dict[str, dict[str, Any]] = {
    "score scale": {"score_scale": 0.01},
    "initialisation": {"binary_init": "pm1", "scale_fan": "none"},
}


def option_plans(board: Board, preset: str, rows: Sequence[Row]) -> list[Plan]:
    """Plan robust accuracy for each value of an option, one figure for rows alike in all but that option and LBN."""
    plans = []
    for words, defaults in ABLATIONS.items():
        shown = [row for row in rows if row.weights == "binary" and all(map(_plain, _value(row, defaults)))]
        for key, group in alike_groups(shown, partial(_without, options=tuple(defaults))):
            if len({_value(row, defaults) for row in group}) > 1:
                plans.append(_plan(board, preset, key, group, words))
    return plans


def _plain(value: object) -> bool:
    """Whether a value of an option can stand on an axis; another author's edge_popup may have others."""
    return isinstance(value, int | float | str)


def _without(row: Row, options: Sequence[str]) -> str:
    """Return the row's setting without some options and LBN, which the resolved experiment tells once more."""
    chosen, config = json.loads(setting_of(row.records[0]))
    for name in options:
        chosen["method"]["options"].pop(name, None)
    for network in (chosen["architecture"], config.get("architecture")):
        for name in ("last_norm", "all_parameters"):
            if isinstance(network, dict):
                network.pop(name, None)
    return json.dumps([chosen, config], sort_keys=True)


def _value(row: Row, defaults: Mapping[str, Any]) -> tuple[Any, ...]:
    told = row.records[0].method.options
    return tuple(told.get(name, default) for name, default in defaults.items())


def _plan(board: Board, preset: str, key: str, group: Sequence[Row], words: str) -> Plan:
    defaults = ABLATIONS[words]
    measured = robustness(board, group)
    values = sorted({_value(row, defaults) for row in group})
    ordered = sorted(group, key=lambda row: (not row.last_norm, values.index(_value(row, defaults))))
    series = [
        OptionSeries(
            last_norm, tuple((values.index(_value(row, defaults)), *measured.values[row.id]) for row in members)
        )
        for last_norm, members in groupby(ordered, key=lambda row: row.last_norm)
    ]
    first = group[0]
    pruned = f"keep {short(first.keep_ratio)}, p {allocation(first.keep_ratio, first.allocation)}"
    others = options_text({name: value for name, value in json.loads(first.options).items() if name not in defaults})
    network = architecture(first.architecture, first.width)
    kind = [precision(first.weights), network, pruned, f"objective {first.objective}", *filter(None, [others])]
    return Plan(
        name=figure_name(words.replace(" ", "-"), board.protocol, preset, key),
        title=f"Robust accuracy and {words}: {ABLATED}, {first.weights}, {pruned}; {place_text(board, preset)}",
        caption=(
            f"{measured.told} of {ABLATED} for each {words} ({', '.join(defaults)}), with and without LBN; "
            f"{', '.join(kind)}. {place_text(board, preset)}. "
            f"{intervals_caption(measured.n_images, group)} Points of one value are set side by side."
        ),
        protocol=board.protocol,
        run=None,
        numbers=tuple(
            (
                f"{_written(_value(row, defaults), ', ')}, {norm_text(row.last_norm)} ({row.id})",
                interval_text(*measured.values[row.id]),
            )
            for row in ordered
        ),
        data=OptionData(
            option=" and ".join(defaults),
            values=tuple(_written(value, "\n") for value in values),
            series=tuple(series),
            chance=1 / board.num_classes,
            measure=measured.name,
        ),
    )


def _order(value: tuple[Any, ...]) -> list[tuple[bool, float, str]]:
    return [(True, 0.0, each) if isinstance(each, str) else (False, float(each), "") for each in value]


def _written(value: tuple[Any, ...], between: str) -> str:
    return between.join(printable(each) if isinstance(each, str) else short(each) for each in value)
