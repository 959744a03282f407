"""The measured speed of a row's networks, side by side in every runtime: means over its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.leaderboard.board.costs import mean
from benchmark.results.speed import RUNTIMES, Batch, RowSpeed, Runtime, SpeedMachine


@dataclass(frozen=True)
class RuntimeSpeed:
    """One runtime on one row: seconds of a pass by batch, bytes of a process."""

    seconds: Mapping[Batch, float]  # means over seeds of medians
    quartiles: Mapping[Batch, tuple[float, float]]  # likewise
    memory: float | None  # peak of a fresh process; None: not measured
    libraries: float | None  # what that process took before it read the network


@dataclass(frozen=True)
class RowTimes:
    """What was measured on all seeds of a row; no rank depends on it."""

    machine: SpeedMachine
    dates: tuple[str, str]  # of the first and the last seed's measurement, as 2026-01-31
    runtimes: Mapping[Runtime, RuntimeSpeed]  # those in which every seed was measured

    def seconds(self, runtime: Runtime, batch: Batch) -> float | None:
        """Return the seconds of a pass; None where it was not measured."""
        return self.runtimes[runtime].seconds[batch] if runtime in self.runtimes else None

    def ratio(self, runtime: Runtime, batch: Batch) -> float | None:
        """Return how many times as fast as torch a runtime is; None where it was not measured."""
        seconds, dense = self.seconds(runtime, batch), self.seconds("torch", batch)
        return None if seconds is None or dense is None else dense / seconds

    def memory(self, runtime: Runtime) -> float | None:
        """Return the bytes of a process at its peak; None where they were not measured."""
        return self.runtimes[runtime].memory if runtime in self.runtimes else None


def times_of(rows: Sequence[RowSpeed], machine: SpeedMachine) -> RowTimes:
    """Return the times of a row from those of its seeds, at least one."""
    dates = sorted(row.measured[:10] for row in rows)
    shared = [name for name in RUNTIMES if all(name in row.seconds for row in rows)]
    return RowTimes(machine, (dates[0], dates[-1]), {name: _runtime(rows, name) for name in shared})


def _runtime(rows: Sequence[RowSpeed], name: Runtime) -> RuntimeSpeed:
    spreads = {batch: [row.seconds[name][batch] for row in rows] for batch in rows[0].seconds[name]}
    weighed = [row.memory[name] for row in rows if name in row.memory]
    whole = len(weighed) == len(rows)
    return RuntimeSpeed(
        seconds={batch: mean(each.median for each in seeds) for batch, seeds in spreads.items()},
        quartiles={
            batch: (mean(each.lower for each in seeds), mean(each.upper for each in seeds))
            for batch, seeds in spreads.items()
        },
        memory=mean(each.peak for each in weighed) if whole else None,
        libraries=mean(each.libraries for each in weighed) if whole else None,
    )
