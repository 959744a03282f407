"""A worker that runs on this machine: its lines, its log, and why it failed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.errors import CannotWrite
from benchmark.files.ends import last_line
from benchmark.files.plain import no_link
from benchmark.launch.exit_codes import USER_MISTAKE
from benchmark.launch.forking import Worker
from benchmark.launch.job import Job
from benchmark.launch.order import FAILURE, WorkOrder
from benchmark.results.store import write_atomic

Lines = queue.Queue[tuple[str, str | None]]  # a job's name and a line of its worker; None at the end


@dataclass
class RunningJob:
    """A job and its worker.

    Attributes:
        job: what it does.
        worker: the process.
        gpus: that it uses, by name.
        started: on the clock of `time.monotonic`.
        last_line: of its output.
        stopping: whether it was requested to stop.
    """

    job: Job
    worker: Worker
    gpus: tuple[str, ...]
    started: float = field(default_factory=time.monotonic)
    last_line: str = ""
    stopping: bool = False

    def __post_init__(self) -> None:
        self._failure = FailureFile(self.job.order)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def relay(self, lines: Lines) -> None:
        """Copy the worker's output into its log and to a queue, until it ends."""
        threading.Thread(target=_relay, args=(self.job, self.worker, lines), daemon=True).start()

    def request_stop(self) -> None:
        """Let the worker leave the job where it can be resumed; asked once only."""
        if not self.stopping:
            self.stopping = True
            self.worker.request_stop()

    def end(self) -> int | None:
        """Wait for the end and return the exit code, as `Worker.exit_code` does."""
        code = self.worker.exit_code()
        self.worker.stop()
        return code

    def reason(self, code: int | None) -> str:
        """Return the last line of the traceback, or how the process ended if it left none."""
        return self._failure.reason(code, self.last_line)


class Log:
    """The log of a run, to which each of its jobs adds its lines.

    Args:
        order: of the run.
    """

    def __init__(self, order: WorkOrder) -> None:
        self._path = order.folder / "log.txt"
        self._is_whole = True

    def add(self, lines: Sequence[str]) -> str | None:
        """Add lines, which end without a line break; return a warning the first time this fails."""
        try:
            with open(self._path, "a", encoding="utf-8", opener=no_link) as log:
                log.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            if self._is_whole:
                self._is_whole = False
                return f"warning: {self._path} cannot be written ({error.strerror}); lines are missing there"
        return None


class FailureFile:
    """What workers of an order leave about a failure, from the start of one of them on.

    Args:
        order: of the job.
    """

    def __init__(self, order: WorkOrder) -> None:
        self._order = order
        self._earlier = _identity(order.folder / FAILURE)

    def reason(self, code: int | None, last_line: str) -> str:
        """Return the last line of the traceback, or how the process ended if it left none.

        Args:
            code: exit code of the worker; None if it is unknown.
            last_line: of its output.
        """
        if _identity(self._order.folder / FAILURE) != self._earlier:
            return failure_reason(self._order, code)
        if code == USER_MISTAKE:
            return last_line  # which it wrote here, as it could not write there
        return no_reason(self._order, code)


def failure_reason(order: WorkOrder, code: int | None) -> str:
    """Return the last line of what a worker left about its failure, and where; or how it ended if it left nothing."""
    path = order.folder / FAILURE
    if not path.exists():
        return no_reason(order, code)
    return f"{last_line(path) or 'an empty message'} (see {path})"


def no_reason(order: WorkOrder, code: int | None) -> str:
    """Write down, and return, how a worker ended that said nothing."""
    ending = "ended" if code is None else f"ended with code {code}"
    return write_reason(order, f"the process {ending} without a message; see log.txt")


def write_reason(order: WorkOrder, reason: str) -> str:
    """Write down why a worker failed that could not, and return it with the place."""
    path = order.folder / FAILURE
    try:
        write_atomic(path, f"{reason}\n")
    except CannotWrite as error:
        return f"{reason}; {error}"
    return f"{reason} (see {path})"


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _relay(job: Job, worker: Worker, lines: Lines) -> None:
    log = Log(job.order)
    with worker.output:
        try:
            for line in worker.output:  # to the end: the worker would block once its pipe is full
                line = line.rstrip()
                if warning := log.add([line]):
                    lines.put((job.name, warning))
                lines.put((job.name, line))
        finally:
            lines.put((job.name, None))  # or the main thread would wait forever
