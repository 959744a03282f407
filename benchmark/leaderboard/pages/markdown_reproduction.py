"""The part of a board's Markdown page that sets measured numbers beside the published ones they reproduce."""

from __future__ import annotations

from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.reproduction import TEST_IMAGES, Comparison
from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.formats import allocation, architecture, markdown, percent, points, row_page, short, table

SETTING = ("method", "precision", "LBN", "architecture", "keep ratio", "p", "objective")
_COLUMNS = (
    *("id", *SETTING, "reported", "measured", "difference", "95% interval"),
    *("reported clean", "measured clean", "difference", "95% interval", "seeds", "note"),
)
_LEGEND = (
    "Rows trained as a published result was: the paper's schedule, data, network and options. *reported* and "
    "*measured* are the accuracy under AutoAttack, then that on clean images; *difference* is measured minus reported, "
    "in percentage points; the intervals are those of what was measured here."
)


def reproduction_blocks(board: Board) -> list[str]:
    """Return the blocks of the rows that reproduce a published result; none if there are none."""
    lines = [_line(row, board) for row in board.rows if row.reported is not None]
    if not lines:
        return []
    legend = _LEGEND
    if board.n_images < TEST_IMAGES:
        legend += (
            f" Measured on {board.n_images:,} of the {TEST_IMAGES:,} test images that the published numbers are of."
        )
    return ["## Reproduces the paper", legend, table(_COLUMNS, lines)]


def setting_cells(row: Row | ReportedRow) -> list[str]:
    """Return the cells of the columns `SETTING`."""
    width = row.width if isinstance(row, Row) else 1.0
    return [
        markdown(row.method),
        row.weights,
        "yes" if row.last_norm else "no",
        markdown(architecture(row.architecture, width)),
        short(row.keep_ratio),
        allocation(row.keep_ratio, row.allocation),
        markdown(row.objective),
    ]


def _line(row: Row, board: Board) -> list[str]:
    note = row.reported.note if row.reported is not None else None
    return [
        f"[{row.id}]({row_page(board.protocol, row.id)})",
        *setting_cells(row),
        *_cells(row.against_reported),
        *_cells(row.clean_against_reported),
        str(len(row.seeds)),
        markdown(note or ""),
    ]


def _cells(found: Comparison | None) -> list[str]:
    if found is None:
        return ["-"] * 4
    low, high = found.interval
    ends = f"{percent(low)} to {percent(high)}"
    return [percent(found.reported), percent(found.measured), points(found.difference), ends]
