"""The boards as pandas DataFrames, for notebooks; `benchmark.boards` and `benchmark.board` lead here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UserError, suggestion
from benchmark.files.places import LEADERBOARDS
from benchmark.leaderboard.board.loading import load_results
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.pages.column import Column, Table
from benchmark.leaderboard.pages.columns import columns_of

if TYPE_CHECKING:
    from pandas import DataFrame, Series

_DTYPES = {int: "int64", float: "float64", bool: "bool", str: "str"}
_WITH_UNKNOWN = {"int64": "float64", "bool": "object"}


def boards(folder: str | Path = LEADERBOARDS) -> DataFrame:
    """Return the boards of a folder of results, one a line, in alphabetical order of their protocols.

    Args:
        folder: holds records/.

    Returns:
        Columns `protocol`, `dataset`, `num_classes`, `n_images`, `epsilon`, `pgd_steps`, `pgd_restarts`, `pgd_step`,
        `autoattack` (its version), `rows` and `refused` (their numbers), and `url`, the board's page below `folder`.

    Raises:
        UserError: if there is no such folder, or something in it cannot be read.
    """
    from pandas import DataFrame

    keys = ("protocol", "dataset", "num_classes", "n_images", "epsilon", "pgd_steps", "pgd_restarts", "pgd_step")
    lines = [
        {key: getattr(board, key) for key in (*keys, "autoattack")}
        | {"rows": len(board.rows), "refused": len(board.refused), "url": f"site/{board.protocol}.html"}
        for board in _load(folder).values()
    ]
    return DataFrame(lines, columns=[*keys, "autoattack", "rows", "refused", "url"])


def board(protocol: str, folder: str | Path = LEADERBOARDS) -> DataFrame:
    """Return the ranked rows of a board, one a line, in the order of its page.

    Args:
        protocol: id of the board, as `boards` lists them.
        folder: holds records/.

    Returns:
        The columns of the board's CSV page (see docs/boards.md). Accuracies and densities are fractions in [0, 1],
        sizes are in bytes, times in seconds; NaN or None is what is unknown. `runs` and `seeds` are tuples, `options`
        dictionaries, and `url` is the row's page below `folder`. Refused rows and published results are in the CSV page
        only.

    Raises:
        UserError: if there is no such folder or board, or something in the folder cannot be read.
    """
    from pandas import DataFrame

    loaded = _load(folder)
    if protocol not in loaded:
        names = ", ".join(loaded) or "none"
        hint = suggestion(protocol, loaded) if isinstance(protocol, str) else ""
        raise UserError(f"there is no board {protocol!r} in {folder}.{hint} Boards: {names}.")
    chosen, columns = loaded[protocol], columns_of(Table.FRAME, loaded[protocol])
    return DataFrame({column.key: _series(column, chosen) for column in columns})


def _series(column: Column, board: Board) -> Series[Any]:
    from pandas import Series

    values = [column.value(row, board) for row in board.rows]
    dtype = _DTYPES.get(column.holds, "object")
    # What is unknown must not become 0 or False.
    return Series(values, dtype=_WITH_UNKNOWN.get(dtype, dtype) if None in values else dtype)


def _load(folder: str | Path) -> Mapping[str, Board]:
    if not Path(folder).is_dir():
        raise UserError(f"there is no folder {folder}; give the folder of results that holds records/.")
    return load_results(Path(folder)).boards
