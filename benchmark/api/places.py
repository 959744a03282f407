"""Folders of results and rows, as Python users name them."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from benchmark.errors import UserError
from benchmark.files.places import LEADERBOARDS
from benchmark.results.external import AnyRecord
from benchmark.results.store import check_folder


def checked_path(path: object, name: str) -> Path:
    """Return a path for text or a path, with `~` expanded.

    Raises:
        UserError: for anything else, or if it is empty.
    """
    if not isinstance(path, str | PathLike) or not os.fsdecode(path).strip():
        raise UserError(f"{name} must be a path, as text or as a Path; got {path!r}")
    return Path(os.fsdecode(path)).expanduser()


def optional_path(path: object, name: str) -> Path | None:
    """Return None for None, else what `checked_path` returns or raises."""
    return None if path is None else checked_path(path, name)


def board_folder(board: object) -> Path:
    """Return a folder of results; for None the project's own.

    Raises:
        UserError: if there is no such folder.
    """
    folder = LEADERBOARDS if board is None else checked_path(board, "board")
    check_folder(folder, "board")
    return folder


def row_record(row: object, folder: Path, protocol: object) -> AnyRecord:
    """Return the record of a row; see `benchmark.leaderboard.board.find.find_records` for names.

    Raises:
        UserError: if the name or the protocol is no text, or fits no record or several.
    """
    from benchmark.leaderboard.board.find import find_record  # which folders alone have no need to load

    return find_record(folder, row_name(row, "row"), checked_protocol_id(protocol))


def row_name(row: object, name: str) -> str:
    """Return the name of a row.

    Raises:
        UserError: if it is no text.
    """
    if not isinstance(row, str):
        raise UserError(f"{name} must be the name of a row, such as '1b4b03'; got {row!r}")
    return row


def checked_protocol_id(protocol: object) -> str | None:
    """Return the id of a protocol, or None.

    Raises:
        UserError: for anything else.
    """
    if protocol is not None and not isinstance(protocol, str):
        raise UserError(f"protocol must be the id of a board as text, or None; got {protocol!r}")
    return protocol
