"""The columns of the measured speed: times by runtime and batch, how many times as fast the sparse one is, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import get_args

from benchmark.leaderboard.board.speed import RowTimes
from benchmark.leaderboard.formats import amount, measured_time
from benchmark.leaderboard.pages.column import Column, Get, Table, Value, of_row
from benchmark.results.speed import RUNTIMES, Batch

_DATA = Table.CSV | Table.JSON | Table.FRAME
_BOARD = Table.LATEX | Table.SITE


def _speed() -> Iterator[Column]:
    """Yield the columns of the measured speed, those of a batch side by side."""
    everywhere, size = _DATA | Table.SPEED, partial(amount, unit="B")
    for batch in get_args(Batch):
        for runtime, name in RUNTIMES.items():
            get = partial(RowTimes.seconds, runtime=runtime, batch=batch)
            tables = everywhere | _BOARD if (runtime, batch) == ("sparse", "1") else everywhere
            yield Column(f"{runtime}_{batch}", f"{name}, batch {batch}", _of_times(get), tables, float, measured_time)
        get = partial(RowTimes.ratio, runtime="sparse", batch=batch)
        tables = everywhere | _BOARD if batch == "1" else everywhere
        yield Column(f"speedup_{batch}", f"speed-up, batch {batch}", _of_times(get), tables, float, "{:.2f}".format)
    for runtime, name in RUNTIMES.items():
        get = partial(RowTimes.memory, runtime=runtime)
        yield Column(f"{runtime}_memory", f"{name}, memory", _of_times(get), everywhere, float, size)
    yield Column("timed_on", "measured on", _of_times(_timed_on), _DATA)


def _of_times(get: Callable[[RowTimes], Value]) -> Get:
    return of_row(lambda row: None if row.speed is None else get(row.speed))


def _timed_on(times: RowTimes) -> str:
    machine = times.machine
    return f"{machine.device}, {machine.instructions}, {machine.threads} thread{'' if machine.threads == 1 else 's'}"


SPEED_COLUMNS = tuple(_speed())
