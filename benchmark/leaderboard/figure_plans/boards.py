"""From boards to the figures they allow, and why others are left out. Pure functions: no files, no drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import mean

from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.rows import Front, Row
from benchmark.leaderboard.board.setting import training_setting
from benchmark.leaderboard.board.tables import PRESETS, Board
from benchmark.leaderboard.figure_plans.ablations import with_doubtful
from benchmark.leaderboard.figure_plans.data import (
    BARRED,
    FrontData,
    FrontPoint,
    Plan,
    TrainingData,
    TrainingPanel,
    figure_name,
    interval_text,
    intervals_caption,
    place_text,
    row_label,
    setting_text,
)
from benchmark.leaderboard.figure_plans.masks import mask_plans
from benchmark.leaderboard.figure_plans.options import option_plans
from benchmark.leaderboard.figure_plans.rates import rate_plans, reported_plan
from benchmark.leaderboard.figure_plans.security import security_plan
from benchmark.leaderboard.figure_plans.sizes import size_plans
from benchmark.leaderboard.formats import amount, percent
from benchmark.results.evaluated import Evaluated
from benchmark.results.external import PRESET as EXTERNAL
from benchmark.results.record import Record

PANELS = 8  # training curves at most
ALL_ROWS = 6  # up to so many rows all have a training curve, else the best of each method
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
            costs: list[Front] = ["size"] if preset == EXTERNAL else ["size", "passes"]
            plans += [front_plan(board, preset, rows, cost) for cost in costs]
            curves = security_plan(board, preset, rows, evaluated)
            if isinstance(curves, str):
                skipped.append(f"{where}: no security curves, {curves}")
            else:
                plans.append(curves)
            if preset == EXTERNAL:
                continue  # the rest is about training
            ablated = with_doubtful(board, preset, rows)
            for ablations_here, reasons in (rate_plans(board, preset, ablated), option_plans(board, preset, ablated)):
                plans += ablations_here
                skipped += [f"{where}: {reason}" for reason in reasons]
            plans += size_plans(board, preset, ablated)
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
            float(_cost(cost, row)),
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
            f"Best-known robust accuracy, correct under every attack, against {words}. Rows on the line are on the "
            f"Pareto front: none is at least as robust at no more cost. {place_text(board, preset)}. "
            f"{intervals_caption(board.n_images, rows)}{bars} Labels are ids of rows on the front, where there is room."
        ),
        protocol=board.protocol,
        run=None,
        numbers=tuple(
            (_name(row), f"{interval_text(row.robust.mean, *row.interval)}, {_cost_text(cost, row)}") for row in front
        ),
        data=FrontData(cost, points, 1 / board.num_classes),
    )


def _name(row: Row) -> str:
    return f"{row_label(row)}, {setting_text(row)}"


def _cost(cost: Front, row: Row) -> float:
    return row.costs.size_bytes if cost == "size" else row.costs.passes or 0


def _cost_text(cost: Front, row: Row) -> str:
    return amount(_cost(cost, row), "B") if cost == "size" else f"{amount(_cost(cost, row))} passes"


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
            f"{min(_validated(row.own[0]) for row in shown):,} validation images."
        ),
        protocol=board.protocol,
        run=None,
        numbers=tuple((_name(row), f"{percent(_chosen(row))}% under PGD at the chosen epoch") for row in shown),
        data=TrainingData(tuple(_panel(row) for row in shown), 1 / board.num_classes),
    )


def _chosen(row: Row) -> float:
    return mean(record.training.validation_robust_accuracy for record in row.own)


def _validated(record: Record) -> int:
    """Return how many validation images were measured after each epoch; those of the final model selection."""
    most = training_setting(record, "selection_images")
    whole = record.dataset.validation_images
    return min(most, whole) if isinstance(most, int) else whole


def _panel(row: Row) -> TrainingPanel:
    histories = [record.training.history for record in row.own]
    epochs = sorted(set.intersection(*({line.epoch for line in history} for history in histories)))
    lines = [[line for line in history if line.epoch in epochs] for history in histories]
    phases = []
    for name, members in groupby(lines[0], key=lambda line: line.phase):
        covered = [line.epoch for line in members]
        phases.append((name, covered[0], covered[-1]))
    return TrainingPanel(
        label=row_label(row),
        setting=setting_text(row),
        method=row.method,
        phases=tuple(phases),
        epochs=tuple(epochs),
        robust=tuple(mean(line.validation_robust_accuracy for line in each) for each in zip(*lines, strict=True)),
        clean=tuple(mean(line.validation_clean_accuracy for line in each) for each in zip(*lines, strict=True)),
        selected=tuple(record.training.selected_epoch for record in row.own),
    )
