"""From records to ranked boards. Pure functions: no files, no clock, any order of the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from benchmark.leaderboard.board.classes import SIZE_CLASSES, SizeClass
from benchmark.leaderboard.board.ranking import ranked_rows, unique_ids
from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.reproduction import reported_of
from benchmark.leaderboard.board.rows import Row, make_row
from benchmark.leaderboard.board.setting import setting_of
from benchmark.leaderboard.board.speed import times_of
from benchmark.leaderboard.board.superseding import successors, superseding_problem
from benchmark.results.challenges import Challenge, challenged
from benchmark.results.citations import Citation
from benchmark.results.external import PRESET as EXTERNAL
from benchmark.results.external import AnyRecord
from benchmark.results.invariants import doubts, violations
from benchmark.results.protocol import autoattack_version
from benchmark.results.rechecks import Rechecked, rechecked
from benchmark.results.record import Record
from benchmark.results.speed import Speed

D = TypeVar("D", str, tuple[str, int])

# The order of a board's sections. Rows of different presets are never ranked against each other; within a preset each
# size class has a ranking of its own.
PRESETS = ("paper", "short", "own", "smoke", EXTERNAL)


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
    superseded: tuple[Row, ...] = ()  # rows in whose place a newer version is ranked

    @property
    def every_row(self) -> tuple[Row, ...]:
        """All rows that have a page: ranked, refused and superseded ones."""
        return (*self.rows, *self.refused, *self.superseded)

    @property
    def has_external(self) -> bool:
        """Whether a network of a row was trained elsewhere."""
        return any(row.external for row in self.every_row)

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
    records: Iterable[AnyRecord],
    reported: Sequence[ReportedRow] = (),
    *,
    ablations: Sequence[ReportedRow] = (),
    challenges: Sequence[Challenge] = (),
    rechecks: Sequence[Rechecked] = (),
    damaged: Mapping[str, str] | None = None,
    citations: Mapping[str, Citation] | None = None,
    speed: Speed | None = None,
) -> dict[str, Board]:
    """Build one board for each protocol of `records`.

    Args:
        records: results in any order.
        reported: published numbers; each appears on the boards of its own data set and epsilon.
        ablations: more published numbers, which a row may reproduce; they have pages of their own.
        challenges: adversarial images that lower the best-known accuracy of single records.
        rechecks: later checks of single records.
        damaged: what is wrong with an artifact, by run; such a row is refused.
        citations: what to cite for a row, by run.
        speed: times of networks on one machine, which no rank depends on.

    Raises:
        UserError: if a challenge or later checks are to another artifact than their record's.

    Returns:
        Boards by protocol id, in alphabetical order.
    """
    by_protocol: dict[str, list[AnyRecord]] = {}
    best_known = challenged(rechecked(records, rechecks), challenges)
    for record in sorted(best_known, key=lambda record: (record.protocol, record.run)):
        by_protocol.setdefault(record.protocol, []).append(record)
    bare = {protocol: _board(group, reported, ablations, damaged or {}) for protocol, group in by_protocol.items()}
    return {
        protocol: replace(
            _timed(_cited(board, citations or {}), speed),
            challenges=tuple(each for each in challenges if each.protocol == protocol),
            rechecks=tuple(each for each in rechecks if each.protocol == protocol),
        )
        for protocol, board in bare.items()
    }


def _cited(board: Board, citations: Mapping[str, Citation]) -> Board:
    """Return a board of which each row has what to cite for it."""

    def cited(rows: Sequence[Row]) -> tuple[Row, ...]:
        return tuple(
            replace(row, citation=next((citations[run] for run in row.runs if run in citations), None)) for row in rows
        )

    return replace(board, rows=cited(board.rows), refused=cited(board.refused), superseded=cited(board.superseded))


def _timed(board: Board, speed: Speed | None) -> Board:
    """Return a board whose rows have the times of their networks, if the artifacts of all seeds were timed."""
    if speed is None:
        return board
    measured = speed.of(record for row in board.every_row for record in row.records)

    def timed(rows: Sequence[Row]) -> tuple[Row, ...]:
        return tuple(
            replace(row, speed=times_of([measured[run] for run in row.runs], speed.machine))
            if all(run in measured for run in row.runs)
            else row
            for row in rows
        )

    return replace(board, rows=timed(board.rows), refused=timed(board.refused), superseded=timed(board.superseded))


def _board(
    records: list[AnyRecord],
    reported: Sequence[ReportedRow],
    ablations: Sequence[ReportedRow],
    damaged: Mapping[str, str],
) -> Board:
    groups: dict[str, list[AnyRecord]] = {}
    refused: list[Row] = []
    data = _commonest_data(records)
    for record in records:
        group = groups.setdefault(setting_of(record), [])
        reasons = violations(record) + _other_data(record, data)
        if record.run in damaged:
            reasons.append(damaged[record.run])
        if twin := next((other for other in group if other.seed == record.seed), None):
            reasons.append(f"same setting and seed as {twin.run}")
        if problem := superseding_problem(record, records):
            reasons.append(problem)
        if reasons:
            refused.append(make_row([record], tuple(reasons)))
        else:
            group.append(record)
    newer = successors(records, {run: row for row in refused for run in row.runs})
    superseded = [
        replace(make_row(group, ()), superseded_by=newer[group[0].run])
        for group in groups.values()
        if group and group[0].run in newer
    ]
    footnotes: dict[str, int] = {}  # numbers from 1
    rows: list[Row] = []
    for preset in PRESETS:
        settings = [
            sorted(group, key=lambda record: record.seed or 0)
            for group in groups.values()
            if group and group[0].preset == preset and group[0].run not in newer
        ]
        for row in ranked_rows(settings):
            deviations = row.own[0].method.deviations if row.own else []
            notes = tuple(sorted({footnotes.setdefault(text, len(footnotes) + 1) for text in deviations}))
            rows.append(replace(row, footnotes=notes, reported=reported_of(row.own, (*reported, *ablations))))
    first = records[0]
    ids = unique_ids([*rows, *refused, *superseded])
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
        superseded=tuple(replace(row, id=ids[row.runs]) for row in superseded),
        reported=tuple(
            row for row in reported if (row.dataset, row.epsilon) == (first.dataset.name, first.evaluation.epsilon)
        ),
        footnotes=tuple(footnotes),
    )


def _other_data(record: AnyRecord, data: tuple[str, int, str]) -> list[str]:
    """Return the reason against a record of other data than a board's; what was trained on elsewhere is unknown."""
    if _test_data_of(record) != data[:2]:
        return ["the test data differ from those of the other records of this board"]
    if isinstance(record, Record) and record.dataset.train_sha256 != data[2]:
        return ["the training data differ from those of the other records of this board"]
    return []


def _commonest_data(records: list[AnyRecord]) -> tuple[str, int, str]:
    """Return the data that most records were tested on and, among these, trained on: hash, classes, hash.

    Records of networks trained here decide, if there are any. On a tie those of the oldest record win: a newcomer
    pushes no row off a board.
    """
    own = sorted(
        (record for record in records if isinstance(record, Record)),
        key=lambda record: (record.provenance.training.started, record.run),
    )
    if not own:
        oldest_first = sorted(records, key=lambda record: (record.started, record.run))
        return (*_commonest([_test_data_of(record) for record in oldest_first]), "")
    test = _commonest([_test_data_of(record) for record in own])
    trained = _commonest([record.dataset.train_sha256 for record in own if _test_data_of(record) == test])
    return (*test, trained)


def _commonest(data: list[D]) -> D:
    return Counter(data).most_common(1)[0][0]  # the first of those that are equally common


def _test_data_of(record: AnyRecord) -> tuple[str, int]:
    """Return the hash of the test data and their classes."""
    return record.dataset.test_sha256, record.dataset.num_classes
