"""What a board's page shows, prepared for its template: groups of rows, filters, the data its script works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from benchmark.leaderboard.board.classes import SIZE_CLASSES, SizeClass
from benchmark.leaderboard.board.rows import Front, Row
from benchmark.leaderboard.board.tables import PRESETS, Board
from benchmark.leaderboard.formats import allocation, architecture, clipped, short
from benchmark.leaderboard.site.labels import COLUMNS, PRESET_WORDS, REPORTED
from benchmark.leaderboard.site.links import row_path, run_ids, safe_json
from benchmark.leaderboard.site.pareto import pareto_plot
from benchmark.results.evaluation import HEALTH_ORDER

_MAX_NOTES = 100_000  # characters of a board's notes; a browser takes seconds to lay out millions
_VERDICTS = (*HEALTH_ORDER, "not run", "not checked")  # in the order in which a column sorts them
_GLOBAL = 2.0  # sorts behind every exponent p, which is at most 1

Value = str | float | int | None


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
        return f"{PRESET_WORDS[self.preset][0]}, {self.size_class.title}"

    @property
    def tie_groups(self) -> int:
        """How many groups of rows differ from each other as far as the images show."""
        return max(entry.row.tie or 0 for entry in self.entries)


@dataclass(frozen=True)
class Plots:
    """The two pictures of one preset."""

    preset: str
    pictures: tuple[tuple[Front, Markup], ...]


class BoardView:
    """A board with everything that its page and the index need."""

    def __init__(self, board: Board) -> None:
        rows = (*board.rows, *board.refused)
        self.board = board
        self.entries = [Entry(row, row.id, row_path(board.protocol, row.id)) for row in rows]
        self.ranked = self.entries[: len(board.rows)]
        self.refused = self.entries[len(board.rows) :]
        self.columns = (*COLUMNS, REPORTED) if any(row.reported for row in board.rows) else COLUMNS

    @cached_property
    def groups(self) -> list[Group]:
        """The rankings in the order of the board: presets, within them size classes, small ones first."""
        found: dict[tuple[str, SizeClass], list[Entry]] = {}
        for entry in self.ranked:
            found.setdefault((entry.row.preset, entry.row.size_class), []).append(entry)
        return [Group(preset, size, tuple(entries)) for (preset, size), entries in found.items()]

    @cached_property
    def interval_scale(self) -> float:
        """The accuracy at the right end of the interval bars: a multiple of a tenth that holds them all."""
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
        found = []
        for preset in PRESETS:
            entries = [entry for entry in self.ranked if entry.row.preset == preset]
            if entries:
                rows, names = [entry.row for entry in entries], [entry.anchor for entry in entries]
                fronts: tuple[Front, ...] = ("size", "passes")
                found.append(Plots(preset, tuple((front, pareto_plot(rows, names, front)) for front in fronts)))
        return found

    def choices(self) -> dict[str, list[tuple[str, str]]]:
        """Return the values that each list of the filters offers, as the script knows them and in words."""
        rows = [entry.row for entry in self.ranked]
        strategies = sorted({strategy(row) for row in rows})
        exponents = [name for name in strategies if name not in ("dense", "global")]
        offered = [(name, name) for name in strategies if name in ("dense", "global")]
        offered += [("p", "any p")] if exponents else []
        classes = {row.size_class for row in rows}
        presets = {row.preset for row in rows}
        return {
            "method": [(name, name) for name in sorted({row.method for row in rows})],
            "precision": [(name, name) for name in sorted({row.weights for row in rows})],
            "lbn": [(name, name) for name in sorted({yes_no(row.last_norm) for row in rows}, reverse=True)],
            "strategy": offered + [(name, f"p = {name}") for name in exponents],
            "preset": [(name, PRESET_WORDS[name][0]) for name in PRESETS if name in presets],
            "class": [(each.name, each.title) for each in SIZE_CLASSES if each in classes],
        }

    def data(self) -> Markup:
        """Return the JSON that the page's script sorts, filters and searches by; rows in the order of the page."""
        keys = [column.key for column in self.columns]
        groups = [
            {"preset": group.preset, "class": group.size_class.name, "title": group.title} for group in self.groups
        ]
        lines = [
            {"group": place, "ids": [entry.anchor, *run_ids(entry.row)], **_line(entry.row, keys)}
            for place, group in enumerate(self.groups)
            for entry in group.entries
        ]
        columns = [{"key": column.key, "down": column.down} for column in self.columns]
        return Markup(safe_json({"columns": columns, "groups": groups, "rows": lines}))


def interval_bar(row: Row, scale: float) -> Markup:
    """Return a bar from the lower to the upper end of the interval, with a tick at the mean; `scale` is at its end."""
    low, mean, high = (100 * value / scale for value in (row.interval[0], row.robust.mean, row.interval[1]))
    return Markup(
        '<svg class="iv" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="M0 11H100"/><path d="M{low:.1f} 5H{high:.1f}"/><path d="M{mean:.1f} 1V9"/></svg>'
    )


def strategy(row: Row) -> str:
    """Return how the layers' budgets were chosen: "dense", "global" or the exponent p."""
    told = allocation(row.keep_ratio, row.allocation)
    return "dense" if told == "-" else told


def yes_no(value: bool) -> str:
    """Return the word."""
    return "yes" if value else "no"


def reported_difference(row: Row) -> float | None:
    """Return measured less published AutoAttack accuracy, a fraction; None if nothing was published."""
    return None if row.reported is None else row.autoattack.mean - row.reported.robust


def _line(row: Row, keys: Sequence[str]) -> dict[str, object]:
    network = architecture(row.architecture, row.width)
    values: dict[str, Value] = {
        "rank": row.rank,
        "method": row.method,
        "robust": row.robust.mean,
        "interval": row.interval[0],
        "autoattack": row.autoattack.mean,
        "pgd": row.pgd.mean,
        "clean": row.clean.mean,
        "size": row.costs.size_bytes,
        "passes": row.costs.passes,
        "density": row.costs.density,
        "gradients": HEALTH_ORDER.index(row.health),
        **{
            name: answer.value if answer.hint else _VERDICTS.index(answer.verdict)
            for name, answer in row.opponent.items()
        },
        "precision": row.weights,
        "keep": row.keep_ratio,
        "p": _exponent(row),
        "lbn": yes_no(row.last_norm),
        "network": network,
        "objective": row.objective,
        "seeds": len(row.seeds),
        "reported": reported_difference(row),
    }
    words = [row.method, network, row.weights, row.objective, clipped(row.options_text), *row.runs]
    return {
        "values": [_rounded(values[key]) for key in keys],
        "strategy": strategy(row),
        "words": " ".join(words).lower(),
    }


def _exponent(row: Row) -> float | None:
    told = strategy(row)
    return None if told == "dense" else _GLOBAL if told == "global" else float(short(float(row.allocation)))


def _rounded(value: Value) -> Value:
    # Seventeen digits of each mean would double the page's data.
    return round(value, 9) if isinstance(value, float) else value
