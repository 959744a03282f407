"""A board, and the index of boards, as GitHub Markdown; the prose is in templates/."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from benchmark.leaderboard.board.reproduction import TEST_IMAGES
from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import PRESETS, Board
from benchmark.leaderboard.formats import PRESET_NOTES, PRESET_TITLES, markdown, percent, row_page
from benchmark.leaderboard.pages.column import Column, Line, Table
from benchmark.leaderboard.pages.columns import BY_KEY, columns_of
from benchmark.leaderboard.pages.markdown_text import link, render, table
from benchmark.results.external import PRESET as EXTERNAL

_FORMATS = (("CSV", "csv"), ("JSON", "json"), ("LaTeX", "tex"), ("BibTeX", "bib"))


def to_markdown(board: Board) -> str:
    """Return the page of one board: rankings by preset, further tables, refused records, deviations."""
    columns = columns_of(Table.RANKING, board)
    timed = [row for row in board.rows if row.speed]
    challenges = [(each.run, len(each.broken), each.credit, each.date.isoformat()) for each in board.challenges]
    return render(
        "board.md",
        board=board,
        chance=percent(1 / board.num_classes),
        columns=columns,
        rankings=[(preset, board.rankings(preset)) for preset in PRESETS if board.section(preset)],
        ranking=lambda rows: _rows(Table.RANKING, rows, board),
        more_images=_rows(Table.MORE_IMAGES, [row for row in board.rows if row.wide], board),
        reproduction=_rows(Table.REPRODUCTION, [row for row in board.rows if row.reported], board),
        costs=_rows(Table.COSTS, board.rows, board),
        cost_columns=[column for column in columns_of(Table.COSTS, board) if column not in columns],
        speed=_rows(Table.SPEED, timed, board) if timed else "",
        speed_columns=[column for column in columns_of(Table.SPEED, board) if column not in columns],
        timed_on=sorted({text for row in timed if (text := BY_KEY["timed_on"].text(row, board))}),
        doubts=table(
            ("id", "method", "check"), [(row.id, row.method, text) for row in board.rows for text in row.doubts]
        ),
        challenges=table(("run", "images broken", "credit", "date"), challenges),
        reported=_rows(Table.REPORTED, board.reported, board),
        superseded=_superseded(board),
        refused=table(("run", "reason"), [(row.runs[0], "; ".join(row.reasons)) for row in board.refused]),
        test_images=TEST_IMAGES,
        preset_titles=PRESET_TITLES,
        preset_notes=PRESET_NOTES,
    )


def index_page(boards: Sequence[Board], *, paper: bool = False) -> str:
    """Return the page that lists the boards and explains the protocol id.

    Args:
        boards: all boards.
        paper: whether there are pages of the paper's tables.
    """
    presets = [preset for preset in PRESETS if preset != EXTERNAL or any(board.has_external for board in boards)]
    header = ("board", "data set", "epsilon", "images", *(f"{preset} rows" for preset in presets), "refused")
    return render("boards.md", boards=table(header, [_index_line(board, presets) for board in boards]), paper=paper)


def _index_line(board: Board, presets: Sequence[str]) -> list[object]:
    formats = ", ".join(link(name, f"{board.protocol}.{ending}") for name, ending in _FORMATS)
    links = Markup(f"{link(board.protocol, f'{board.protocol}.md')} ({formats})")
    counts = [len(board.section(preset)) for preset in presets]
    return [links, board.dataset, board.epsilon, board.n_images, *counts, len(board.refused)]


def _superseded(board: Board) -> Markup:
    """Return a table of the rows in whose place a newer version is ranked; empty without any."""
    ids = {run: row.id for row in board.every_row for run in row.runs}
    lines = [
        (
            link(row.id, row_page(board.protocol, row.id)),
            row.method,
            percent(row.robust.mean),
            link(ids[row.superseded_by or ""], row_page(board.protocol, ids[row.superseded_by or ""])),
        )
        for row in board.superseded
    ]
    return table(("id", "method", "robust", "superseded by"), lines)


def _rows(kind: Table, lines: Sequence[Line], board: Board) -> Markup:
    """Return a table of rows or published results; empty without any."""
    columns = columns_of(kind, board)
    return table(
        [column.title for column in columns],
        [[_cell(column, line, board, kind) for column in columns] for line in lines],
    )


def _cell(column: Column, line: Line, board: Board, kind: Table) -> str:
    text = column.text(line, board)
    if isinstance(line, Row) and column.key == "id":
        return link(text, row_page(board.protocol, line.id))
    if isinstance(line, Row) and column.key == "method" and kind is Table.RANKING:
        notes = f"<sup>{','.join(map(str, line.footnotes))}</sup>" if line.footnotes else ""
        options = f" ({markdown(line.options_text)})" if line.options_text else ""
        return Markup(f"{markdown(text)}{notes}{options}")
    return text
