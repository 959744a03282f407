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


@dataclass(frozen=True)
class BoardState:
    """A board with what identifies its records."""

    board: Board
    records: Mapping[str, str]  # SHA-256 of each record's file, by run
    digest: str  # SHA-256 of rows, runs, records, ranks, challenges and later checks; the same for every renderer
    date: str  # of the newest record, challenge or later check, ISO 8601

    @property
    def short(self) -> str:
        """The digest's first twelve digits."""
        return self.digest[:12]


def state_of(board: Board, digests: Mapping[tuple[str, str], str]) -> BoardState:
    """Return the state of a board.

    Args:
        board: the board.
        digests: SHA-256 of each record's file, by protocol and run, for all records of the board at least.
    """
    rows = board.every_row
    records = {run: digests[board.protocol, run] for row in rows for run in row.runs}
    content = {
        "protocol": board.protocol,
        "rows": sorted(([_place(row), [records[run] for run in row.runs]] for row in rows), key=json.dumps),
        "challenges": sorted(challenge.model_dump_json() for challenge in board.challenges),
    }
    if board.rechecks:  # a board without later checks keeps the digest it had before there were any
        content["checks"] = sorted(rechecked.model_dump_json() for rechecked in board.rechecks)
    started = [record.started for row in rows for record in row.records]
    started += [rechecked.machine.started for rechecked in board.rechecks]
    dates = [datetime.fromisoformat(text).date() for text in started] + [each.date for each in board.challenges]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return BoardState(board, records, digest, max(dates).isoformat())


def _place(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "preset": row.preset,
        "size_class": row.size_class.name,
        "rank": row.rank,
        "tie": row.tie,
        "runs": list(row.runs),
    }
