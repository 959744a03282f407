"""The columns of a board. Every format takes its titles, texts and values from this one tuple.

A column has the same key wherever programs read it (CSV, JSON, DataFrames, the site's script and addresses) and the
same title wherever people do. Values are raw: fractions in [0, 1], bytes, seconds. Texts are plain: each format escapes
them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.rows import Row, Stat
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.formats import (
    allocation,
    amount,
    architecture,
    measured_time,
    percent,
    points,
    row_page,
    short,
)
from benchmark.leaderboard.pages.column import Column, Get, Line, Table, Value, both, of, of_row
from benchmark.leaderboard.pages.speed_columns import SPEED_COLUMNS

CSV, JSON, FRAME = Table.CSV, Table.JSON, Table.FRAME
RANKING, COSTS, REPRODUCTION, MORE_IMAGES = Table.RANKING, Table.COSTS, Table.REPRODUCTION, Table.MORE_IMAGES
SPEED = Table.SPEED
REPORTED, TERMINAL, LATEX, README, SITE = Table.REPORTED, Table.TERMINAL, Table.LATEX, Table.README, Table.SITE
DATA = CSV | JSON | FRAME
WIDEST = RANKING | LATEX | SITE  # of the tables for people
IDENTIFIED = DATA | RANKING | LATEX | TERMINAL | README | COSTS | SPEED | REPRODUCTION | MORE_IMAGES
SETTING = DATA | WIDEST | TERMINAL | README | REPRODUCTION | MORE_IMAGES | REPORTED
PUBLISHED = SETTING & ~MORE_IMAGES


def with_std(stat: Stat) -> str:
    """Write a mean over seeds in percent, with its standard deviation if there are several."""
    return percent(stat.mean) if stat.std is None else f"{percent(stat.mean)} ± {percent(stat.std)}"


def interval_text(ends: tuple[float, float]) -> str:
    """Write an interval of accuracies in percent."""
    return f"{percent(ends[0])} to {percent(ends[1])}"


_bytes, _count = partial(amount, unit="B"), "{:,}".format


def _network(line: Line) -> str:
    return architecture(line.architecture, line.width if isinstance(line, Row) else 1.0)


def _p(line: Line) -> str:
    return allocation(line.keep_ratio, line.allocation)


def _device(row: Row) -> str:
    return f"{row.costs.device}, {row.costs.threads} thread{'s' if row.costs.threads > 1 else ''}"


def _kind(line: Line, board: Board) -> Value:
    if isinstance(line, ReportedRow):
        return "reported"
    return "superseded" if line.superseded_by else "refused" if line.reasons else "measured"


def _trained(row: Row) -> Value:
    return "here" if row.external is None else "elsewhere"


def _authors(row: Row) -> Value:
    return None if row.external is None else "; ".join(row.external.origin.authors)


def _note(line: Line, board: Board) -> Value:
    if isinstance(line, ReportedRow):
        return line.note
    if line.superseded_by:
        return f"superseded by {line.superseded_by}"
    return "; ".join(line.reasons) or " ".join(board.footnotes[number - 1] for number in line.footnotes)


def _data(key: str, value: Get, holds: type = str, tables: Table = DATA) -> Column:
    """Return a column that only programs read."""
    return Column(key, key, value, tables, holds)


def _accuracy(key: str, title: str, tables: Table, reported: str = "") -> tuple[Column, Column]:
    """Return the columns of the mean of an accuracy over seeds, and of its standard deviation."""
    mean = Column(key, title, of(f"{key}.mean", reported), tables, float, percent)
    return mean, _data(f"{key}_std", of(f"{key}.std"), float)


def _interval(key: str, title: str, value: Get, tables: Table, data: Table = DATA) -> tuple[Column, ...]:
    """Return the columns of a 95% interval: as people see it, and its ends."""

    def end(place: int) -> Get:
        def get(line: Line, board: Board) -> Value:
            pair: Any = value(line, board)
            return None if pair is None else pair[place]

        return get

    pair = Column(f"{key}_interval", title, value, tables, tuple, interval_text, align="right")
    return pair, _data(f"{key}_low", end(0), float, data), _data(f"{key}_high", end(1), float, data)


def _published(suffix: str, measured: str, title: str, part: str, tables: Table) -> tuple[Column, ...]:
    """Return the columns of a published accuracy, the difference to it, and the interval of what was measured."""
    interval = of("interval", part=part)
    return (
        Column(f"reported{suffix}", f"reported {title}", of("reported", part=part), tables, float, percent),
        Column(f"difference{suffix}", f"{title} difference", of("difference", part=part), tables, float, points),
        *_interval(measured, f"{title}, 95% interval", interval, REPRODUCTION, data=JSON),
    )


def _wide(name: str, title: str) -> tuple[Column, ...]:
    """Return the columns of an accuracy on more images."""
    key, mean, interval = f"wide_{name}", of(f"{name}.mean", part="wide"), of(f"{name}_interval", part="wide")
    return (
        Column(key, title, mean, DATA | MORE_IMAGES, float, show=lambda row: with_std(getattr(row.wide, name))),
        _data(f"{key}_std", of(f"{name}.std", part="wide"), float),
        *_interval(key, f"{title}, 95% interval", interval, MORE_IMAGES),
    )


def _check(name: str, title: str) -> tuple[Column, Column]:
    """Return the columns of a check that came later: its number, which people see as a text, and its verdict."""
    number, verdict = of_row(lambda row: row.opponent[name].value), of_row(lambda row: row.opponent[name].verdict)
    shown = Column(name, title, number, DATA | WIDEST, float, show=lambda row: row.opponent[name].text, align="left")
    return shown, _data(f"{name}_verdict", verdict)


COLUMNS: tuple[Column, ...] = (
    _data("kind", _kind, tables=CSV | JSON),
    _data("protocol", lambda line, board: board.protocol),
    _data("preset", of("preset")),
    Column("rank", "rank", of("rank"), DATA | WIDEST | README, int),
    Column("tie", "tie", of("tie"), DATA | RANKING | LATEX | TERMINAL | README, int),
    Column(
        "id", "id", of("id"), DATA | WIDEST & ~SITE | TERMINAL | README | COSTS | SPEED | REPRODUCTION | MORE_IMAGES
    ),
    Column("method", "method", both("method"), SETTING | COSTS | SPEED),
    _data("target", of("target")),
    Column("weights", "weights", both("weights"), SETTING | COSTS | SPEED),
    Column("last_norm", "LBN", both("last_norm"), SETTING, bool),
    Column("architecture", "architecture", both("architecture"), SETTING & ~TERMINAL, show=_network),
    _data("width", lambda line, board: 1.0 if isinstance(line, ReportedRow) else line.width, float),
    Column("keep_ratio", "keep ratio", both("keep_ratio"), SETTING, float, short),
    Column("allocation", "p", both("allocation"), SETTING, object, show=_p, align="right"),
    Column("granularity", "granularity", of("granularity"), DATA | COSTS),
    Column("objective", "objective", both("objective"), SETTING),
    Column("trained", "trained", of_row(_trained), DATA | RANKING | LATEX | README | COSTS | MORE_IMAGES),
    Column("authors", "authors", of_row(_authors), DATA | COSTS),
    Column("licence", "licence", of("origin.licence", part="external"), DATA | COSTS),
    _data("options", of_row(lambda row: json.loads(row.options)), dict),
    *_accuracy("clean", "clean", PUBLISHED, reported="clean"),
    *_accuracy("pgd", "PGD", DATA | WIDEST | TERMINAL),
    *_accuracy("autoattack", "AutoAttack", PUBLISHED, reported="robust"),
    Column("robust", "robust", of("robust.mean"), DATA | WIDEST | README, float, show=lambda row: with_std(row.robust)),
    _data("robust_std", of("robust.std"), float),
    *_interval("robust", "95% interval", of("interval"), WIDEST | TERMINAL | README),
    Column("health", "gradient health", of("health"), DATA | WIDEST | TERMINAL),
    *_check("leaky_bpda", "leaky BPDA"),
    *_check("hard_label", "hard label"),
    *_check("straight_way", "straight way"),
    Column(
        "size_class", "size class", of("size_class.name"), DATA | LATEX | README, show=lambda row: row.size_class.title
    ),
    Column("fronts", "Pareto front", of("fronts"), DATA | RANKING, tuple),
    *_published("", "autoattack", "AutoAttack", "against_reported", DATA | REPRODUCTION | SITE),
    *_published("_clean", "clean", "clean", "clean_against_reported", DATA | REPRODUCTION),
    Column("size_bytes", "size", of("costs.size_bytes"), DATA | WIDEST | TERMINAL | README, int, _bytes),
    Column("exact_size", "size, bytes", of("costs.size_bytes"), COSTS, int, _count),
    Column("entropy_bound_bytes", "entropy bound, bytes", of("costs.entropy_bound_bytes"), DATA | COSTS, int, _count),
    Column("dense_bytes", "dense size", of("costs.dense_bytes"), DATA | COSTS, int, _bytes),
    Column("bits_per_weight", "bits per weight", of("costs.bits_per_weight"), DATA | COSTS, float, short),
    Column("statistics", "norm statistics", of("costs.statistics"), DATA | COSTS),
    Column("stored_weights", "weights in the file", of("costs.stored_weights"), DATA | COSTS),
    Column("density", "density", of("costs.density"), DATA | RANKING | SITE | COSTS | SPEED, float, short),
    Column("density_all", "density of all", of("costs.density_all"), DATA | COSTS, float, short),
    Column("dense_macs", "dense MACs", of("costs.dense_macs"), DATA | COSTS, int, amount),
    Column("sparse_macs", "sparse MACs", of("costs.sparse_macs"), DATA | COSTS, int, amount),
    Column("bit_operations", "bit-operations", of("costs.bit_operations"), DATA | COSTS, int, amount),
    Column("passes", "training passes", of("costs.passes"), DATA | RANKING | SITE | README | COSTS, float, amount),
    Column("train_seconds", "training time", of("costs.train_seconds"), DATA | COSTS, float, measured_time),
    Column("latency_1", "latency, batch 1", of("costs.latency_1"), DATA | COSTS, float, measured_time),
    Column("latency_64", "latency, batch 64", of("costs.latency_64"), DATA | COSTS, float, measured_time),
    *SPEED_COLUMNS,
    Column("device", "device", of("costs.device"), DATA | COSTS, show=_device),
    _data("threads", of("costs.threads"), int),
    Column("n_seeds", "seeds", of_row(lambda row: len(row.records)), SETTING & ~REPORTED, int),
    _data("seeds", of("seeds"), tuple, CSV | FRAME),
    _data("n_images", of_row(lambda row: row.records[0].evaluation.n_images), int),
    _data("runs", of("runs"), tuple),
    _data("note", _note, tables=CSV | FRAME),
    Column("reported_note", "note", of("note", "note", part="reported"), JSON | REPRODUCTION | REPORTED),
    _data("url", of_row(lambda row: row_page(row.records[0].protocol, row.id)), tables=JSON | FRAME),
    Column("wide_images", "more images", of("n_images", part="wide"), DATA | MORE_IMAGES, int, _count),
    *_wide("clean", "clean, more images"),
    *_wide("pgd", "PGD, more images"),
)
BY_KEY = {column.key: column for column in COLUMNS}
# Columns that a page has only if a row needs them, and which row does.
OCCASIONAL: tuple[tuple[frozenset[str], Callable[[Row], bool]], ...] = (
    (frozenset(key for key in BY_KEY if key.startswith("wide_")), lambda row: row.wide is not None),
    (frozenset({"trained", "authors", "licence"}), lambda row: row.external is not None),
    (frozenset(column.key for column in SPEED_COLUMNS), lambda row: row.speed is not None),
    (frozenset({"granularity"}), lambda row: row.grouped),
    (frozenset({"stored_weights"}), lambda row: row.costs.stored_weights == "seed"),
)


def unneeded(board: Board) -> frozenset[str]:
    """Return the keys of the occasional columns that no row of a board needs."""
    return frozenset().union(*(keys for keys, needed in OCCASIONAL if not any(map(needed, board.every_row))))


def columns_of(table: Table, board: Board) -> list[Column]:
    """Return the columns of a table in their order; occasional ones only if a row needs them, or in a DataFrame."""
    left_out = frozenset() if table is FRAME else unneeded(board)
    chosen = [column for column in COLUMNS if column.tables & table and column.key not in left_out]
    if table in (LATEX, README):
        chosen.sort(key=lambda column: column.key != "size_class")  # the lines are grouped by it
    return chosen


def title(key: str) -> str:
    """Return the title of a column, for tables that are not of a board's rows."""
    return BY_KEY[key].title
