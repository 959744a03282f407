"""What an engine is: it runs jobs somewhere, and says what became of them.

Every engine is a module of `benchmark.launch.engines` with one function,

    make(config, context) -> Engine

where `config` is the engine's class of `benchmark.launch.config` and `context` a `LaunchContext`. It is imported only
when it is chosen, so it may import libraries that are not always installed; it raises UserError if they are missing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self, cast

from benchmark.launch.config import LauncherConfig
from benchmark.launch.job import Job
from benchmark.launch.time_limit import TimeLimit

Say = Callable[[str], None]


@dataclass(frozen=True)
class LaunchContext:
    """What an engine gets beside its own settings.

    Attributes:
        out: folder of records and work in progress.
        device: where the jobs compute; auto is decided by each worker, where it runs.
        jobs: processes side by side, for engines that start them on this machine.
        threads: of torch in each job, at most.
    """

    out: Path
    device: Literal["cpu", "cuda", "auto"]
    jobs: int
    threads: int


@dataclass(frozen=True)
class Outcome:
    """What became of the jobs, as names of runs.

    Attributes:
        failed: runs with a failure, and those that were not started because they need one of these.
        left: runs that did not end, because the time was up or a stop was requested; another `run` continues them.
    """

    failed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class Engine(Protocol):
    """Runs jobs; used as a context, on entering which it may begin what takes time."""

    def __enter__(self) -> Self:
        """Begin what takes time and needs no jobs."""

    def __exit__(self, *_: object) -> None:
        """End what was begun; jobs that still run here end, too."""

    def run(self, jobs: Sequence[Job], *, limit: TimeLimit, say: Say) -> Outcome:
        """Run jobs, each after those it needs, until all have ended, the time is up or a stop is requested.

        A job that fails is not tried again, and jobs that need it are not started. What another process works on is
        waited for, and taken over if that process dies.

        Args:
            jobs: in an order in which each comes after those that it needs; their orders need not be on disk yet.
            limit: how long.
            say: receives one line of progress at a time.

        Raises:
            UserError: if the engine cannot start jobs.
            KeyboardInterrupt: on Ctrl-C.
        """


def make_engine(config: LauncherConfig, context: LaunchContext) -> Engine:
    """Return the engine that a configuration is for.

    Raises:
        UserError: if it needs a package that is not installed.
    """
    module = importlib.import_module(f"benchmark.launch.engines.{config.launcher}")
    return cast(Engine, module.make(config, context))
