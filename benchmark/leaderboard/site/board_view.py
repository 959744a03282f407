"""What a board's page shows, prepared for its template: groups of rows, filters, the data its script works on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markupsafe import Markup

from benchmark.leaderboard.board.classes import SIZE_CLASSES, SizeClass
from benchmark.leaderboard.board.rows import Front, Row
from benchmark.leaderboard.board.tables import PRESETS, Board
from benchmark.leaderboard.formats import PRESET_TITLES, allocation, architecture, clipped
from benchmark.leaderboard.pages.column import Column, Table, plain
from benchmark.leaderboard.pages.columns import BY_KEY, COLUMNS
from benchmark.leaderboard.site.links import row_path, run_ids, safe_json
from benchmark.leaderboard.site.pareto import pareto_plot
from benchmark.results.evaluation import HEALTH_ORDER
from benchmark.results.external import PRESET as EXTERNAL
from methods.allocation import auto_constant

_MAX_NOTES = 100_000  # characters of a board's notes; a browser takes seconds to lay out millions of them
VERDICTS = (*HEALTH_ORDER, "not run", "not checked")  # in the order in which a column sorts them
_GLOBAL = 2.0  # sorts behind every exponent p, which is at most 1; automatic allocations follow by their constant

# Results come first on the site, where the settings may have to be scrolled to; last comes what few boards have.
_FIRST = ("rank", "method", "robust", "robust_interval", "autoattack", "pgd", "clean", "size_bytes", "passes")
_LAST = ("sparse_1", "speedup_1", "reported", "difference")
SITE_COLUMNS = (
    *(BY_KEY[key] for key in _FIRST),
    *(column for column in COLUMNS if column.tables & Table.SITE and column.key not in (*_FIRST, *_LAST)),
    *(BY_KEY[key] for key in _LAST),
)
# More is better: the first click sorts downwards.
_DOWN = {"robust", "robust_interval", "autoattack", "pgd", "clean", "n_seeds", "speedup_1", "reported", "difference"}


@dataclass(frozen=True)
class Entry:
    """A row with its name on the board and the path of its page below site/."""

    row: Row
    anchor: str
    path: str


@dataclass(frozen=True)
class Group:
    """One ranking: a preset and a size class."""

    preset: str
    size_class: SizeClass
    entries: tuple[Entry, ...]

    @property
    def title(self) -> str:
        """The ranking in words."""
        return f"{PRESET_TITLES[self.preset]}, {self.size_class.title}"

    @property
    def tie_groups(self) -> int:
        """Number of tie groups."""
        return max(entry.row.tie or 0 for entry in self.entries)


@dataclass(frozen=True)
class Plots:
    """The two pictures of one preset."""

    preset: str
    pictures: tuple[tuple[Front, Markup], ...]


class BoardView:
    """A board with everything that its page and the index need."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.entries = [Entry(row, row.id, row_path(board.protocol, row.id)) for row in board.every_row]
        self.ranked = self.entries[: len(board.rows)]
        self.refused = [entry for entry in self.entries if entry.row.reasons]
        self.superseded = [entry for entry in self.entries if entry.row.superseded_by]
        self.by_run = {run: entry for entry in self.entries for run in entry.row.runs}
        # A prefix, as the style sheet of all boards goes by places.
        needed = len(_LAST) if any(row.reported for row in board.rows) else 2 * any(row.speed for row in board.rows)
        self.columns = SITE_COLUMNS[: len(SITE_COLUMNS) - len(_LAST) + needed]

    @cached_property
    def groups(self) -> list[Group]:
        """The rankings in the order of the board: presets, within them size classes, small ones first."""
        rankings: dict[tuple[str, SizeClass], list[Entry]] = {}
        for entry in self.ranked:
            rankings.setdefault((entry.row.preset, entry.row.size_class), []).append(entry)
        return [Group(preset, size, tuple(entries)) for (preset, size), entries in rankings.items()]

    @cached_property
    def interval_scale(self) -> float:
        """The accuracy at the right end of the interval bars: the smallest multiple of a tenth that covers them all."""
        highest = max((entry.row.interval[1] for entry in self.ranked), default=1.0)
        return min(1.0, max(0.1, -(-highest // 0.1) / 10))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """The board's footnotes; none if they are too long for one page."""
        return self.board.footnotes if sum(map(len, self.board.footnotes)) <= _MAX_NOTES else ()

    @property
    def best(self) -> Entry | None:
        """The most robust row of the first preset that has rows, whatever its size."""
        first = [entry for entry in self.ranked if entry.row.preset == self.ranked[0].row.preset]
        return max(first, key=lambda entry: entry.row.robust.mean, default=None)

    def plots(self) -> list[Plots]:
        """Return the Pareto pictures of every preset with rows."""
        plots = []
        for preset in PRESETS:
            entries = [entry for entry in self.ranked if entry.row.preset == preset]
            if entries:
                rows, names = [entry.row for entry in entries], [entry.anchor for entry in entries]
                fronts: tuple[Front, ...] = ("size",) if preset == EXTERNAL else ("size", "passes")
                plots.append(Plots(preset, tuple((front, pareto_plot(rows, names, front)) for front in fronts)))
        return plots

    def choices(self) -> dict[str, list[tuple[str, str]]]:
        """Return the values that each list of the filters offers, as the script knows them and in words."""
        rows = [entry.row for entry in self.ranked]
        strategies = sorted({strategy(row) for row in rows if row.own})
        exponents = [name for name in strategies if name[0].isdigit()]
        offered = [(name, name) for name in strategies if name not in exponents]
        offered += [("p", "any p")] if exponents else []
        classes = {row.size_class for row in rows}
        presets = {row.preset for row in rows}
        return {
            "method": [(name, name) for name in sorted({row.method for row in rows})],
            "weights": [(name, name) for name in sorted({row.weights for row in rows})],
            "last_norm": [
                (name, name) for name in sorted({plain(row.last_norm) for row in rows if row.own}, reverse=True)
            ],
            "strategy": offered + [(name, f"p = {name}") for name in exponents],
            "granularity": [(name, name) for name in self.granularities],
            "preset": [(name, PRESET_TITLES[name]) for name in PRESETS if name in presets],
            "class": [(each.name, each.title) for each in SIZE_CLASSES if each in classes],
        }

    @cached_property
    def granularities(self) -> tuple[str, ...]:
        """What the masks of the ranked rows keep together; none where all masks are over single weights."""
        rows = [entry.row for entry in self.ranked]
        return (
            tuple(sorted({plain(row.granularity) for row in rows if row.own})) if any(r.grouped for r in rows) else ()
        )

    def texts(self, row: Row) -> list[tuple[str, str]]:
        """Return the keys and texts of the cells of a row."""
        return [(column.key, column.text(row, self.board)) for column in self.columns]

    def data(self) -> Markup:
        """Return the JSON that the page's script sorts, filters and searches by; rows in the order of the page."""
        groups = [
            {"preset": group.preset, "class": group.size_class.name, "title": group.title} for group in self.groups
        ]
        lines = [
            {"group": place, "ids": [entry.anchor, *run_ids(entry.row)], **self._line(entry.row)}
            for place, group in enumerate(self.groups)
            for entry in group.entries
        ]
        columns = [{"key": column.key, "down": column.key in _DOWN} for column in self.columns]
        return Markup(safe_json({"columns": columns, "groups": groups, "rows": lines}))

    def _line(self, row: Row) -> dict[str, object]:
        network = architecture(row.architecture, row.width)
        words = [
            row.method,
            network,
            row.weights,
            row.objective or "trained elsewhere",
            clipped(row.options_text),
            *row.runs,
        ]
        return {
            "values": [_rounded(_sorted_by(column, row, self.board)) for column in self.columns],
            "strategy": strategy(row),
            **({"granularity": row.granularity} if self.granularities else {}),
            "words": " ".join(words).lower(),
        }


def interval_bar(row: Row, scale: float) -> Markup:
    """Return a bar from the lower to the upper end of the interval, with a tick at the mean; `scale` is at its end."""
    low, mean, high = (100 * value / scale for value in (row.interval[0], row.robust.mean, row.interval[1]))
    return Markup(
        '<svg class="iv" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="M0 11H100"/><path d="M{low:.1f} 5H{high:.1f}"/><path d="M{mean:.1f} 1V9"/></svg>'
    )


def strategy(row: Row) -> str:
    """Return how the layers' budgets were chosen: "dense", a name such as "global" or "auto", or the exponent p.

    It is empty where it is unknown.
    """
    if not row.own:
        return ""
    text = allocation(row.keep_ratio, row.allocation)
    return "dense" if text == "-" else text


def _sorted_by(column: Column, row: Row, board: Board) -> Any:
    """Return the value by which a column sorts a row; None comes last."""
    if column.key == "robust_interval":
        return row.interval[0]
    if column.key == "health":
        return HEALTH_ORDER.index(row.health)
    if column.key in row.opponent:
        answer = row.opponent[column.key]
        return answer.value if answer.hint else VERDICTS.index(answer.verdict)
    if column.key == "allocation":
        chosen = strategy(row)
        if chosen in ("dense", ""):
            return None
        c = auto_constant(chosen)
        return _GLOBAL if chosen == "global" else float(chosen) if c is None else _GLOBAL + 1 + c
    if column.key == "architecture" or (column.key == "last_norm" and row.own):
        return column.text(row, board)
    return column.value(row, board)


def _rounded(value: Any) -> Any:
    # Seventeen digits of each mean would double the page's data.
    return round(value, 9) if isinstance(value, float) else value
