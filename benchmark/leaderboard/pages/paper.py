"""The paper's tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from benchmark.leaderboard.formats import csv_cell, percent, points, row_page, tex
from benchmark.leaderboard.pages.columns import interval_text
from benchmark.leaderboard.pages.latex import LATEX_MARKER, tabular
from benchmark.leaderboard.pages.markdown_text import render, table
from benchmark.leaderboard.paper.tables import PaperCell, PaperTable

_CSV_COLUMNS = (
    *("table", "line", "column", "reported", "measured", "difference"),
    *("n_seeds", "low", "high", "protocol", "id"),
)
PAPER_CSV_MARKER = ",".join(_CSV_COLUMNS)  # how the page begins


def paper_markdown(tables: Sequence[PaperTable]) -> str:
    """Return all tables on one page for GitHub."""

    def shown(each: PaperTable) -> Markup:
        lines = [[*keys, *(_markdown(cell) for cell in cells)] for keys, cells in each.lines]
        return table([*each.keys, *each.columns], lines)

    return render("paper_tables.md", tables=tables, shown=shown)


def paper_csv(tables: Sequence[PaperTable]) -> str:
    """Return all published cells, one a line, as fractions; empty where not measured."""
    from pandas import DataFrame

    lines = [
        [*map(csv_cell, (each.name, " ".join(keys), column)), *_csv(cell)]
        for each in tables
        for keys, cells in each.lines
        for column, cell in zip(each.columns, cells, strict=True)
        if cell.reported is not None
    ]
    return DataFrame(lines, columns=_CSV_COLUMNS, dtype=object).to_csv(index=False, lineterminator="\n")


def paper_latex(tables: Sequence[PaperTable]) -> str:
    """Return the tables in the style of booktabs."""
    blocks = [LATEX_MARKER]
    for each in tables:
        columns = [(name, "left") for name in each.keys] + [(name, "right") for name in each.columns]
        lines = [[*keys, *(_plain(cell) for cell in cells)] for keys, cells in each.lines]
        blocks.append(f"% {tex(each.title)}. {tex(each.caption)}\n{tabular(columns, lines)}")
    return "\n\n".join(blocks) + "\n"


def _csv(cell: PaperCell) -> list[str]:
    numbers = (cell.reported, cell.measured, cell.difference, cell.n_seeds or None, *(cell.interval or (None, None)))
    return ["" if value is None else str(value) for value in (*numbers, *(cell.row or (None, None)))]


def _markdown(cell: PaperCell) -> str:
    if cell.row is None:
        return "" if cell.reported is None else percent(cell.reported)
    reported, measured, *rest = _texts(cell)
    return Markup("<br>".join([reported, f"[**{measured}**]({row_page(*cell.row)})", *rest]))


def _plain(cell: PaperCell) -> str:
    if cell.row is None:
        return "" if cell.reported is None else percent(cell.reported)
    reported, measured, *rest = _texts(cell)
    return f"{reported} / {measured} ({', '.join(rest)})"


def _texts(cell: PaperCell) -> list[str]:
    """Return reported and measured number, difference, seeds and interval of a cell that is measured."""
    assert cell.reported is not None and cell.measured is not None
    assert cell.difference is not None and cell.interval is not None
    seeds = f"{cell.n_seeds} seed{'s' if cell.n_seeds > 1 else ''}"
    numbers = [percent(cell.reported), percent(cell.measured), points(cell.difference)]
    return [*numbers, seeds, interval_text(cell.interval)]
