"""The plans of pruning rate and p: robust accuracy of edge-popup, measured here and as the authors reported it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby

from benchmark.leaderboard.board.reference import PAPERS_METHOD, ReportedRow
from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.setting import setting_of
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.figure_plans.ablations import alike_groups, measure_of, norm_text
from benchmark.leaderboard.figure_plans.data import (
    Plan,
    RateData,
    RatePoint,
    RateSeries,
    figure_name,
    intervals_caption,
    place_text,
    precision,
    row_label,
)
from benchmark.leaderboard.formats import allocation, architecture, percent, short


def rate_plans(board: Board, preset: str, rows: Sequence[Row]) -> tuple[list[Plan], list[str]]:
    """Plan robust accuracy against the pruning rate, one figure for rows alike in all but keep ratio and p.

    Returns:
        The plans; and, where these rows allow none, why.
    """
    plans = [
        _rate_plan(board, preset, key, group)
        for key, group in alike_groups(
            (row for row in rows if row.own and row.own[0].compression.keep_ratio < 1), _without_rate
        )
        if len({row.keep_ratio for row in group}) > 1
    ]
    return plans, [] if plans else [f"no pruning rates, no {PAPERS_METHOD} rows differ in their keep ratio alone"]


def _without_rate(row: Row) -> str:
    """Return the row's setting without what its pruning rate and p determine."""
    chosen, config = json.loads(setting_of(row.records[0]))
    del chosen["compression"]["keep_ratio"], chosen["compression"]["allocation"], chosen["compression"]["budget"]
    rest = {key: value for key, value in config.items() if key not in ("keep_ratio", "allocation")}
    return json.dumps([chosen, rest], sort_keys=True)


def _kept(row: Row) -> float:
    return row.own[0].compression.keep_ratio


def _rate_plan(board: Board, preset: str, key: str, group: Sequence[Row]) -> Plan:
    first = group[0]
    trained = first.own[0].architecture
    measure = measure_of(board, group)
    ordered = sorted(group, key=lambda row: (str(row.allocation), _kept(row)))
    series = []
    for p, members in groupby(ordered, key=lambda row: row.allocation):
        points = tuple(RatePoint(_kept(row), *measure.of(row)) for row in members)
        series.append(RateSeries(allocation(0, p), points))
    norm = norm_text(trained.last_norm)
    network = f"{architecture(trained.name, trained.width)} {norm}"
    options = f", {first.options_text}" if first.options_text else ""
    kind = f"{precision(first.weights)}, {network}, objective {first.objective}{options}"
    place = place_text(board, preset)
    return Plan(
        name=figure_name("pruning-rate", board.protocol, preset, key),
        title=f"{measure.title} against pruning rate: {PAPERS_METHOD}, {first.weights}, {norm}; {place}",
        caption=(
            f"{measure.caption} of {PAPERS_METHOD} against the share of weights removed, for each exponent p of "
            f"the layer budgets; {kind}. {place}. {intervals_caption(measure.n_images, group)} "
            f"Points of one rate are set side by side.{measure.note}"
        ),
        protocol=board.protocol,
        run=None,
        numbers=tuple((row_label(row), measure.text(row)) for row in ordered),
        data=RateData(tuple(series), measure.axis, 1 / board.num_classes, reported=False),
    )


def reported_plan(ablations: Sequence[ReportedRow]) -> Plan:
    """Plan the published pruning rates: numbers of the authors, in a figure of their own."""
    cells = {(row.allocation, row.keep_ratio): row.robust for row in ablations if row.last_norm and row.options == {}}
    series = []
    ordered = sorted(cells.items(), key=lambda cell: (str(cell[0][0]), cell[0][1]))
    for p, members in groupby(ordered, key=lambda cell: cell[0][0]):
        points = tuple(RatePoint(keep_ratio, robust, None, None) for (_, keep_ratio), robust in members)
        series.append(RateSeries(allocation(0, p), points))
    best = max(cells.items(), key=lambda cell: cell[1])
    return Plan(
        name=figure_name("pruning-rate-reported"),
        title="Reported by the authors: AutoAttack accuracy against pruning rate, binary edge_popup",
        caption=(
            "Reported by the authors, not measured here: accuracy under AutoAttack of binary edge-popup on the 10,000 "
            "test images of CIFAR10, epsilon 8/255, ResNet34 with LBN, score scale 0.01, from their talk slides of 22 "
            "March 2022. One training each, no intervals were given."
        ),
        protocol=None,
        run=None,
        numbers=((f"best: p {allocation(0, best[0][0])}, keep {short(best[0][1])}", f"{percent(best[1])}%"),),
        data=RateData(tuple(series), "AutoAttack accuracy", 0.1, reported=True),
    )
