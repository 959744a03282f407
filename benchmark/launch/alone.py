"""Runs one job wherever it is started, whatever else has run: first what it needs, then itself.

    python -m benchmark.launch.alone path/to/order.json [--part PART] [--seconds-left S]

This is what `--launcher commands` prints. Such commands may run in any order and any number of them at a time, on hosts
that share the folder: what is done is not repeated, and what another process works on is waited for, or taken over if
that process dies.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from benchmark.errors import UserError
from benchmark.launch.exit_codes import DONE, ELSEWHERE, FAILED, STOPPED, USER_MISTAKE
from benchmark.launch.job import ATTACK, NETWORK, RECORD, WHOLE, Job, parse_part
from benchmark.launch.order import ORDER, WorkOrder, load_order, work_folder
from benchmark.launch.worker_command import worker_arguments, worker_variables
from benchmark.runtime.stopping import SIGNALS


def jobs_before(order: WorkOrder, part: str) -> Iterator[Job]:
    """Yield the jobs that have to be done before a part of an order: of its first phase, and its training.

    Slices of AutoAttack that are missing are computed by "record" itself.

    Raises:
        UserError: if the order of the first phase is damaged.
    """
    first_phase = order.experiment.first_phase
    if first_phase is not None:
        folder = work_folder(order.out, first_phase.run)
        paths = [path for path in (folder / order.path.name, folder / ORDER) if path.exists()]
        if paths:  # else the worker reports what is missing
            other = load_order(paths[0])
            yield Job(other, WHOLE if other.shards == 1 else NETWORK)
    if part.partition(" ")[0] in (ATTACK, RECORD):
        yield Job(order, NETWORK)


class Alone:
    """Runs jobs one after the other, each in a worker, to which signals are passed on.

    Args:
        seconds: after which work is left, from now on; None for no limit.
        clock: returns seconds that never go back.
        sleep: waits some seconds.
    """

    def __init__(
        self,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._end = None if seconds is None else clock() + seconds
        self._worker: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def pass_on(self, number: int, _: FrameType | None = None) -> None:
        """Pass a signal on to the worker, after which nothing is started."""
        self._stopped = True
        if self._worker is not None:
            with contextlib.suppress(ProcessLookupError):
                self._worker.send_signal(number)

    def run(self, job: Job) -> int:
        """Run a job, as soon as nobody else works on it, and return the exit code of its worker."""
        while not self._stopped:
            left = None if self._end is None else self._end - self._clock()
            if left is not None and left <= 0:
                break
            code = self._work(job, left)
            if code != ELSEWHERE:  # the worker has printed who works on it
                return code
            self._sleep(job.order.lease_seconds if left is None else min(left, job.order.lease_seconds))
        return STOPPED

    def _work(self, job: Job, left: float | None) -> int:
        limit = [] if left is None else ["--seconds-left", f"{left:.0f}"]
        command = [sys.executable, *worker_arguments(job.command_words), *limit]
        # The worker ends with this process, which holds the other end of its standard input.
        self._worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, env={**os.environ, **worker_variables(job.order.threads)}
        )
        if self._stopped:  # by a signal that came a moment ago, when there was no worker to pass it on to
            self._worker.terminate()
        code = self._worker.wait()
        if code >= 0:
            return code
        if self._stopped:  # before it could listen to signals
            return STOPPED
        print(f"the worker was ended by {signal.Signals(-code).name}", file=sys.stderr, flush=True)
        return FAILED


def main(words: list[str]) -> int:
    """Run the job of a command line; return an exit code of `benchmark.launch.exit_codes`."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.launch.alone", allow_abbrev=False)
    parser.add_argument("order", type=Path)
    parser.add_argument("--part", default=WHOLE)
    parser.add_argument("--seconds-left", type=float)
    options = parser.parse_args(words)
    alone = Alone(options.seconds_left)
    for number in SIGNALS:
        signal.signal(number, alone.pass_on)
    try:
        order = load_order(options.order)
        parse_part(options.part, order.shards)
        for job in jobs_before(order, options.part):
            if (code := alone.run(job)) != DONE:
                if code != STOPPED:
                    print(f"not run: it needs {job.name}, which failed", file=sys.stderr, flush=True)
                return code
        return alone.run(Job(order, options.part))
    except UserError as error:
        print(error, file=sys.stderr)
        return USER_MISTAKE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
