"""The paper's tables in their own shape: each published number, and beside it what was measured in that very cell.

A cell is measured by a row that reproduces it (see `reproduction`) on all test images under standard AutoAttack.
Cells without such a row stay blank.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmark.leaderboard.board.reference import ABLATIONS, TABLES, ReportedRow, has_reported, reported_lines
from benchmark.leaderboard.board.reproduction import TEST_IMAGES, compared
from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import Board

_COMPARED = ("method", "arch", "strategy", "rate")
_DATA = {"c10": "CIFAR10", "c100": "CIFAR100"}
_PRECISIONS = {"fp": "fp", "bin": "binary"}
_MEASURES: tuple[tuple[str, str, Literal["autoattack", "clean"]], ...] = (
    ("rob", "robust", "autoattack"),
    ("clean", "clean", "clean"),
)


@dataclass(frozen=True)
class PaperCell:
    """One number of a published table beside the one measured here; fractions, None where unknown."""

    reported: float | None
    measured: float | None  # mean over the seeds
    difference: float | None  # measured minus reported
    n_seeds: int  # 0: not measured
    interval: tuple[float, float] | None  # 95% of what was measured
    row: tuple[str, str] | None  # protocol and row id


@dataclass(frozen=True)
class PaperTable:
    """A published table: the texts that name each line, and its cells."""

    name: str
    title: str
    caption: str
    keys: tuple[str, ...]  # names of the key columns
    columns: tuple[str, ...]  # names of the value columns
    lines: tuple[tuple[tuple[str, ...], tuple[PaperCell, ...]], ...]

    @property
    def cells(self) -> list[PaperCell]:
        """The cells that hold a published number."""
        return [cell for _, cells in self.lines for cell in cells if cell.reported is not None]


@dataclass(frozen=True)
class _Shape:
    """How the lines of one ablation become a table."""

    ablation: str  # in the file's first column
    title: str
    caption: str
    key: tuple[str, Callable[[dict[str, str]], str]]
    column: Callable[[dict[str, str]], str]


_BLANK = PaperCell(None, None, None, 0, None, None)
_COMPARISON = "CIFAR10 at 8/255, CIFAR100 at 4/255. Robust: accuracy under AutoAttack; rate: share of weights removed."
_EDGE_POPUP = "Binary edge-popup, ResNet34 on CIFAR10 at 8/255, accuracy under AutoAttack. "
_SHAPES = (
    _Shape(
        "rate and p",
        "Pruning rate and p",
        f"{_EDGE_POPUP}Lines: share of weights removed; columns: exponent of the layer budgets; with LBN.",
        ("rate", lambda line: line["rate"]),
        lambda line: line["strategy"],
    ),
    _Shape(
        "score scale",
        "Scale of the initial scores",
        f"{_EDGE_POPUP}Columns: scale of the initial scores; 99% of the weights removed, p=0.1.",
        ("architecture", lambda line: line["arch"]),
        lambda line: f"a={line['score_scale']}",
    ),
    _Shape(
        "initialisation",
        "Initialisation of the weights",
        f"{_EDGE_POPUP}Weights of +-1 (binary) against a signed Kaiming constant, without and with LBN; 99% removed.",
        ("strategy", lambda line: line["strategy"]),
        lambda line: f"{line['arch']} {line['init']}",
    ),
)


def paper_tables(boards: Mapping[str, Board], reference: Path) -> list[PaperTable]:
    """Return the comparison of the methods and the three ablations of edge-popup, as far as their files are there.

    Args:
        boards: all boards by protocol, built together with the published numbers.
        reference: the folder with the files of published tables.

    Raises:
        UserError: if such a file cannot be read.
    """
    measured = _Measured(boards)
    tables = []
    if has_reported(path := reference / TABLES):
        tables.append(_comparison(path, measured))
    if has_reported(path := reference / ABLATIONS):
        pairs = [(line, row) for line, rows in reported_lines(path) for row in rows.values()]
        tables += [
            _ablation(shape, [pair for pair in pairs if pair[0]["ablation"] == shape.ablation], measured)
            for shape in _SHAPES
        ]
    return tables


class _Measured:
    """The rows that reproduce each published cell on a board of all test images."""

    def __init__(self, boards: Mapping[str, Board]) -> None:
        self._rows: dict[str, list[tuple[str, Row]]] = {}
        for protocol, board in boards.items():
            if board.n_images == TEST_IMAGES and board.autoattack == "standard":
                for row in board.rows:
                    if row.reported is not None:
                        self._rows.setdefault(_place(row.reported), []).append((protocol, row))

    def cell(self, reported: ReportedRow, measure: Literal["autoattack", "clean"]) -> PaperCell:
        """Return the cell of a published result, with the row of most seeds if several reproduce it."""
        published = reported.robust if measure == "autoattack" else reported.clean
        # Never by the accuracy: that would choose the lucky one.
        reproducing = sorted(
            self._rows.get(_place(reported), ()),
            key=lambda pair: (-len(pair[1].seeds), len(pair[0]), pair[0], pair[1].id),
        )
        against = compared(reported, reproducing[0][1].own, measure) if reproducing else None
        if against is None:
            return PaperCell(published, None, None, 0, None, None)
        protocol, row = reproducing[0]
        numbers = (against.reported, against.measured, against.difference, against.n_seeds, against.interval)
        return PaperCell(*numbers, (protocol, row.id))


def _place(reported: ReportedRow) -> str:
    """Return a key of a cell without its numbers: some cells are in several tables."""
    setting = {name: value for name, value in vars(reported).items() if name not in ("clean", "robust", "note")}
    return json.dumps(setting, sort_keys=True)


def _comparison(path: Path, measured: _Measured) -> PaperTable:
    places = [
        (f"{data}_{precision}_rob", measure, f"{_DATA[data]} {_PRECISIONS[precision]} {spelled}")
        for _, spelled, measure in _MEASURES
        for data in _DATA
        for precision in _PRECISIONS
    ]
    read = reported_lines(path)
    lines = [
        (
            tuple(line[key] for key in _COMPARED),
            tuple(measured.cell(rows[place], measure) if place in rows else _BLANK for place, measure, _ in places),
        )
        for line, rows in read
    ]
    doubts = dict.fromkeys(
        f" {line['method']}, {line['arch']}, {_DATA[row.dataset.replace('cifar', 'c')]} {row.weights}: {row.note}"
        for line, rows in read
        for row in rows.values()
        if row.note
    )
    return PaperTable(
        name="comparison",
        title="Comparison of the methods",
        caption=f"{_COMPARISON}{''.join(doubts)}",
        keys=("method", "architecture", "strategy", "rate"),
        columns=tuple(column for _, _, column in places),
        lines=tuple(lines),
    )


def _ablation(shape: _Shape, pairs: list[tuple[dict[str, str], ReportedRow]], measured: _Measured) -> PaperTable:
    name, key_of = shape.key
    cells = {(key_of(line), shape.column(line)): measured.cell(row, "autoattack") for line, row in pairs}
    columns = tuple(dict.fromkeys(column for _, column in cells))
    return PaperTable(
        name=shape.ablation.replace(" ", "-"),
        title=shape.title,
        caption=shape.caption,
        keys=(name,),
        columns=columns,
        lines=tuple(
            ((key,), tuple(cells.get((key, column), _BLANK) for column in columns))
            for key in dict.fromkeys(key for key, _ in cells)
        ),
    )
