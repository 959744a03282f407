"""How a board's ranking agrees with the published one, at whatever size its networks are.

Rows are matched by method, precision, LBN and strategy p; network, kept share, epochs and test images differ, so
accuracies are never compared, only their order. Agreement is Kendall's tau-b with a bootstrap interval over images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.leaderboard.board.claims import RankingSpec
from benchmark.leaderboard.board.reference import PAPERS_METHOD, ReportedRow
from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import Board
from benchmark.results.statistics import resampled_counts

FEWEST = 4  # matched rows, below which a correlation says nothing


@dataclass(frozen=True)
class PaperRanking:
    """Rows of a board beside the published rows that they match, best published first."""

    spec: RankingSpec
    pairs: tuple[tuple[ReportedRow, Row], ...]
    tau: float | None  # Kendall's tau-b, rounded to four digits; None with too few pairs or without any order
    interval: tuple[float, float] | None  # 95%, percentiles of the bootstrap over test images


def paper_ranking(spec: RankingSpec, board: Board, published: Sequence[ReportedRow]) -> PaperRanking:
    """Match the board's ranked rows with published ones and correlate the two orders.

    A published row is matched if exactly one row of the board fits it. Published rows whose number is in doubt are left
    out.
    """
    pairs = []
    for reported in published:
        matching = [row for row in board.rows if _matches(row, reported, spec)]
        if reported.note is None and len(matching) == 1:
            pairs.append((reported, matching[0]))
    pairs.sort(key=lambda pair: (-pair[0].robust, pair[1].id))
    tau, interval = _correlation([reported.robust for reported, _ in pairs], _right([row for _, row in pairs]))
    return PaperRanking(spec, tuple(pairs), tau, interval)


def kendall_tau(a: NDArray[np.int64], b: NDArray[np.int64]) -> float | None:
    """Return Kendall's tau-b of two lists of whole numbers, rounded to four digits; None if one has no order.

    (concordant - discordant) / sqrt(pairs untied in a * pairs untied in b), from whole numbers, so that it is the same
    on every machine.
    """
    first, second = (np.sign(each[:, None] - each[None, :]) for each in (a, b))
    upper = np.triu_indices(len(a), 1)
    order_a, order_b = first[upper], second[upper]
    untied = int(np.count_nonzero(order_a)), int(np.count_nonzero(order_b))
    if not all(untied):
        return None
    return round(int((order_a * order_b).sum()) / math.sqrt(untied[0] * untied[1]), 4)


def _correlation(
    published: Sequence[float], right: NDArray[np.int64]
) -> tuple[float | None, tuple[float, float] | None]:
    if len(right) < FEWEST:
        return None, None
    order = np.array([round(1e6 * accuracy) for accuracy in published], dtype=np.int64)
    tau = kendall_tau(order, right.sum(axis=1))
    if tau is None:
        return None, None
    drawn = resampled_counts(right)  # (resamples, rows)
    taus = sorted(kendall_tau(order, counts) or 0.0 for counts in drawn)
    outside = len(taus) // 40
    return tau, (taus[outside], taus[-1 - outside])


def _right(rows: Sequence[Row]) -> NDArray[np.int64]:
    """Return (rows, images): the seeds robust on an image, scaled to the same number of seeds in every row."""
    seeds = math.lcm(*(len(row.records) for row in rows))
    robust = [np.sum([record.evaluation.right("robust") for record in row.records], axis=0) for row in rows]
    return np.array(
        [each * (seeds // len(row.records)) for each, row in zip(robust, rows, strict=True)], dtype=np.int64
    )


def _matches(row: Row, reported: ReportedRow, spec: RankingSpec) -> bool:
    if reported.dataset != spec.published or (row.weights, row.last_norm) != (reported.weights, reported.last_norm):
        return False
    objective = reported.objective if row.method == PAPERS_METHOD else spec.objective
    allocation = None if row.keep_ratio == 1.0 else row.allocation
    return (row.method, row.objective, allocation) == (reported.method, objective, reported.allocation)
