"""Runs work orders side by side on this machine and relays the lines of the workers."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmark.errors import CannotWrite
from benchmark.files.plain import no_link
from benchmark.launch.exit_codes import USER_MISTAKE
from benchmark.launch.forking import ForkServer, Worker
from benchmark.launch.order import FAILURE, WorkOrder
from benchmark.results.store import write_atomic
from benchmark.runtime.progress import duration


@dataclass
class _Job:
    order: WorkOrder
    worker: Worker
    started: float
    last_line: str = ""  # of the worker's output


def run_local(
    orders: Sequence[WorkOrder], server: ForkServer, *, jobs: int, say: Callable[[str], None]
) -> list[WorkOrder]:
    """Run every order in a process of its own, `jobs` at a time, and return those that failed.

    The workers end with this process, however it ends; running again resumes them.

    Args:
        orders: what to run, in order.
        server: starts the processes.
        jobs: processes side by side.
        say: receives one line of progress at a time.
    """
    lines: queue.Queue[tuple[WorkOrder, str | None]] = queue.Queue()
    waiting, running, failed = list(orders), {}, []  # type: list[WorkOrder], dict[str, _Job], list[WorkOrder]
    finished_seconds: list[float] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                order = _next(waiting, running)
                if order is None:
                    break
                waiting.remove(order)
                say(f"start  {order.experiment.run}")
                running[order.experiment.run] = _start(order, server, lines)
            order, line = lines.get()
            if line is not None:
                running[order.experiment.run].last_line = line
                say(f"  {_short_name(order)}  {line}")
                continue
            job = running.pop(order.experiment.run)
            code = job.worker.exit_code()
            job.worker.stop()
            seconds = time.monotonic() - job.started
            finished_seconds.append(seconds)
            elapsed = [time.monotonic() - other.started for other in running.values()]
            left = _time_left(finished_seconds, elapsed, len(waiting), jobs)
            count = f"{len(finished_seconds)}/{len(orders)}"
            if code == 0:
                say(f"done   {order.experiment.run}  {seconds:.0f}s  [{count}, {left}]")
            else:
                failed.append(order)
                say(f"FAILED {order.experiment.run}: {_reason(job, code)}  [{count}, {left}]")
    finally:
        for job in running.values():
            job.worker.stop()
    return failed


def _next(waiting: Sequence[WorkOrder], running: Mapping[str, _Job]) -> WorkOrder | None:
    """Return the first order that need not wait for another order to train its first phase; None if all must wait."""
    pending = {order.experiment.run for order in waiting} | running.keys()
    for order in waiting:
        first_phase = order.experiment.first_phase
        if first_phase is None or first_phase.run not in pending:
            return order
    return None


def _start(order: WorkOrder, server: ForkServer, lines: queue.Queue[tuple[WorkOrder, str | None]]) -> _Job:
    worker = server.start(order)
    threading.Thread(target=_relay, args=(order, worker, lines), daemon=True).start()
    return _Job(order, worker, time.monotonic())


def _relay(order: WorkOrder, worker: Worker, lines: queue.Queue[tuple[WorkOrder, str | None]]) -> None:
    """Copy a worker's output into its log and to the queue; None marks the end."""
    with worker.output:
        path = order.folder / "log.txt"
        try:
            with open(path, "a", encoding="utf-8", opener=no_link) as log:
                for line in worker.output:
                    log.write(line)
                    log.flush()
                    lines.put((order, line.rstrip()))
        except OSError as error:
            lines.put((order, f"warning: {path} cannot be written ({error.strerror}); no log from here on"))
            for line in worker.output:  # the worker would block once its pipe is full
                lines.put((order, line.rstrip()))
        finally:
            lines.put((order, None))  # or the main thread would wait forever


def _reason(job: _Job, code: int | None) -> str:
    """Return the last line of the traceback, or how the process ended if it left none."""
    path = job.order.folder / FAILURE
    if not path.exists() and code == USER_MISTAKE:
        return job.last_line  # which it wrote here, as it could not write there
    if not path.exists():
        ending = "ended" if code is None else f"ended with code {code}"
        reason = f"the process {ending} without a message; see log.txt"
        try:
            write_atomic(path, f"{reason}\n")
        except CannotWrite as error:
            return f"{reason}; {error}"
    last = path.read_text(encoding="utf-8").strip().splitlines()[-1]
    return f"{last} (see {path})"


def _time_left(finished: Sequence[float], elapsed: Sequence[float], waiting: int, jobs: int) -> str:
    """Estimate the time left, as if every experiment took as long as those finished did on average."""
    if not elapsed and not waiting:
        return "all finished"
    mean = sum(finished) / len(finished)
    left = (mean * waiting + sum(max(0.0, mean - seconds) for seconds in elapsed)) / jobs
    return f"about {duration(left)} left"


def _short_name(order: WorkOrder) -> str:
    """Return the parts of the run's name in which the experiments of a suite differ.

    Where only options differ, that is the hash at its end.
    """
    _, architecture, method, form, seed = order.experiment.run.split("/")
    norm = "lbn" if architecture.endswith("-lbn") else "no-lbn"
    return f"{method}/{form}/{norm}/{seed}"
