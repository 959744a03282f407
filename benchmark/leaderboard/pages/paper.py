"""The paper's tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from benchmark.leaderboard.formats import csv_cell, markdown, percent, points, row_page, table
from benchmark.leaderboard.pages.latex import LATEX_MARKER, tabular
from benchmark.leaderboard.pages.markdown import MARKDOWN_MARKER
from benchmark.leaderboard.paper.tables import PaperCell, PaperTable
from benchmark.leaderboard.tex import tex

_CSV_COLUMNS = (
    *("table", "line", "column", "reported", "measured", "difference"),
    *("n_seeds", "low", "high", "protocol", "id"),
)
PAPER_CSV_MARKER = ",".join(_CSV_COLUMNS)  # how the page begins
_LEGEND = (
    "The tables of the paper's authors (the source is named in `reference/SOURCES.md`), in percent. The first number "
    "of a cell is the published one. Where a row of a board reproduces the cell on all test images, the measured "
    "number follows with its difference in points, the number of seeds and the 95% interval. A cell without a second "
    "number is not measured yet."
)


def paper_markdown(tables: Sequence[PaperTable]) -> str:
    """Return all tables on one page for GitHub."""
    blocks = [MARKDOWN_MARKER, "# The paper's tables", _LEGEND]
    for each in tables:
        lines = [[*(markdown(key) for key in keys), *(_markdown(cell) for cell in cells)] for keys, cells in each.lines]
        count = sum(cell.measured is not None for cell in each.cells)
        blocks += [
            f"## {markdown(each.title)}",
            f"{markdown(each.caption)} Measured: {count} of {len(each.cells)} cells.",
            table([markdown(name) for name in (*each.keys, *each.columns)], lines),
        ]
    return "\n\n".join(blocks) + "\n"


def paper_csv(tables: Sequence[PaperTable]) -> str:
    """Return all published cells, one a line, as fractions; empty where not measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for each in tables:
        for keys, cells in each.lines:
            for column, cell in zip(each.columns, cells, strict=True):
                if cell.reported is not None:
                    numbers = (cell.reported, cell.measured, cell.difference, cell.n_seeds or None)
                    ends, row = cell.interval or (None, None), cell.row or (None, None)
                    texts = [csv_cell(text) for text in (each.name, " ".join(keys), column)]
                    writer.writerow([*texts, *numbers, *ends, *row])
    return text.getvalue()


def paper_latex(tables: Sequence[PaperTable]) -> str:
    """Return the tables in the style of booktabs."""
    blocks = [LATEX_MARKER]
    for each in tables:
        columns = [(name, "l") for name in each.keys] + [(name, "r") for name in each.columns]
        lines = [[*keys, *(_plain(cell) for cell in cells)] for keys, cells in each.lines]
        blocks.append(f"% {tex(each.title)}. {tex(each.caption)}\n{tabular(columns, [('', lines)])}")
    return "\n\n".join(blocks) + "\n"


def _markdown(cell: PaperCell) -> str:
    if cell.row is None:
        return "" if cell.reported is None else percent(cell.reported)
    reported, measured, *rest = _texts(cell)
    return "<br>".join([reported, f"[**{measured}**]({row_page(*cell.row)})", *rest])


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
    low, high = cell.interval
    return [
        *(percent(cell.reported), percent(cell.measured), points(cell.difference)),
        *(seeds, f"{percent(low)} to {percent(high)}"),
    ]
