"""Follows queued jobs to their end, by what they leave on the disk and by the states that SLURM gives them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from benchmark.errors import CannotWrite
from benchmark.launch.engine import Outcome, Say
from benchmark.launch.exit_codes import DONE, STOPPED
from benchmark.launch.job import Job
from benchmark.launch.order import FAILURE
from benchmark.launch.slurm.queued import Queued
from benchmark.launch.time_limit import TimeLimit
from benchmark.results.store import write_atomic
from benchmark.runtime.progress import duration

ACTIVE = ("RUNNING", "COMPLETING")
GONE = 2  # answers of SLURM without a job until it counts as gone: its last file may come late over a network


class Watch:
    """The jobs of one `run`, until each has ended or is left.

    Args:
        jobs: all of them, each after those that it needs.
        queued: what their tasks leave on the disk.
        limit: how long they may take.
        say: receives lines of progress.
    """

    def __init__(self, jobs: Sequence[Job], queued: Queued, limit: TimeLimit, say: Say) -> None:
        self.cancelled = False  # those of this run: what is gone is then left, and has not failed
        self._jobs = {job.name: job for job in jobs}
        self._unfinished = dict(self._jobs)
        self._queued = queued
        self._limit = limit
        self._say = say
        self._ids: dict[str, str] = {}
        self._started: dict[str, float] = {}
        self._missed: dict[str, int] = {}
        self._elsewhere: set[str] = set()  # names of jobs that another process was reported to work on
        self._seconds: list[float] = []  # of jobs that ended well
        self._failed: list[str] = []
        self._left: list[str] = []

    @property
    def unfinished(self) -> list[Job]:
        """Jobs that have neither ended nor are left."""
        return list(self._unfinished.values())

    def outcome(self) -> Outcome:
        """Return what became of the jobs; what has not ended is left."""
        left = [job.run for name, job in self._jobs.items() if name in self._left or name in self._unfinished]
        failed = [job.run for name, job in self._jobs.items() if name in self._failed]
        return Outcome(tuple(dict.fromkeys(failed)), tuple(run for run in dict.fromkeys(left) if run not in failed))

    def queue(self, ids: Mapping[str, str]) -> None:
        """Note the ids of jobs by name."""
        self._ids |= ids

    def leave(self, job: Job, reason: str) -> None:
        """Leave a job, and those that need it, for another `run`."""
        self._end(job, self._left, f"left   {job.name}: {reason}")

    def pending(self, states: Mapping[str, str]) -> list[Job]:
        """Return the jobs that have not begun."""
        return [job for job in self.unfinished if states.get(self._ids.get(job.name, "")) == "PENDING"]

    def look(self, states: Mapping[str, str] | None) -> bool:
        """Report what has changed, and return whether something has.

        Args:
            states: of the jobs that are queued or run, by id; None looks only at the disk.
        """
        before = len(self._unfinished), len(self._started)
        for job in self.unfinished:
            if job.name in self._unfinished:  # and not given up with one of the jobs before it
                self._look_at(job, self._ids[job.name], states)
        return before != (len(self._unfinished), len(self._started))

    def _look_at(self, job: Job, number: str, states: Mapping[str, str] | None) -> None:
        code = self._queued.code(number)
        if code == DONE:
            self._done(job)
        elif code == STOPPED:
            reason = "it was cancelled" if self.cancelled else "it was cancelled, or was out of time too often"
            self._end(job, self._left, f"stopped {job.name}: {reason}; run the same command again to continue it")
        elif code is not None:
            self._end(job, self._failed, f"FAILED {job.name}: {_reason(job, f'ended with code {code}')}")
        elif states is not None and number in states:
            self._missed.pop(job.name, None)
            self._report_state(job, states[number])
        elif states is not None:
            self._missed[job.name] = self._missed.get(job.name, 0) + 1
            if self._missed[job.name] == GONE:
                self._gone(job, number)

    def _report_state(self, job: Job, state: str) -> None:
        if state in ACTIVE and job.name not in self._started:
            self._start(job)
        if (
            state == "RUNNING"
            and job.name not in self._elsewhere
            and (holder := self._queued.holder(self._ids[job.name]))
        ):
            self._elsewhere.add(job.name)
            self._say(f"elsewhere  {job.name}: {holder}; its job waits for that process")
        if state == "PENDING" and self._started.pop(job.name, None) is not None:
            self._say(f"stopped {job.name}: its state is saved, and it is in the queue again")

    def _start(self, job: Job) -> None:
        self._started[job.name] = time.monotonic()
        self._say(f"start  {job.name}")

    def _done(self, job: Job) -> None:
        if job.name not in self._started:  # it was faster than the questions to SLURM
            self._start(job)
        seconds = time.monotonic() - self._started.pop(job.name)
        self._seconds.append(seconds)
        self._limit.finished(job, seconds)
        del self._unfinished[job.name]
        self._say(f"done   {job.name}  {seconds:.0f}s  [{self._progress()}]")

    def _gone(self, job: Job, number: str) -> None:
        if self.cancelled:
            self.leave(job, "it was cancelled")
            return
        log = self._queued.folder / f"{number}_0_log.out"
        ending = f"ended as SLURM's job {number}, cancelled or killed, see {log};"
        self._end(job, self._failed, f"FAILED {job.name}: {_reason(job, ending)}")

    def _end(self, job: Job, ends: list[str], line: str) -> None:
        """Take a job off the list, and those that need it, which SLURM does not start any more."""
        self._started.pop(job.name, None)
        del self._unfinished[job.name]
        ends.append(job.name)
        self._say(f"{line}  [{self._progress()}]")
        for other in self.unfinished:
            if job.name in other.needs and other.name in self._unfinished:
                what = "failed" if ends is self._failed else "did not end"
                self._end(other, ends, f"not run {other.name}: {job.name} {what}")

    def _progress(self) -> str:
        """Return how many jobs have ended, and the time left if all take as long as those that ended well."""
        count = f"{len(self._jobs) - len(self._unfinished)}/{len(self._jobs)}"
        if not self._unfinished:
            return f"{count}, all finished"
        if not self._seconds:
            return count
        mean, elapsed = sum(self._seconds) / len(self._seconds), time.monotonic()
        spent = sum(min(mean, elapsed - started) for started in self._started.values())
        left = (mean * len(self._unfinished) - spent) / max(1, len(self._started))
        return f"{count}, about {duration(left)} left"


def _reason(job: Job, ending: str) -> str:
    """Return the last line of the traceback, or how the process ended if it left none."""
    path = job.order.folder / FAILURE
    if not path.exists():
        reason = f"the process {ending} without a message; see log.txt"
        try:
            write_atomic(path, f"{reason}\n")
        except CannotWrite as error:
            return f"{reason}; {error}"
    last = path.read_text(encoding="utf-8").strip().splitlines()[-1]
    return f"{last} (see {path})"
