"""Which jobs of a run may start, and what became of the others: what they need, who works on them, the time left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from benchmark.launch.engine import Outcome
from benchmark.launch.job import Job
from benchmark.launch.lease import Watch
from benchmark.launch.lines import Lines
from benchmark.launch.remeasured import has_record
from benchmark.launch.time_limit import TimeLimit

LOOK_SECONDS = 0.5  # between two looks at what other processes do, and at the clock


class Agenda:
    """The jobs that have not started, and those that will not.

    Args:
        jobs: each after those that it needs.
        limit: of the run.
        lines: receives what happens.
    """

    def __init__(self, jobs: Sequence[Job], limit: TimeLimit, lines: Lines) -> None:
        self._waiting = {job.name: job for job in jobs}
        self._open = set(self._waiting)  # wait or run
        self._limit, self._lines = limit, lines
        self._watches: dict[str, list[Watch]] = {}  # of jobs that other processes work on
        self._looked = -LOOK_SECONDS  # when they were last looked at
        self._failed, self._left = dict[str, str](), dict[str, str]()  # names of jobs and their runs, in order

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return len(self._waiting)

    def outcome(self) -> Outcome:
        """Return what became of the runs."""
        failed = dict.fromkeys(self._failed.values())
        left = dict.fromkeys(run for run in self._left.values() if run not in failed)
        return Outcome(tuple(failed), tuple(left))

    def startable(self, running: Sequence[float] = ()) -> Iterator[Job]:
        """Take and yield the jobs that can start now; report those that are done, fail or are left for others' sake.

        Args:
            running: seconds since the start of each job that runs.
        """
        look = time.monotonic() - self._looked >= LOOK_SECONDS
        if look:
            self._looked = time.monotonic()
        for job in list(self._waiting.values()):
            if job.name in self._watches and not look:
                continue
            if self._is_ready(job) and not self._is_elsewhere(job, running) and self.fits(job):
                del self._waiting[job.name]
                yield job

    def fits(self, job: Job) -> bool:
        """Return whether a job can end in time; else it is left."""
        objection = self._limit.objection(job)
        if objection is not None:
            self._lines.left(job, objection)
            self.leave(job)
        return objection is None

    def put_back(self, job: Job) -> None:
        """Let a job wait again, before all others."""
        self._waiting = {job.name: job, **self._waiting}

    def end(self, job: Job) -> None:
        """Note that a job has ended well."""
        self._waiting.pop(job.name, None)
        self._watches.pop(job.name, None)
        self._open.discard(job.name)

    def fail(self, job: Job) -> None:
        """Note that a job has failed."""
        self.end(job)
        self._failed[job.name] = job.run

    def leave(self, job: Job) -> None:
        """Note that a job is left for another run."""
        self.end(job)
        self._left[job.name] = job.run

    def leave_waiting(self) -> None:
        """Leave all jobs that wait."""
        for job in list(self._waiting.values()):
            self.leave(job)

    def _is_ready(self, job: Job) -> bool:
        """Return whether all jobs have ended well that a job needs; give it up if they never will."""
        for need in job.needs:
            if need in self._failed:
                self._lines.not_run(job, need)
                self.fail(job)
                return False
            if need in self._left:
                self.leave(job)
                return False
        return self._open.isdisjoint(job.needs)

    def _is_elsewhere(self, job: Job, running: Sequence[float]) -> bool:
        """Return whether other processes have done a job, or work on it."""
        if has_record(job.order.out, job.order.experiment):
            self.end(job)
            self._lines.done(job, None, running)
            return True
        watches = self._watches.get(job.name) or [Watch(path, job.order.lease_seconds) for path in job.leases]
        for watch in watches:
            if (holder := watch.holder()) is not None:
                self._watches[job.name] = watches
                self._lines.elsewhere(job, holder)
                return True
        self._watches.pop(job.name, None)
        return False
