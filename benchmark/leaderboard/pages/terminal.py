"""A board for the terminal: one table for each preset and network, in classes of size, 118 columns at most."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.formats import allocation, amount, architecture, percent, printable, short

WIDTH = 118
# Header and width of each column; the words of a row stand left, its numbers right.
_WORDS = (("id", 6), ("method", 16), ("weights", 7), ("LBN", 3), ("objective", 10))
_NUMBERS = (
    ("keep", 7),
    ("p", 6),
    ("clean", 6),
    ("PGD", 6),
    ("AA", 6),
    ("95%", 9),
    ("tie", 3),
    ("grad", 5),
    ("size", 8),
    ("n", 2),
    ("opt", 3),
)
_LEGEND = (
    "id: names the row in `compare`, `reproduce` and `challenge`. 95%: interval of the images right under every attack."
    " tie: rows of a preset and class of size that share a number do not differ from the first of them as far as these"
    " images show. grad: gradient health, * where the opponent's attacks were not run. size: of the artifact's file. n:"
    " seeds. The page has densities, operations and times too."
)
_HEALTH = {"pass": "ok", "suspect": "susp", "fail": "FAIL"}


def to_terminal(board: Board) -> str:
    """Return the ranked rows in percent, the best of each size class first; titles name network, preset and chance."""
    networks = dict.fromkeys((row.preset, _network(row)) for row in board.rows)
    blocks = [_block(board, preset, network) for preset, network in networks]
    if blocks:
        blocks.append(_wrapped(_LEGEND))
    if board.refused:
        reasons = [_wrapped(f"refused: {row.runs[0]}: {'; '.join(row.reasons)}") for row in board.refused]
        blocks.append("\n".join(reasons))
    return "\n\n".join(blocks) + "\n"


def _block(board: Board, preset: str, network: str) -> str:
    rows = [row for row in board.section(preset) if _network(row) == network]
    chance = percent(1 / board.num_classes)
    title = f"{board.protocol}, {network}, {preset} preset, {board.n_images} images, chance {chance}%"
    options = {text: str(number) for number, text in enumerate(_distinct_options(rows), start=1)} | {"": ""}
    header = _line([name for name, _ in _WORDS], [name for name, _ in _NUMBERS])
    lines = []
    for size_class, ranking in board.rankings(preset):
        if ranked := [row for row in ranking if _network(row) == network]:
            lines += [f"{size_class.title}:", *(_line(*_cells(row, options[row.options_text])) for row in ranked)]
    told = [_wrapped(f"opt {number}: {text}") for text, number in options.items() if text]
    return "\n".join([_wrapped(title), header, *lines, *told])


def _distinct_options(rows: list[Row]) -> Iterable[str]:
    return dict.fromkeys(row.options_text for row in rows if row.options_text)


def _cells(row: Row, options: str) -> tuple[list[str], list[str]]:
    words = [row.id, row.method, row.weights, "yes" if row.last_norm else "no", row.objective]
    numbers = [
        short(row.keep_ratio),
        allocation(row.keep_ratio, row.allocation),
        *(percent(stat.mean) for stat in (row.clean, row.pgd, row.autoattack)),
        "-".join(f"{100 * end:.1f}" for end in row.interval),
        str(row.tie),
        _HEALTH[row.health] + ("*" if row.opponent["hard_label"].verdict == "not checked" else ""),
        amount(row.costs.size_bytes, "B"),
        str(len(row.seeds)),
        options,
    ]
    return words, numbers


def _line(words: Iterable[str], numbers: Iterable[str]) -> str:
    left = [printable(text)[:width].ljust(width) for text, (_, width) in zip(words, _WORDS, strict=True)]
    right = [text.rjust(width) for text, (_, width) in zip(numbers, _NUMBERS, strict=True)]
    line = " ".join([*left, *right]).rstrip()
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def _network(row: Row) -> str:
    return architecture(row.architecture, row.width)


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(printable(text), WIDTH, subsequent_indent="  "))
