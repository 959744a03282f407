"""Follows queued jobs to their end, by what they leave on the disk and by the states that SLURM gives them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from benchmark.launch.engine import Outcome, Say
from benchmark.launch.exit_codes import DONE, STOPPED
from benchmark.launch.job import Job
from benchmark.launch.lines import Lines
from benchmark.launch.relay import failure_reason, write_reason
from benchmark.launch.slurm.commands import QueuedState
from benchmark.launch.slurm.queued import Queued
from benchmark.launch.time_limit import TimeLimit

ACTIVE = ("RUNNING", "COMPLETING")
# With these a job waits for its turn. Any other reason may be one for which it never starts.
USUAL_REASONS = ("", "None", "Priority", "Resources", "Dependency", "JobArrayTaskLimit", "BeginTime", "Cleaning")
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
        self._jobs = jobs
        self._unfinished = {job.name: job for job in jobs}
        self._queued = queued
        self._limit = limit
        self._say = say
        self._lines = Lines(say, total=len(jobs), jobs=None)
        self._ids: dict[str, str] = {}
        self._started: dict[str, float] = {}
        self._missed: dict[str, int] = {}
        self._failed, self._left = set[str](), set[str]()  # names of jobs
        self._reasons = frozenset[str]()  # for which jobs waited at the last look

    @property
    def unfinished(self) -> list[Job]:
        """Jobs that have neither ended nor are left."""
        return list(self._unfinished.values())

    def outcome(self) -> Outcome:
        """Return what became of the jobs; what has not ended is left."""
        left = self._left | self._unfinished.keys()
        failed_runs = dict.fromkeys(job.run for job in self._jobs if job.name in self._failed)
        left_runs = dict.fromkeys(job.run for job in self._jobs if job.name in left)
        return Outcome(tuple(failed_runs), tuple(run for run in left_runs if run not in failed_runs))

    def queue(self, ids: Mapping[str, str]) -> None:
        """Note the ids of jobs by name."""
        self._ids |= ids

    def has_been_done(self, job: Job) -> None:
        """Take a job off the list that another process has done."""
        del self._unfinished[job.name]
        self._lines.done(job, None, self._elapsed())

    def leave(self, job: Job, reason: str) -> None:
        """Leave a job, and those that need it, for another `run`."""
        if job.name in self._unfinished:
            self._lines.left(job, reason)
            self._take_off(job, self._left)

    def pending(self, states: Mapping[str, QueuedState]) -> list[Job]:
        """Return the jobs that have not begun."""
        return [job for job in self.unfinished if self._is_pending(job, states)]

    def _is_pending(self, job: Job, states: Mapping[str, QueuedState]) -> bool:
        queued = states.get(self._ids.get(job.name, ""))
        return queued is not None and queued.state == "PENDING"

    def look(self, states: Mapping[str, QueuedState] | None) -> bool:
        """Report what has changed, and return whether something has.

        Args:
            states: of the jobs that are queued or run, by id; None looks only at the disk.
        """
        before = len(self._unfinished), len(self._started)
        for job in self.unfinished:
            if job.name in self._unfinished:  # and not taken off with one that it needs
                self._look_at(job, self._ids[job.name], states)
        if states is not None:
            self._report_reasons(states)
        return before != (len(self._unfinished), len(self._started))

    def _report_reasons(self, states: Mapping[str, QueuedState]) -> None:
        """Report why jobs wait, unless it is for their turn: each reason once, for as long as it lasts."""
        waiting: dict[str, list[str]] = {}
        for job in self.pending(states):
            waiting.setdefault(states[self._ids[job.name]].reason, []).append(job.name)
        reasons = [reason for reason in waiting if reason not in USUAL_REASONS]
        for reason in reasons:
            if reason not in self._reasons:
                first, others = waiting[reason][0], len(waiting[reason]) - 1
                self._say(f"waiting {first}{f' and {others} more' if others else ''}, by SLURM's reason {reason}")
        self._reasons = frozenset(reasons)

    def _look_at(self, job: Job, number: str, states: Mapping[str, QueuedState] | None) -> None:
        code = self._queued.code(number)
        if code == DONE:
            self._done(job)
        elif code == STOPPED:
            self._lines.stopped(job)
            self._take_off(job, self._left)
        elif code is not None:
            self._fail(job, failure_reason(job.order, code))
        elif states is not None and number in states:
            self._missed.pop(job.name, None)
            self._report_state(job, states[number].state)
        elif states is not None:
            self._missed[job.name] = self._missed.get(job.name, 0) + 1
            if self._missed[job.name] == GONE:
                self._gone(job, number)

    def _report_state(self, job: Job, state: str) -> None:
        if state in ACTIVE and job.name not in self._started:
            self._start(job)
        elif state == "PENDING" and self._started.pop(job.name, None) is not None:
            self._say(f"queued {job.name} again: its state is saved")
        if state == "RUNNING" and (holder := self._queued.holder(self._ids[job.name])):
            self._lines.elsewhere(job, holder)

    def _start(self, job: Job) -> None:
        self._started[job.name] = time.monotonic()
        self._lines.start(job)

    def _done(self, job: Job) -> None:
        if job.name not in self._started:  # it was faster than the questions to SLURM
            self._start(job)
        seconds = time.monotonic() - self._started.pop(job.name)
        del self._unfinished[job.name]
        self._limit.finished(job, seconds)
        self._lines.done(job, seconds, self._elapsed())

    def _gone(self, job: Job, number: str) -> None:
        if self.cancelled:
            self.leave(job, "it was cancelled")
            return
        log = self._queued.folder / f"{number}_0_log.out"
        reason = f"SLURM's job {number} was cancelled, or ended before its worker said anything; its output: {log}"
        self._fail(job, write_reason(job.order, reason))

    def _fail(self, job: Job, reason: str) -> None:
        self._started.pop(job.name, None)
        self._lines.failed(job, reason, None, self._elapsed())
        self._take_off(job, self._failed)

    def _take_off(self, job: Job, ends: set[str]) -> None:
        """Take a job off the list, and those that need it, which SLURM does not start any more."""
        self._started.pop(job.name, None)
        del self._unfinished[job.name]
        ends.add(job.name)
        for other in self.unfinished:
            if job.name in other.needs and other.name in self._unfinished:
                if ends is self._failed:
                    self._lines.not_run(other, job.name)
                self._take_off(other, ends)

    def _elapsed(self) -> list[float]:
        return [time.monotonic() - started for started in self._started.values()]
