"""The part of a board's Markdown page about clean and PGD accuracy on more images than the protocol's."""

from __future__ import annotations

from benchmark.leaderboard.board.rows import Row, Stat, Wide
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.formats import percent, row_page, table
from benchmark.leaderboard.pages.markdown_reproduction import SETTING, setting_cells

_COLUMNS = ("id", *SETTING, "images", "clean", "95% interval", "PGD", "95% interval", "seeds")
_LEGEND = (
    "The board's own PGD, on more test images than AutoAttack can afford; the protocol's images are the first of them. "
    "No rank depends on these numbers. Means over seeds, ± the sample standard deviation, intervals as above. "
    "`python -m benchmark compare` tests two rows on all these images."
)


def wide_blocks(board: Board) -> list[str]:
    """Return the blocks of the rows that were measured on further images; none if there are none."""
    lines = [_line(row, row.wide, board.protocol) for row in board.rows if row.wide is not None]
    return ["## Clean and PGD accuracy on more images", _LEGEND, table(_COLUMNS, lines)] if lines else []


def _line(row: Row, wide: Wide, protocol: str) -> list[str]:
    return [
        f"[{row.id}]({row_page(protocol, row.id)})",
        *setting_cells(row),
        f"{wide.n_images:,}",
        *_cells(wide.clean, wide.clean_interval),
        *_cells(wide.pgd, wide.pgd_interval),
        str(len(row.seeds)),
    ]


def _cells(stat: Stat, interval: tuple[float, float]) -> list[str]:
    return [with_deviation(stat), f"{percent(interval[0])} to {percent(interval[1])}"]


def with_deviation(stat: Stat) -> str:
    """Write a mean over seeds in percent, with its standard deviation if there are several."""
    return percent(stat.mean) if stat.std is None else f"{percent(stat.mean)} ± {percent(stat.std)}"
