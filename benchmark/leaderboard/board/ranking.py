"""Ranks of the rows of one preset, their tie groups and Pareto fronts; and the ids of a board's rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmark.leaderboard.board.classes import SIZE_CLASSES, pareto_front
from benchmark.leaderboard.board.rows import Front, Row, Stat, make_row
from benchmark.results.external import AnyRecord
from benchmark.results.statistics import tie_groups


def unique_ids(rows: Sequence[Row]) -> dict[tuple[str, ...], str]:
    """Return a name for each row, by its runs, that no other row of the board has: a link leads to one row.

    The hash of the first run, shortened; in full for rows whose shortened hashes are the same. Refused rows give way to
    ranked ones, so that copying the hash of another's run does not change the name of that row.
    """
    ids: dict[tuple[str, ...], str] = {}
    used: Counter[str] = Counter()
    for refused in (False, True):
        members = sorted((row for row in rows if bool(row.reasons) == refused), key=lambda row: row.runs)
        hashes: dict[str, set[str]] = {}
        for row in members:
            hashes.setdefault(row.id, set()).add(row.records[0].run_hash)
        taken = set(used)
        for row in members:
            short = len(hashes[row.id]) == 1 and row.id not in taken
            name = row.id if short else row.records[0].run_hash
            used[name] += 1
            ids[row.runs] = name if used[name] == 1 else f"{name}-{used[name]}"
    return ids


def ranked_rows(groups: Sequence[Sequence[AnyRecord]]) -> list[Row]:
    """Rank one preset's settings by robust accuracy within their size classes; equal rows share a rank.

    Adds tie groups and Pareto fronts over all classes.
    """
    unranked = [make_row(group, ()) for group in groups]
    unranked.sort(key=lambda row: (-_score(row.robust), -_score(row.clean), row.method, row.runs))
    fronts = _fronts(unranked)
    ranked = []
    for size_class in SIZE_CLASSES:
        members = [row for row in unranked if row.size_class == size_class]
        scores = [_score(row.robust) for row in members]
        ties = tie_groups([[record.evaluation.right("robust") for record in row.records] for row in members])
        for row, tie in zip(members, ties, strict=True):
            rank = scores.index(_score(row.robust)) + 1
            ranked.append(replace(row, rank=rank, tie=tie, fronts=fronts[row.runs]))
    return ranked


def _fronts(rows: Sequence[Row]) -> dict[tuple[str, ...], tuple[Front, ...]]:
    """Return the Pareto fronts that each row is on, by its runs; without training passes it is on none of passes.

    Files with a seed in place of weights have a front of size of their own.
    """
    sizes = [{row.runs: row.costs.size_bytes for row in rows if row.size_class.seeded == seeded} for seeded in (0, 1)]
    passes = {row.runs: row.costs.passes for row in rows if row.costs.passes is not None}
    costs: list[tuple[Front, Mapping[tuple[str, ...], float]]] = [
        *(("size", size) for size in sizes),
        ("passes", passes),
    ]
    robust = {row.runs: _score(row.robust) for row in rows}
    on: dict[tuple[str, ...], tuple[Front, ...]] = {row.runs: () for row in rows}
    for name, cost in costs:
        best = pareto_front(list(cost.values()), [robust[runs] for runs in cost])
        for runs, is_best in zip(cost, best, strict=True):
            if is_best:
                on[runs] += (name,)
    return on


def _score(stat: Stat) -> float:
    # Means of different numbers of seeds may differ in their last bit; that is still a tie.
    return round(stat.mean, 12)
