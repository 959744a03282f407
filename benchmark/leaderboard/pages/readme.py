"""Short tables of boards inside the README beside a leaderboard folder, between markers that its author places.

`readme_markers` says which. They hold the folder's name, so that a folder of another name leaves the README alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.errors import UserError, suggestion
from benchmark.files.plain import read_below
from benchmark.leaderboard.board.claims import Answer
from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import PRESETS, Board
from benchmark.leaderboard.formats import PRESET_TITLES, row_page
from benchmark.leaderboard.pages.claims import claims_table
from benchmark.leaderboard.pages.column import Column, Table
from benchmark.leaderboard.pages.columns import columns_of
from benchmark.leaderboard.pages.markdown_text import link, table
from benchmark.leaderboard.pages.readme_markers import BEGIN, END, segments

README = "../README.md"  # from the folder
README_BYTES = 2**24
SHOWN = 10  # rows at most


def readme_page(folder: Path, boards: Mapping[str, Board], answers: Sequence[Answer]) -> dict[str, str]:
    """Return the README beside `folder` with its tables made anew, by its name; nothing if it holds none of ours.

    Raises:
        UserError: if a marker names a board that is not there, or a table has no end, or the README is a link.
    """
    place = folder.absolute()
    path = place.parent / "README.md"
    content = read_below(path, place.parent, README_BYTES)
    if content is None:
        return {}
    texts = []
    parts = list(segments(content.decode("utf-8", errors="replace"), place.name))
    for begin, part in parts:
        if begin is None:
            texts.append(part)
            continue
        kind, name, protocol = begin.groups()
        if protocol not in boards:
            raise UserError(
                f"{path}: there is no board {protocol!r} in {folder}.{suggestion(protocol, boards)} "
                f"Boards: {', '.join(boards) or 'none'}."
            )
        first, *rest = part.splitlines(keepends=True)
        if not rest or rest[-1].strip() != END or any(BEGIN.fullmatch(line.strip()) for line in rest):
            raise UserError(f"{path}: the table of {protocol} has no end; write {END} in a line of its own below it")
        made = _table(boards[protocol], name) if kind == "table" else _claims(answers, protocol, name)
        texts.append(f"{first}\n{made}\n\n{rest[-1]}")
    return {README: "".join(texts)} if len(parts) > 1 else {}


def _table(board: Board, folder: str) -> str:
    """Return the best rows of the board: of every ranking the first, then the second, and so on while there is room."""
    rankings = [ranking for preset in PRESETS for _, ranking in board.rankings(preset)]
    by_place = sorted(
        (place, number, row.id) for number, ranking in enumerate(rankings) for place, row in enumerate(ranking)
    )
    chosen = {row_id for _, _, row_id in by_place[:SHOWN]}
    columns = columns_of(Table.README, board)
    blocks = []
    for preset in PRESETS:
        if rows := [row for row in board.section(preset) if row.id in chosen]:
            lines = [[_cell(column, row, board, folder) for column in columns] for row in rows]
            blocks.append(f"{PRESET_TITLES[preset]}, {board.n_images:,} test images:")
            blocks.append(table([column.title for column in columns], lines))
    shown = f"The best {SHOWN} of {len(board.rows)} rows." if len(board.rows) > SHOWN else "All rows."
    blocks.append(f"{shown} The whole board: {link(board.protocol, f'{folder}/{board.protocol}.md')}.")
    return "\n\n".join(blocks)


def _cell(column: Column, row: Row, board: Board, folder: str) -> str:
    text = column.text(row, board)
    return link(text, f"{folder}/{row_page(board.protocol, row.id)}") if column.key == "id" else text


def _claims(answers: Sequence[Answer], protocol: str, folder: str) -> str:
    """Return the questions to a board that have an answer, and where to read how they were tested."""
    answered = [answer for answer in answers if answer.claim.protocol == protocol and answer.test is not None]
    shown = claims_table(answered) or "No question to this board has an answer yet."
    return f"{shown}\n\nRows, tests and all questions: {link('claims.md', f'{folder}/claims.md')}."
