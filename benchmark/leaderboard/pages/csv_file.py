"""A board as CSV: one line a row, raw fractions; `kind` says which rows are measured, reported and refused."""

from __future__ import annotations

import json
from itertools import product

from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.formats import csv_cell
from benchmark.leaderboard.pages.column import Line, Table, Value
from benchmark.leaderboard.pages.columns import COLUMNS, OCCASIONAL, columns_of

CSV_MARKER = "kind,protocol,preset,rank,"  # how every generated page begins, also those of earlier versions
_KEYS = [column.key for column in COLUMNS if column.tables & Table.CSV]
# The first line of a page, with and without each set of the columns that only some boards have.
CSV_HEADERS = tuple(
    ",".join(key for key in _KEYS if key not in frozenset().union(*left_out))
    for left_out in product(*((frozenset(), keys) for keys, _ in OCCASIONAL))
)


def to_csv(board: Board) -> str:
    """Return the board as CSV with a header line; fractions in [0, 1] unrounded, empty where unknown."""
    from pandas import DataFrame

    columns = columns_of(Table.CSV, board)
    lines: list[Line] = [*board.rows, *board.reported, *board.refused, *board.superseded]
    # As text: a column of numbers with gaps would become one of floats.
    cells = {column.key: [_text(column.value(line, board)) for line in lines] for column in columns}
    return DataFrame(cells, dtype=object).to_csv(index=False, lineterminator="\n")


def _text(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        value = " ".join(map(str, value))
    if isinstance(value, dict):
        value = json.dumps(value, sort_keys=True)
    return csv_cell(value) if isinstance(value, str) else str(value)
