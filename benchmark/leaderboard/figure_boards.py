"""From boards to the figures they allow, and why others are left out. Pure functions: no files, no drawing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import mean

from benchmark.leaderboard.figure_masks import mask_plans
from benchmark.leaderboard.figure_plan import (
    BARRED,
    FrontData,
    FrontPoint,
    Plan,
    RateData,
    RatePoint,
    RateSeries,
    TrainingData,
    TrainingPanel,
    figure_name,
    interval_text,
    intervals_caption,
    place_text,
    precision,
    row_label,
)
from benchmark.leaderboard.figure_security import security_plan
from benchmark.leaderboard.reference import ReportedRow
from benchmark.leaderboard.rows import Front, Row, setting_of
from benchmark.leaderboard.tables import PRESETS, Board
from benchmark.leaderboard.text import allocation, amount, architecture, percent, short
from benchmark.results.evaluated import Evaluated

PANELS = 8  # training curves at most
ALL_ROWS = 6  # up to so many rows all have a training curve, else the best of each method
_ABLATED = "edge_popup"  # the method whose pruning rate and p the paper varies
_COSTS: dict[Front, str] = {"size": "artifact size", "passes": "training passes"}


def plan_figures(
    boards: Mapping[str, Board], evaluated: Sequence[Evaluated], ablations: Sequence[ReportedRow]
) -> tuple[list[Plan], list[str]]:
    """Return the figures in the order in which they are shown, and a sentence for each that is left out.

    Args:
        boards: by protocol.
        evaluated: results of `evaluate`; those with a curve count.
        ablations: published ablations of edge-popup; they get a figure of their own.
    """
    plans: list[Plan] = []
    skipped: list[str] = []
    for board in boards.values():
        for preset in PRESETS:
            rows = sorted(board.section(preset), key=lambda row: -row.robust.mean)
            if not rows:
                continue
            where = f"{board.protocol}, preset {preset}"
            if len(rows) < 2:
                skipped.append(f"{where}: no figures of a single row, they compare at least two")
                continue
            plans += [front_plan(board, preset, rows, cost) for cost in _COSTS]
            found = security_plan(board, preset, rows, evaluated)
            if isinstance(found, str):
                skipped.append(f"{where}: no security curves, {found}")
            else:
                plans.append(found)
            rates = rate_plans(board, preset, rows)
            if not rates:
                skipped.append(f"{where}: no pruning rates, no {_ABLATED} rows differ in their keep ratio alone")
            plans += rates
            plans.append(training_plan(board, preset, rows))
        masks, reasons = mask_plans(board)
        plans += masks
        skipped += reasons
    if ablations:
        plans.append(reported_plan(ablations))
    return plans, skipped


def front_plan(board: Board, preset: str, rows: Sequence[Row], cost: Front) -> Plan:
    """Plan robust accuracy against a cost."""
    words = _COSTS[cost]
    points = tuple(
        FrontPoint(
            row.id,
            row.method,
            row.weights,
            float(row.costs.size_bytes if cost == "size" else row.costs.passes),
            row.robust.mean,
            *row.interval,
            cost in row.fronts,
        )
        for row in rows
    )
    bars = " Only rows on the front have bars." if len(rows) > BARRED else ""
    front = sorted((row for row in rows if cost in row.fronts), key=lambda row: row.robust.mean)
    return Plan(
        name=figure_name(f"front-{cost}", board.protocol, preset),
        title=f"Robust accuracy against {words}: {place_text(board, preset)}",
        caption=(
            f"Best-known robust accuracy, right under every attack, against {words}. Rows on the line are on the "
            f"Pareto front: none is at least as robust at no more cost. {place_text(board, preset)}. "
            f"{intervals_caption(board.n_images, rows)}{bars} Labels are ids of rows on the front, where there is room."
        ),
        protocol=board.protocol,
        run=None,
        numbers=tuple(
            (row_label(row), f"{interval_text(row.robust.mean, *row.interval)}, {_cost_text(cost, row)}")
            for row in front
        ),
        data=FrontData(cost, points, 1 / board.num_classes),
    )


def _cost_text(cost: Front, row: Row) -> str:
    return amount(row.costs.size_bytes, "B") if cost == "size" else f"{amount(row.costs.passes)} passes"


def rate_plans(board: Board, preset: str, rows: Sequence[Row]) -> list[Plan]:
    """Plan robust accuracy against the pruning rate, one figure for rows alike in all but keep ratio and p."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.method == _ABLATED and row.keep_ratio < 1:
            groups.setdefault(_alike(row), []).append(row)
    return [
        _rate_plan(board, preset, hashlib.sha256(alike.encode()).hexdigest()[:6], group)
        for alike, group in sorted(groups.items())
        if len({row.keep_ratio for row in group}) > 1
    ]


