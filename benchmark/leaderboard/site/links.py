"""Names of the site's files and links between them. Whatever comes from a record is checked or quoted here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from benchmark.errors import UserError
from benchmark.leaderboard.board.rows import ID_DIGITS, Row
from benchmark.leaderboard.board.tables import Board
from benchmark.results.external import FOLDER, AnyRecord, ExternalRecord
from benchmark.results.rechecks import CHECKS_FOLDER

_PROTOCOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")
# Inside <script> a browser looks for markup before anything else, so that JSON must not hold any.
_UNSAFE = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&'"})


def checked(protocol: str) -> str:
    """Return a protocol id that may be a file name.

    Raises:
        UserError: if it could lead to another folder or break a link.
    """
    if not _PROTOCOL.fullmatch(protocol):
        raise UserError(
            f"the protocol {protocol!r} cannot be a page: it must start with a letter or digit and continue with "
            "letters, digits and . _ = + -; delete its records."
        )
    return protocol


def row_path(protocol: str, anchor: str) -> str:
    """Return where a row's page lies below site/."""
    return f"rows/{checked(protocol)}/{anchor}.html"


def run_ids(row: Row) -> list[str]:
    """Return the first six digits of the hash of each of the row's runs."""
    return [record.run_hash[:ID_DIGITS] for record in row.records]


def later_ids(board: Board) -> Iterator[tuple[str, Row]]:
    """Yield further ids of rows, those of the seeds after the first, that no row of the board has for its own.

    Which seed is a row's first may change as seeds come and go: a link with the id of any of them leads on.
    """
    taken = {row.id for row in board.every_row}
    for row in board.rows:
        for name in run_ids(row)[1:]:
            if name not in taken:
                taken.add(name)
                yield name, row


def artifact_link(record: AnyRecord) -> str:
    """Return the link from a row's page to the network of a record."""
    return f"../../../artifacts/{_file(record.run)}{record.ending}"


def record_link(record: AnyRecord) -> str:
    """Return the link from a row's page to a record."""
    folder = FOLDER if isinstance(record, ExternalRecord) else "records"
    return f"../../../{folder}/{checked(record.protocol)}/{_file(record.run)}.json"


def checks_link(protocol: str, run: str) -> str:
    """Return the link from a row's page to the checks that lie beside the record of a run."""
    return f"../../../{CHECKS_FOLDER}/{checked(protocol)}/{_file(run)}.json"


def safe_json(value: object) -> str:
    """Write a value as JSON that may stand inside a script element: without any character of markup."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).translate(_UNSAFE)


class Places:
    """Where each row's page lies, by protocol and id and by protocol and run."""

    def __init__(self, boards: Iterable[Board]) -> None:
        self._by_id: dict[tuple[str, str], str] = {}
        self._by_run: dict[tuple[str, str], str] = {}
        for board in boards:
            for row in board.every_row:
                path = row_path(board.protocol, row.id)
                self._by_id.setdefault((board.protocol, row.id), path)
                for run in row.runs:
                    self._by_run.setdefault((board.protocol, run), path)

    def of_row(self, row: tuple[str, str] | None) -> str | None:
        """Return the page of the row with a protocol and an id; None if there is none."""
        return None if row is None else self._by_id.get(row)

    def of_run(self, protocol: str | None, run: str) -> str | None:
        """Return the page of the row of a run; None if there is none."""
        return None if protocol is None else self._by_run.get((protocol, run))


def _file(run: str) -> str:
    return quote(run.replace("/", "__"), safe="")
