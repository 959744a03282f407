"""Runs jobs as job arrays of SLURM and watches them; without this process they go on, and a second `run` waits."""

from __future__ import annotations

import importlib.util
import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Self, cast

from benchmark.errors import UserError
from benchmark.files.text import counted
from benchmark.launch.config import LauncherConfig, SlurmConfig
from benchmark.launch.engine import LaunchContext, Outcome, Say
from benchmark.launch.job import Job
from benchmark.launch.remeasured import has_record
from benchmark.launch.slurm.commands import (
    QueuedState,
    cancel,
    check_commands,
    has_gpus,
    largest_array,
    queued_states,
)
from benchmark.launch.slurm.queued import Queued
from benchmark.launch.slurm.settings import check_settings
from benchmark.launch.slurm.watching import Watch
from benchmark.launch.time_limit import TimeLimit
from benchmark.runtime.stopping import SIGNALS, Stopped

LOOK_SECONDS = 2.0  # between looks at the disk
MAX_ASK_SECONDS = 30.0  # between questions to SLURM, which come sooner after something has happened


def make(config: LauncherConfig, context: LaunchContext) -> SlurmEngine:
    """Return the engine.

    Raises:
        UserError: if submitit or SLURM is missing, or if settings contradict each other.
    """
    if importlib.util.find_spec("submitit") is None:
        raise UserError(
            "--launcher slurm needs submitit (pip install -e '.[slurm]'); install it, or choose another launcher"
        )
    check_commands()
    return SlurmEngine(cast(SlurmConfig, config), context)


class SlurmEngine:
    """Jobs as arrays of SLURM; the state of the queue lies in the folder of results.

    Args:
        config: its settings.
        context: where the results go, and where the jobs compute.

    Raises:
        UserError: if the settings contradict each other.
    """

    def __init__(self, config: SlurmConfig, context: LaunchContext) -> None:
        self._minutes = check_settings(config)
        self._config = config
        self._context = context
        self._mine: dict[str, str] = {}  # ids of the jobs that this process has queued, by name

    def __enter__(self) -> Self:
        """Begin nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """End nothing: what is queued goes on."""

    def run(self, jobs: Sequence[Job], *, limit: TimeLimit, say: Say) -> Outcome:
        """Queue jobs, unless they are queued already, and watch them to their end; see `Engine.run`."""
        queued = Queued(self._context.out)
        watch = Watch(jobs, queued, limit, say)
        self._mine = {}
        try:
            with queued.locked():
                self._queue(watch, queued, limit, say)
            self._follow(watch, limit, say)
        except Stopped:
            self._say_what_goes_on(watch, say)
        except KeyboardInterrupt:
            if not self._cancel_if_wanted(watch, say):
                self._say_what_goes_on(watch, say)
            raise
        return watch.outcome()

    def _queue(self, watch: Watch, queued: Queued, limit: TimeLimit, say: Say) -> None:
        """Queue the jobs that are not in the queue and can end in time."""
        from benchmark.launch.slurm.submission import Submission, arrays  # needs submitit

        ids = queued.alive(queued_states())
        for job in watch.unfinished:
            if job.name in ids:
                watch.queue({job.name: ids[job.name]})
                say(f"queued {job.name} by another run, as job {ids[job.name]}")
            elif has_record(job.order.out, job.order.experiment):
                watch.has_been_done(job)
            elif objection := limit.objection(job):
                watch.leave(job, objection)
        new = [job for job in watch.unfinished if job.name not in ids]
        if not new:
            return
        minutes, timeouts, left = self._minutes, self._config.timeouts, limit.left()
        if left is not None:  # should nobody be there any more to stop the jobs when the time is up
            minutes = min(minutes, math.ceil((left + self._config.signal_delay) / 60))
            timeouts = min(timeouts, math.floor(left / (60 * minutes)))
        device, partition = self._context.device, self._config.partition
        gpus = device == "cuda" or (device == "auto" and has_gpus(partition))
        submission = Submission(self._config, queued, gpus=gpus, minutes=minutes, timeouts=timeouts)
        for array in arrays(new, min(self._config.array_limit, largest_array())):
            with _uninterrupted():  # or the ids of jobs in the queue would be lost
                numbers = submission.submit(array, ids)
                ids |= numbers
                self._mine |= numbers
                watch.queue(numbers)
            first = next(iter(numbers.values())).partition("_")[0]
            what = f"{counted(len(numbers), 'job')} as {'job' if len(numbers) == 1 else 'array'} {first}"
            kinds = " and ".join(sorted({job.kind for job in array.jobs}))
            where = f" on {counted(array.gpus, 'GPU')}" if gpus else ""
            say(f"queued {what}: {kinds}{where}, at most {minutes} min each")

    def _follow(self, watch: Watch, limit: TimeLimit, say: Say) -> None:
        """Watch the jobs until all have ended or are left."""
        changed = time.monotonic()
        asked, answers = -math.inf, True
        while watch.unfinished:
            states: Mapping[str, QueuedState] | None = None
            now = time.monotonic()
            pause = min(MAX_ASK_SECONDS, LOOK_SECONDS + (now - changed) / 4)
            if now - asked >= pause or limit.left() == 0:
                asked = now
                try:
                    states, answers = queued_states(), True
                except UserError as error:
                    if answers:
                        say(f"{error}; the jobs go on, and so do the questions")
                    answers = False
            if watch.look(states):
                changed = now
            if limit.left() is not None and states is not None:
                with suppress(UserError):  # SLURM has become busy: once more after the next look
                    self._enforce(watch, limit, states, say)
            if watch.unfinished:
                time.sleep(LOOK_SECONDS)

    def _enforce(self, watch: Watch, limit: TimeLimit, states: Mapping[str, QueuedState], say: Say) -> None:
        """Take jobs out of the queue that cannot end in time, and end all of this run when the time is up."""
        if limit.left() == 0:
            if not watch.cancelled:
                cancel(self._unfinished(watch))
                watch.cancelled = True
                say("the time is up: what runs saves its state and leaves")
                for job in watch.unfinished:
                    if job.name not in self._mine:
                        watch.leave(job, "another run has queued it, and it goes on")
            return
        for job in watch.pending(states):
            if job.name in self._mine and (objection := limit.objection(job)):
                cancel([self._mine[job.name]])
                watch.leave(job, objection)

    def _unfinished(self, watch: Watch) -> list[str]:
        """Return the ids of the jobs of this run that have not ended: never those of another one."""
        return [self._mine[job.name] for job in watch.unfinished if job.name in self._mine]

    def _cancel_if_wanted(self, watch: Watch, say: Say) -> bool:
        """Ask whether to cancel the jobs of this run, and return whether they are."""
        numbers = self._unfinished(watch)
        jobs = counted(len(numbers), "job")
        question = f"cancel {jobs} that this run has queued? What runs saves its state. [y/N] "
        try:
            if not numbers or not sys.stdin.isatty() or input(question).strip().lower() not in ("y", "yes"):
                return False
        except (EOFError, KeyboardInterrupt):
            return False
        cancel(numbers)
        say("cancelled; the same command continues from what is saved")
        return True

    def _say_what_goes_on(self, watch: Watch, say: Say) -> None:
        if numbers := self._unfinished(watch):
            arrays = sorted({number.partition("_")[0] for number in numbers}, key=int)
            say(f"the jobs go on, the same command waits for them; to end them: scancel {' '.join(arrays)}")


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Keep Ctrl-C and requests to stop back until the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *SIGNALS})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
