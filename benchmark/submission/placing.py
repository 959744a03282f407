"""The row and rank that a record would get on a board: the board is built with it, as `leaderboard` would."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UserError
from benchmark.files.text import terminal_line
from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import Board, boards
from benchmark.leaderboard.formats import PRESET_TITLES, amount, percent
from benchmark.results.challenges import load_challenges
from benchmark.results.external import FOLDER, AnyRecord
from benchmark.results.rechecks import load_rechecks
from benchmark.results.store import load_all


@dataclass(frozen=True)
class Placement:
    """The place that a record would get."""

    board: Board
    row: Row
    rivals: int  # rows of its preset and size class, itself included

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the row would not be ranked; empty if it would."""
        return self.row.reasons


def check_board(folder: Path) -> None:
    """Check that there is a board to place a row on, or an empty folder for a new one.

    Raises:
        UserError: if there is no such folder, or it holds something else.
    """
    holds_rows = any((folder / kind).is_dir() for kind in ("records", FOLDER))
    if holds_rows or (folder.is_dir() and not any(folder.iterdir())):
        return
    above = [path for path in folder.parents if (path / "records").is_dir()]  # as of leaderboards/records
    beside = {path.parent.name: path.parent for path in folder.parent.glob("*/records")}
    similar = [beside[name] for name in difflib.get_close_matches(folder.name, beside, n=1)]
    near = next(iter(above + similar), None)
    raise UserError(
        f"there is no board in {folder}; give --board a folder that holds records/{f', as {near}' if near else ''}"
    )


def place(record: AnyRecord, folder: Path) -> Placement:
    """Return the row of a record on its board below `folder`, among all rows there.

    Raises:
        UserError: if a record, its later checks or a challenge below `folder` cannot be read.
    """
    own = record.protocol, record.run
    others = [each for each in load_all(folder) if (each.protocol, each.run) != own]
    challenges = [each for each in load_challenges(folder) if (each.protocol, each.run) != own]
    rechecks = [each for each in load_rechecks(folder) if (each.protocol, each.run) != own]
    board = boards([*others, record], challenges=challenges, rechecks=rechecks)[record.protocol]
    row = next(row for row in board.every_row if record.run in row.runs)
    rivals = sum((each.preset, each.size_class) == (row.preset, row.size_class) for each in board.rows)
    return Placement(board, row, rivals)


def _seeds(row: Row) -> str:
    return f"seeds {', '.join(map(str, row.seeds))}" if row.seeds else "trained elsewhere"


def placement_text(placement: Placement) -> str:
    """Return what `submit` prints: row, rank, tie group, size class and fronts, or why it would be refused."""
    row = placement.row
    lines = [
        f"board      {placement.board.protocol}, {PRESET_TITLES[row.preset].lower()}"
        if row.external
        else f"board      {placement.board.protocol}, {row.preset} preset",
        f"row        {row.id} {row.method} {row.weights}, {amount(row.costs.size_bytes, 'B')}, clean "
        f"{percent(row.clean.mean)}, robust {percent(row.robust.mean)} "
        f"(95%: {percent(row.interval[0])} to {percent(row.interval[1])}), {_seeds(row)}",
    ]
    if row.reasons:
        return "\n".join(map(terminal_line, [*lines, *(f"refused    {reason}" for reason in row.reasons)]))
    fronts = ", ".join({"size": "bytes", "passes": "training passes"}[front] for front in row.fronts)
    lines += [
        f"rank       {row.rank} of {placement.rivals} {row.size_class.title}, tie group {row.tie}",
        f"front      {'robust accuracy against ' + fronts if fronts else 'on no Pareto front'}",
    ]
    return "\n".join(map(terminal_line, lines))
