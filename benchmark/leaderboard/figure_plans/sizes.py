"""The plans of file size and granularity: robust accuracy of edge-popup's masks over weights, kernels and channels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby

from benchmark.leaderboard.board.reference import PAPERS_METHOD
from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.setting import setting_of
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.figure_plans.ablations import alike_groups, measure_of, norm_text
from benchmark.leaderboard.figure_plans.data import (
    Plan,
    figure_name,
    intervals_caption,
    place_text,
    precision,
    row_label,
)
from benchmark.leaderboard.figure_plans.size_data import SizeData, SizePoint, SizeSeries
from benchmark.leaderboard.formats import allocation, amount, architecture


def size_plans(board: Board, preset: str, rows: Sequence[Row]) -> list[Plan]:
    """Plan robust accuracy against file size, one figure for rows alike in all but keep ratio and granularity."""
    pruned = (row for row in rows if row.own and row.own[0].compression.keep_ratio < 1)
    return [
        _size_plan(board, preset, key, group)
        for key, group in alike_groups(pruned, _without_groups)
        if len({row.granularity for row in group}) > 1
    ]


def _without_groups(row: Row) -> str:
    """Return the row's setting without its granularity and what its keep ratio determines."""
    chosen, config = json.loads(setting_of(row.records[0]))
    for part in (chosen["compression"], config):
        for key in ("keep_ratio", "granularity", "budget"):
            part.pop(key, None)
    return json.dumps([chosen, config], sort_keys=True)


def _size_plan(board: Board, preset: str, key: str, group: Sequence[Row]) -> Plan:
    first = group[0]
    trained = first.own[0].architecture
    measure = measure_of(board, group)
    ordered = sorted(group, key=lambda row: (str(row.granularity), row.own[0].compression.keep_ratio))
    series = []
    for granularity, members in groupby(ordered, key=lambda row: str(row.granularity)):
        points = tuple(
            SizePoint(float(row.costs.size_bytes), row.own[0].compression.keep_ratio, *measure.of(row))
            for row in members
        )
        series.append(SizeSeries(granularity, points))
    norm = norm_text(trained.last_norm)
    network = f"{architecture(trained.name, trained.width)} {norm}"
    kind = f"{precision(first.weights)}, {network}, objective {first.objective}, p {allocation(0, first.allocation)}"
    place = place_text(board, preset)
    return Plan(
        name=figure_name("granularity", board.protocol, preset, key),
        title=f"{measure.title} against file size: {PAPERS_METHOD}, {first.weights}, {norm}; {place}",
        caption=(
            f"{measure.caption} of {PAPERS_METHOD} against the size of the network's file, for each granularity of its "
            f"mask; {kind}. Beside each point is its keep ratio. {place}. {intervals_caption(measure.n_images, group)}"
            f"{measure.note}"
        ),
        protocol=board.protocol,
        run=None,
        numbers=tuple((row_label(row), f"{measure.text(row)}, {amount(row.costs.size_bytes, 'B')}") for row in ordered),
        data=SizeData(tuple(series), measure.axis, 1 / board.num_classes),
    )
