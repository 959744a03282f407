"""A board as LaTeX tables in the style of booktabs, the one package they need."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.state import BoardState
from benchmark.leaderboard.board.tables import PRESETS, Board
from benchmark.leaderboard.formats import GENERATED, tex
from benchmark.leaderboard.pages.column import Column, Table
from benchmark.leaderboard.pages.columns import columns_of

LATEX_MARKER = f"% {GENERATED}"


def to_latex(state: BoardState) -> str:
    """Return one table for each preset, its rows in size classes; accuracies in percent."""
    board = state.board
    columns = columns_of(Table.LATEX, board)
    blocks = [
        LATEX_MARKER,
        f"% {board.protocol}\n% state {state.digest}\n% Needs \\usepackage{{booktabs}}. Accuracies are percentages of "
        f"{board.n_images} test images.",
        "\n".join(f"% {column.title}: {about}" for column in columns if (about := column.about_on(board))),
    ]
    titles = [(column.title, column.side) for column in columns]
    for preset in PRESETS:
        if rows := board.section(preset):
            lines = [[_cell(column, row, board) for column in columns] for row in rows]
            blocks.append(f"% preset: {preset}\n{tabular(titles, lines)}")
    return "\n\n".join(blocks) + "\n"


def tabular(columns: Sequence[tuple[str, str]], lines: Sequence[Sequence[str]]) -> str:
    """Return a table.

    Args:
        columns: titles and sides, "left" or "right".
        lines: of cells, which are plain text.
    """
    from pandas import DataFrame

    cells = {place: [tex(line[place]) for line in lines] for place in range(len(columns))}
    titles = [tex(title) for title, _ in columns]
    sides = "".join(side[0] for _, side in columns)
    # Not `escape=True`: pandas leaves <, >, |, quotes and letters beyond ASCII, which TeX sets as others or not at all.
    text = DataFrame(cells, dtype=object).to_latex(index=False, header=titles, escape=False, column_format=sides)
    return text.rstrip("\n")


def _cell(column: Column, row: Row, board: Board) -> str:
    text = column.text(row, board)
    return f"{text} ({row.options_text})" if column.key == "method" and row.options_text else text
