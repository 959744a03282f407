"""What a column of a board is: its names, what it holds, how that looks, and in which tables it appears."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag, auto
from operator import attrgetter
from typing import Any, Literal

from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.pages.legends import ABOUT, AUTOMATIC
from methods.allocation import AUTO

Line = Row | ReportedRow  # what a line of a table is about
Value = str | int | float | bool | tuple[Any, ...] | dict[str, Any] | None
Get = Callable[[Line, Board], Value]


class Table(Flag):
    """Where a column appears."""

    CSV = auto()
    JSON = auto()
    FRAME = auto()  # pandas
    RANKING = auto()  # the first tables of the Markdown page; its further tables are the next five
    MORE_IMAGES = auto()
    REPRODUCTION = auto()
    COSTS = auto()
    SPEED = auto()
    REPORTED = auto()  # published results; also on the site
    TERMINAL = auto()
    LATEX = auto()
    README = auto()
    SITE = auto()


def plain(value: Any) -> str:
    """Write a value that needs no format of its own."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Column:
    """A column: its names, what it holds, how that looks, and where it appears."""

    key: str
    title: str
    value: Get  # raw; None where it is unknown
    tables: Table
    holds: type = str  # type of the values that are not None
    look: Callable[[Any], str] = plain  # the text of a value that is not None
    show: Callable[[Any], str] | None = None  # the text of a line, where that needs more than the value
    align: Literal["left", "right", ""] = ""  # empty: numbers to the right

    @property
    def about(self) -> str:
        """What it means, in a plain sentence; empty where the title says it."""
        return ABOUT.get(self.key, "")

    def about_on(self, board: Board) -> str:
        """Return what it means on a board, with a sentence more where a row was allocated automatically."""
        automatic = any(str(row.allocation).startswith(AUTO) for row in board.every_row)
        return f"{self.about} {AUTOMATIC}" if self.key == "allocation" and automatic else self.about

    @property
    def heading(self) -> str:
        """The title with a capital, unless it is a symbol."""
        return self.title if len(self.title) == 1 else self.title[0].upper() + self.title[1:]

    @property
    def side(self) -> Literal["left", "right"]:
        """How the texts are aligned."""
        return self.align or ("right" if self.holds in (int, float) else "left")

    def text(self, line: Line, board: Board) -> str:
        """Return the text for people, "-" where the value is unknown."""
        if self.show is not None:
            return self.show(line)
        value = self.value(line, board)
        return "-" if value is None else self.look(value)


def of(path: str, reported: str = "", part: str = "") -> Get:
    """Return a getter of an attribute of a row.

    Args:
        path: of the attribute.
        reported: attribute of a published result that holds the same; empty: none does.
        part: attribute of the row in which `path` begins, and which may be None; empty: the row itself.
    """
    of_row, of_part = attrgetter(path), attrgetter(part) if part else None
    of_reported = attrgetter(reported) if reported else None

    def get(line: Line, board: Board) -> Value:
        if isinstance(line, ReportedRow):
            return None if of_reported is None else of_reported(line)
        owner = line if of_part is None else of_part(line)
        return None if owner is None else of_row(owner)

    return get


def both(path: str) -> Get:
    """Return a getter of an attribute that rows and published results share."""
    return of(path, reported=path)


def of_row(get: Callable[[Row], Value]) -> Get:
    """Return a getter from a function of a row; published results have no such value."""
    return lambda line, board: get(line) if isinstance(line, Row) else None
