"""A board for the terminal: one table for each preset and network, in size classes, 118 characters wide at most."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tabulate import simple_separated_format, tabulate

from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.formats import PRESET_TITLES, architecture, percent, printable
from benchmark.leaderboard.pages.column import Column, Table
from benchmark.leaderboard.pages.columns import BY_KEY, columns_of

WIDTH = 118
_LONGEST = 18  # characters of a cell
_SHORTEST = 8  # to which methods are cut where a line would be too long
_EXPLAINED = ("id", "tie", "robust_interval", "health")


def to_terminal(board: Board) -> str:
    """Return the ranked rows in percent, the best of each size class first; titles name network, preset and chance."""
    networks = dict.fromkeys((row.preset, _network(row)) for row in board.rows)
    blocks = [_block(board, preset, network) for preset, network in networks]
    if blocks:
        about = [f"{BY_KEY[key].title}: {BY_KEY[key].about}" for key in _EXPLAINED]
        about.append("*: the opponent's attacks were not run. The board's page has the other columns.")
        blocks.append(_wrapped(" ".join(about)))
    if board.superseded:
        blocks.append(
            "\n".join(_wrapped(f"superseded by {row.superseded_by}: {row.runs[0]}") for row in board.superseded)
        )
    if board.refused:
        reasons = [_wrapped(f"refused: {row.runs[0]}: {'; '.join(row.reasons)}") for row in board.refused]
        blocks.append("\n".join(reasons))
    return "\n\n".join(blocks) + "\n"


def _block(board: Board, preset: str, network: str) -> str:
    rankings = [
        (size_class.title, [row for row in ranking if _network(row) == network])
        for size_class, ranking in board.rankings(preset)
    ]
    rows = [row for _, ranking in rankings for row in ranking]
    options = dict.fromkeys(row.options_text for row in rows if row.options_text)
    numbers = {text: number for number, text in enumerate(options, start=1)}
    longest = min(_LONGEST, max(len(row.method) for row in rows))
    lines = _lines(rows, board, numbers, longest)
    if excess := max(0, max(map(len, lines)) - WIDTH):
        lines = _lines(rows, board, numbers, max(_SHORTEST, longest - excess))
    about = PRESET_TITLES[preset].lower(), f"{board.n_images} test images", f"chance {percent(1 / board.num_classes)}%"
    title = ", ".join([board.protocol, network, *about])
    rest = iter(line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…" for line in lines)
    shown = [_wrapped(title), next(rest), next(rest)]
    for size_class, ranking in rankings:
        shown += [f"{size_class}:", *(next(rest) for _ in ranking)] if ranking else []
    return "\n".join(shown + [_wrapped(f"[{number}] {text}") for text, number in numbers.items()])


def _lines(rows: Sequence[Row], board: Board, numbers: dict[str, int], longest: int) -> list[str]:
    """Return two lines of titles, and a line for each row with its method cut to a length."""
    columns = columns_of(Table.TERMINAL, board)
    # A title is on two lines where it has two words, or is far wider than its column's texts.
    words = [column.title.replace("AutoAttack", "Auto- Attack").split(maxsplit=1) for column in columns]
    head = [[first if rest else "" for first, *rest in words], [last for *_, last in words]]
    cells = [[_cell(column, row, board, numbers, longest) for column in columns] for row in rows]
    sides = [column.side for column in columns]
    style = simple_separated_format(" ")
    return tabulate([*head, *cells], tablefmt=style, disable_numparse=True, colalign=sides).split("\n")


def _cell(column: Column, row: Row, board: Board, numbers: dict[str, int], longest: int) -> str:
    text = printable(column.text(row, board))
    if column.key == "method":
        options = f" [{numbers[row.options_text]}]" if row.options_text else ""
        return text[:longest] + options
    unchecked = column.key == "health" and row.opponent["hard_label"].verdict == "not checked"
    return f"{text[:_LONGEST]}{'*' if unchecked else ''}"


def _network(row: Row) -> str:
    return architecture(row.architecture, row.width)


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(printable(text), WIDTH, subsequent_indent="  "))
