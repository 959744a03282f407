"""From records to ranked boards. Pure functions: no files, no clock, any order of the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from benchmark.leaderboard.board.classes import SIZE_CLASSES, SizeClass, pareto_front
from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.reproduction import reported_of
from benchmark.leaderboard.board.rows import Front, Row, Stat, make_row, setting_of
from benchmark.results.challenges import Challenge, challenged
from benchmark.results.invariants import doubts, violations
from benchmark.results.protocol import autoattack_version
from benchmark.results.rechecks import Rechecked, rechecked
from benchmark.results.record import Record
from benchmark.results.statistics import tie_groups

D = TypeVar("D", tuple[str, int], tuple[str, int, str])

# The order of a board's sections. Rows of different presets are never ranked against each other; within a preset each
# size class has a ranking of its own.
PRESETS = ("paper", "short", "own", "smoke")


@dataclass(frozen=True)
class Board:
    """All results of one protocol: ranked rows by preset, refused rows, and published numbers apart."""

    protocol: str
    dataset: str
    num_classes: int
    epsilon: str
    n_images: int
    pgd_steps: int
    pgd_restarts: int
    pgd_step: str
    autoattack: str  # version
    rows: tuple[Row, ...]
    refused: tuple[Row, ...]
    reported: tuple[ReportedRow, ...]
    footnotes: tuple[str, ...]
    challenges: tuple[Challenge, ...] = ()
    rechecks: tuple[Rechecked, ...] = ()  # later checks of records that do not have them themselves

    @property
    def doubtful(self) -> tuple[Row, ...]:
        """Rows refused for their gradient health alone, one for each seed: their accuracies are upper bounds."""
        return tuple(row for row in self.refused if row.reasons == tuple(doubts(row.records[0])))

    def section(self, preset: str) -> list[Row]:
        """Return the ranked rows of one preset: small size classes first, the best first in each."""
        return [row for row in self.rows if row.preset == preset]

    def rankings(self, preset: str) -> list[tuple[SizeClass, list[Row]]]:
        """Return the rankings of one preset: its size classes that have rows, small ones first, the best row first."""
        rows = self.section(preset)
        classes = [(size_class, [row for row in rows if row.size_class == size_class]) for size_class in SIZE_CLASSES]
        return [(size_class, ranking) for size_class, ranking in classes if ranking]


def boards(
    records: Iterable[Record],
    reported: Sequence[ReportedRow] = (),
    *,
    ablations: Sequence[ReportedRow] = (),
    challenges: Sequence[Challenge] = (),
    rechecks: Sequence[Rechecked] = (),
    damaged: Mapping[str, str] | None = None,
) -> dict[str, Board]:
    """Build one board for each protocol of `records`.

    Args:
        records: results in any order.
        reported: published numbers; each appears on the boards of its own data set and epsilon.
        ablations: more published numbers, which a row may reproduce; they have pages of their own.
        challenges: adversarial images that lower the best-known accuracy of single records.
        rechecks: later checks of single records.
        damaged: what is wrong with an artifact, by run; such a row is refused.

    Raises:
        UserError: if a challenge or later checks are to another artifact than their record's.

    Returns:
        Boards by protocol id, in alphabetical order.
    """
    by_protocol: dict[str, list[Record]] = {}
    best_known = challenged(rechecked(records, rechecks), challenges)
    for record in sorted(best_known, key=lambda record: (record.protocol, record.run)):
        by_protocol.setdefault(record.protocol, []).append(record)
    bare = {protocol: _board(group, reported, ablations, damaged or {}) for protocol, group in by_protocol.items()}
    return {
        protocol: replace(
            board,
            challenges=tuple(each for each in challenges if each.protocol == protocol),
            rechecks=tuple(each for each in rechecks if each.protocol == protocol),
        )
        for protocol, board in bare.items()
    }


def _board(
    records: list[Record],
    reported: Sequence[ReportedRow],
    ablations: Sequence[ReportedRow],
    damaged: Mapping[str, str],
) -> Board:
    groups: dict[str, list[Record]] = {}
    refused: list[Row] = []
    data = _commonest_data(records)
    for record in records:
        group = groups.setdefault(setting_of(record), [])
        reasons = violations(record)
        if _data_of(record)[:2] != data[:2]:
            reasons.append("the test data differ from those of the other records of this board")
        elif _data_of(record) != data:
            reasons.append("the training data differ from those of the other records of this board")
        if record.run in damaged:
            reasons.append(damaged[record.run])
        if twin := next((other for other in group if other.seed == record.seed), None):
            reasons.append(f"same setting and seed as {twin.run}")
        if reasons:
            refused.append(make_row([record], tuple(reasons)))
        else:
            group.append(record)
    footnotes: dict[str, int] = {}  # numbers from 1
    rows: list[Row] = []
    for preset in PRESETS:
        settings = [
            sorted(group, key=lambda record: record.seed)
            for group in groups.values()
            if group and group[0].preset == preset
        ]
        for row, group in _ranked(settings):
            deviations = group[0].method.deviations
            notes = tuple(sorted({footnotes.setdefault(text, len(footnotes) + 1) for text in deviations}))
            rows.append(replace(row, footnotes=notes, reported=reported_of(group, (*reported, *ablations))))
    first = records[0]
    ids = _unique_ids([*rows, *refused])
    return Board(
        protocol=first.protocol,
        dataset=first.dataset.name,
        num_classes=data[1],
        epsilon=first.evaluation.epsilon,
        n_images=first.evaluation.n_images,
        pgd_steps=first.evaluation.pgd.steps,
        pgd_restarts=first.evaluation.pgd.restarts,
        pgd_step=first.evaluation.pgd.step_size,
        autoattack=autoattack_version(data[1]),
        rows=tuple(replace(row, id=ids[row.runs]) for row in rows),
        refused=tuple(replace(row, id=ids[row.runs]) for row in refused),
        reported=tuple(
            row for row in reported if (row.dataset, row.epsilon) == (first.dataset.name, first.evaluation.epsilon)
        ),
        footnotes=tuple(footnotes),
    )


def _commonest_data(records: list[Record]) -> tuple[str, int, str]:
    """Return the data that most records were tested on and, among these, trained on; see `_data_of`.

    On a tie those of the oldest record win: a newcomer pushes no row off a board.
    """
    oldest_first = sorted(records, key=lambda record: (record.provenance.training.started, record.run))
    test = _commonest([_data_of(record)[:2] for record in oldest_first])
    return _commonest([_data_of(record) for record in oldest_first if _data_of(record)[:2] == test])


def _commonest(data: list[D]) -> D:
    return Counter(data).most_common(1)[0][0]  # the first of those that are equally common


def _data_of(record: Record) -> tuple[str, int, str]:
    """Return the hash of the test data, their classes, and the hash of the training data."""
    return record.dataset.test_sha256, record.dataset.num_classes, record.dataset.train_sha256


def _unique_ids(rows: Sequence[Row]) -> dict[tuple[str, ...], str]:
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


def _ranked(groups: list[list[Record]]) -> list[tuple[Row, list[Record]]]:
    """Rank one preset's settings by robust accuracy within their size classes; equal rows share a rank.

    Adds tie groups and Pareto fronts over all classes. Returns each row with its records.
    """
    unranked = [(make_row(group, ()), group) for group in groups]
    unranked.sort(key=lambda pair: (-_score(pair[0].robust), -_score(pair[0].clean), pair[0].method, pair[0].runs))
    fronts = _fronts([row for row, _ in unranked])
    ranked = []
    for size_class in SIZE_CLASSES:
        members = [(row, group) for row, group in unranked if row.size_class == size_class]
        scores = [_score(row.robust) for row, _ in members]
        ties = tie_groups([[record.evaluation.right("robust") for record in group] for _, group in members])
        for (row, group), tie in zip(members, ties, strict=True):
            rank = scores.index(_score(row.robust)) + 1
            ranked.append((replace(row, rank=rank, tie=tie, fronts=fronts[row.runs]), group))
    return ranked


def _fronts(rows: Sequence[Row]) -> dict[tuple[str, ...], tuple[Front, ...]]:
    """Return the Pareto fronts that each row is on, by its runs."""
    scores = [_score(row.robust) for row in rows]
    by_size = pareto_front([row.costs.size_bytes for row in rows], scores)
    by_passes = pareto_front([row.costs.passes for row in rows], scores)
    fronts: list[tuple[Front, list[bool]]] = [("size", by_size), ("passes", by_passes)]
    return {row.runs: tuple(name for name, on in fronts if on[place]) for place, row in enumerate(rows)}


def _score(stat: Stat) -> float:
    # Means of different numbers of seeds may differ in their last bit; that is still a tie.
    return round(stat.mean, 12)