def _alike(row: Row) -> str:
    """Return the row's setting without what its pruning rate and p decide."""
    chosen, config = json.loads(setting_of(row.records[0]))
    del chosen["compression"]["keep_ratio"], chosen["compression"]["allocation"], chosen["compression"]["budget"]
    told = {key: value for key, value in config.items() if key not in ("keep_ratio", "allocation")}
    return json.dumps([chosen, told], sort_keys=True)


def _rate_plan(board: Board, preset: str, key: str, group: Sequence[Row]) -> Plan:
    first = group[0]
    ordered = sorted(group, key=lambda row: (str(row.allocation), row.keep_ratio))
    series = []
    for p, members in groupby(ordered, key=lambda row: row.allocation):
        points = tuple(RatePoint(row.keep_ratio, row.robust.mean, *row.interval) for row in members)
        series.append(RateSeries(allocation(0, p), points))
    norm = "with LBN" if first.last_norm else "without LBN"
    network = f"{architecture(first.architecture, first.width)} {norm}"
    options = f", {first.options_text}" if first.options_text else ""
    kind = f"{precision(first.weights)}, {network}, objective {first.objective}{options}"
    return Plan(
        name=figure_name("pruning-rate", board.protocol, preset, key),
        title=f"Robust accuracy against pruning rate: {_ABLATED}, {first.weights}, {norm}; {place_text(board, preset)}",
        caption=(
            f"Best-known robust accuracy of {_ABLATED} against the share of weights removed, for each exponent p of "
            f"the layer budgets; {kind}. {place_text(board, preset)}. {intervals_caption(board.n_images, group)} "
            "Points of one rate are set side by side."
        ),
        protocol=board.protocol,
        run=None,
        numbers=tuple((row_label(row), interval_text(row.robust.mean, *row.interval)) for row in ordered),
        data=RateData(tuple(series), 1 / board.num_classes, reported=False),
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
        data=RateData(tuple(series), 0.1, reported=True),
    )


def training_plan(board: Board, preset: str, rows: Sequence[Row]) -> Plan:
    """Plan the training curves of all rows, or of the best of each method, the best first."""
    shown = list(rows)
    which = "All rows"
    if len(rows) > ALL_ROWS:
        best: dict[str, Row] = {}
        for row in rows:
            best.setdefault(row.method, row)
        shown = list(best.values())
        which = "The best row of each method"
    if len(shown) > PANELS:
        which = f"{which}, of these the {PANELS} best"
        shown = shown[:PANELS]
    return Plan(
        name=figure_name("training", board.protocol, preset),
        title=f"Accuracy on validation images in training: {place_text(board, preset)}",
        caption=(
            f"{which}. Accuracy of the network as exported after each epoch, without attack and under the PGD of the "
            "model selection, mean over the seeds; shades are the phases of training, triangles the epochs whose "
            f"networks were chosen. {place_text(board, preset)}. "
            f"{min(row.records[0].dataset.validation_images for row in shown):,} validation images."
        ),
        protocol=board.protocol,
        run=None,
        numbers=tuple((row_label(row), f"{percent(_chosen(row))}% under PGD at the chosen epoch") for row in shown),
        data=TrainingData(tuple(_panel(row) for row in shown), 1 / board.num_classes),
    )


def _chosen(row: Row) -> float:
    return mean(record.training.validation_robust_accuracy for record in row.records)


def _panel(row: Row) -> TrainingPanel:
    histories = [record.training.history for record in row.records]
    epochs = sorted(set.intersection(*({line.epoch for line in history} for history in histories)))
    lines = [[line for line in history if line.epoch in epochs] for history in histories]
    phases = []
    for name, members in groupby(lines[0], key=lambda line: line.phase):
        covered = [line.epoch for line in members]
        phases.append((name, covered[0], covered[-1]))
    return TrainingPanel(
        label=row_label(row),
        method=row.method,
        phases=tuple(phases),
        epochs=tuple(epochs),
        robust=tuple(mean(line.validation_robust_accuracy for line in each) for each in zip(*lines, strict=True)),
        clean=tuple(mean(line.validation_clean_accuracy for line in each) for each in zip(*lines, strict=True)),
        selected=tuple(record.training.selected_epoch for record in row.records),
    )
