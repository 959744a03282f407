"""The plan of the security curves: which results of `evaluate --curve` belong to rows of a board."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.figure_plans.data import Plan, SecurityData, SecurityLine, figure_name, place_text, row_label
from benchmark.leaderboard.formats import percent
from benchmark.results.evaluated import Evaluated
from benchmark.results.statistics import wilson

LINES = 8  # at most; more cannot be distinguished

_Curve = tuple[tuple[float, float], ...]


def security_plan(board: Board, preset: str, rows: Sequence[Row], evaluated: Sequence[Evaluated]) -> Plan | str:
    """Plan PGD accuracy against epsilon, or say why there are no curves to show.

    Args:
        board: whose protocol the curves must be of.
        preset: of the rows.
        rows: the best first.
        evaluated: measured artifacts; of several results for one artifact the first one counts.
    """
    curves: dict[str, tuple[Evaluated, _Curve]] = {}
    for each in evaluated:
        if each.protocol == board.protocol and each.shard is None and each.curve:
            points = tuple((point.epsilon, point.accuracy) for point in each.curve)
            curves.setdefault(each.artifact.sha256, (each, points))
    lines: list[tuple[SecurityLine, str]] = []
    for row in rows:
        measured = [
            (result, points)
            for record in row.records
            if record.artifact.sha256 in curves
            for result, points in [curves[record.artifact.sha256]]
            if result.test_sha256 == record.dataset.test_sha256
        ]
        if measured:
            # Only curves over the same radii have a mean.
            radii = [epsilon for epsilon, _ in measured[0][1]]
            alike = [(result, points) for result, points in measured if [epsilon for epsilon, _ in points] == radii]
            points = tuple(
                (radius, mean(points[place][1] for _, points in alike)) for place, radius in enumerate(radii)
            )
            area = mean(result.curve_area or 0.0 for result, _ in alike)
            seeds = f"{len(alike)} of {len(row.seeds)} seeds" if len(row.records) > 1 else "1 seed"
            line = SecurityLine(row_label(row), row.method, row.weights, points)
            lines.append((line, f"mean over the radii {percent(area)}%, {seeds}"))
    if len(lines) < 2:
        reason = "only one row has one" if lines else "no row has one"
        return (
            f"{reason}: run `python -m benchmark evaluate ARTIFACT --curve` with the board's --protocol and this --out"
        )
    shown = lines[:LINES]
    low, high = wilson(board.n_images // 2, board.n_images)
    which = f"The {LINES} best of the {len(lines)} rows" if len(lines) > LINES else f"The {len(lines)} rows"
    return Plan(
        name=figure_name("security", board.protocol, preset),
        title=f"Security curves, PGD accuracy as epsilon grows: {place_text(board, preset)}",
        caption=(
            f"{which} with a measured curve, mean over the seeds measured, which may be fewer than the row has. "
            f"Accuracy under PGD of {board.pgd_steps} steps of a quarter of epsilon; 0 is clean accuracy. An honest "
            "curve falls towards 0 for large epsilon. The mean over the radii is the area under the curve. "
            f"{place_text(board, preset)}, {board.n_images:,} test images: one network's 95% interval reaches at "
            f"most {percent((high - low) / 2)} points to either side."
        ),
        protocol=board.protocol,
        run=None,
        numbers=tuple((line.label, text) for line, text in shown),
        data=SecurityData(tuple(line for line, _ in shown), board.epsilon, 1 / board.num_classes),
    )
