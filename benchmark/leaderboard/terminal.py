"""A board for the terminal: one fixed-width table for each preset and architecture, 118 columns at most."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from benchmark.leaderboard.tables import Board, Row
from benchmark.leaderboard.text import allocation, amount, architecture, percent, printable, short

WIDTH = 118
# Header and width of each column; the words of a row stand left, its numbers right.
_WORDS = (("method", 16), ("weights", 7), ("LBN", 3), ("objective", 10))
_NUMBERS = (
    ("keep", 7),
    ("p", 6),
    ("clean", 6),
    ("PGD", 6),
    ("AA", 6),
    ("density", 9),
    ("size", 9),
    ("seeds", 5),
)


def to_terminal(board: Board) -> str:
    """Return the ranked rows in percent, best first, below titles that name network, preset and chance."""
    networks = dict.fromkeys((row.preset, _network(row)) for row in board.rows)
    blocks = [_block(board, preset, network) for preset, network in networks]
    if board.refused:
        reasons = [_wrapped(f"refused: {row.runs[0]}: {'; '.join(row.reasons)}") for row in board.refused]
        blocks.append("\n".join(reasons))
    return "\n\n".join(blocks) + "\n"


def _block(board: Board, preset: str, network: str) -> str:
    rows = [row for row in board.section(preset) if _network(row) == network]
    chance = percent(1 / board.num_classes)
    title = f"{board.protocol}, {network}, {preset} preset, {board.n_images} images, chance {chance}%"
    sizes = ", ".join(sorted({row.size_kind for row in rows}))
    header = _line([name for name, _ in _WORDS], [name for name, _ in _NUMBERS], "options")
    lines = [_line(*_cells(row), row.options_text) for row in rows]
    return "\n".join([_wrapped(title), header, *lines, _wrapped(f"size: {sizes}")])


def _cells(row: Row) -> tuple[list[str], list[str]]:
    words = [row.method, row.weights, "yes" if row.last_norm else "no", row.objective]
    numbers = [
        short(row.keep_ratio),
        allocation(row.keep_ratio, row.allocation),
        *(percent(stat.mean) for stat in (row.clean, row.pgd, row.autoattack)),
        short(row.density),
        amount(row.size_bytes, "B"),
        str(len(row.seeds)),
    ]
    return words, numbers


def _line(words: Iterable[str], numbers: Iterable[str], rest: str) -> str:
    left = [printable(text)[:width].ljust(width) for text, (_, width) in zip(words, _WORDS, strict=True)]
    right = [text.rjust(width) for text, (_, width) in zip(numbers, _NUMBERS, strict=True)]
    line = " ".join([*left, *right, " " + printable(rest)]).rstrip()
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def _network(row: Row) -> str:
    return architecture(row.architecture, row.width)


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(printable(text), WIDTH, subsequent_indent="  "))
