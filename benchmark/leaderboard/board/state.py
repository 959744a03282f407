"""What a board says, apart from how it is written: the state behind all its pages, and its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import Board

SHOWN = 12  # digits of a digest in a text


@dataclass(frozen=True)
class BoardState:
    """A board with what identifies its records."""

    board: Board
    records: Mapping[str, str]  # SHA-256 of each record's file, by run
    digest: str  # SHA-256 of rows, runs, records, ranks, challenges and later checks; the same for every renderer
    date: str  # of the newest record, challenge or later check, ISO 8601

    @property
    def short(self) -> str:
        """The digest's first digits."""
        return self.digest[:SHOWN]


def state_of(board: Board, digests: Mapping[tuple[str, str], str]) -> BoardState:
    """Return the state of a board.

    Args:
        board: the board.
        digests: SHA-256 of each record's file, by protocol and run, for all records of the board at least.
    """
    every = [*board.rows, *board.refused]
    records = {run: digests[board.protocol, run] for row in every for run in row.runs}
    told = {
        "protocol": board.protocol,
        "rows": sorted(([row_state(row), [records[run] for run in row.runs]] for row in every), key=json.dumps),
        "challenges": sorted(each.model_dump_json() for each in board.challenges),
    }
    if board.rechecks:  # the state of a board without them is what it was before there were any
        told["checks"] = sorted(each.model_dump_json() for each in board.rechecks)
    started = [record.provenance.started for row in every for record in row.records]
    started += [each.machine.started for each in board.rechecks]
    dates = [datetime.fromisoformat(each).date() for each in started] + [each.date for each in board.challenges]
    text = json.dumps(told, sort_keys=True)
    return BoardState(board, records, hashlib.sha256(text.encode()).hexdigest(), max(dates).isoformat())


def row_state(row: Row) -> dict[str, Any]:
    """Return where a row stands, with names that the JSON pages use too."""
    return {
        "id": row.id,
        "preset": row.preset,
        "size_class": row.size_class.name,
        "rank": row.rank,
        "tie": row.tie,
        "runs": list(row.runs),
    }
