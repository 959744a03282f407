"""One run of jobs on a Ray cluster, from the first request for resources to the last worker's exit code."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from benchmark.launch.agenda import Agenda
from benchmark.launch.engine import Outcome, Say
from benchmark.launch.exit_codes import DONE, ELSEWHERE, STOPPED
from benchmark.launch.job import Job
from benchmark.launch.ray.places import CannotStart, Lost, Placed, Places
from benchmark.launch.time_limit import TimeLimit
from benchmark.runtime.stopping import requested

LOOK_SECONDS = 1.0  # between looks at the time and at requests to stop
MOST_PLACES = 64  # that wait for resources at a time; more would only burden Ray
MOST_LOSSES = 5  # nodes that a job may lose: it may be the job that brings them down
GRACE_SECONDS = 120.0  # after the end of the time or a request to stop, in which workers save their state


class RayRun:
    """Places jobs, watches them, and starts those of lost nodes again.

    Args:
        places: on the cluster.
        jobs: each after those that it needs; their orders are on disk.
        limit: how long the run may take.
        say: receives one line of progress at a time.
        clock: returns seconds that never go back.
    """

    def __init__(
        self,
        places: Places,
        jobs: Sequence[Job],
        limit: TimeLimit,
        say: Say,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places, self._limit, self._clock = places, limit, clock
        self._agenda = Agenda(jobs, limit, say)
        self._later: list[tuple[float, Job]] = []  # when jobs that run elsewhere are tried again
        self._losses = Counter[str]()  # by name of job
        self._stopping_since: float | None = None

    def outcome(self) -> Outcome:
        """Return what became of the runs."""
        return self._agenda.outcome()

    def run(self) -> None:
        """Run the jobs until all have ended, the time is up or a stop is requested."""
        while True:
            self._heed_requests()
            if self._stopping_since is None:
                self._place_jobs()
            if len(self._places):
                for placed, answer in self._places.answered(LOOK_SECONDS):
                    self._handle(placed, answer)
            elif self._later:
                time.sleep(LOOK_SECONDS)
            else:
                return

    def _heed_requests(self) -> None:
        """Begin to stop if that was requested or the time is up, and give up workers that do not stop."""
        if self._stopping_since is not None:
            if self._clock() - self._stopping_since > GRACE_SECONDS:
                for placed in self._places:
                    self._places.release(placed)
                    self._agenda.left(placed.job, "it did not stop in time")
            return
        reason = requested() or ("the time is up" if self._limit.left() == 0 else None)
        if reason is None:
            return
        self._stopping_since = self._clock()
        for placed in self._places:
            if placed.question == "place":
                self._places.release(placed)
                self._agenda.put_back(placed.job)
            else:
                self._places.stop(placed)
        for _, job in self._later:
            self._agenda.put_back(job)
        self._later.clear()
        self._agenda.leave_waiting(reason)

    def _place_jobs(self) -> None:
        now = self._clock()
        for entry in [entry for entry in self._later if entry[0] <= now]:
            self._later.remove(entry)
            self._agenda.put_back(entry[1])
        while sum(placed.question == "place" for placed in self._places) < MOST_PLACES:
            job = self._agenda.take()
            if job is None:
                return
            if self._may_start(job):
                self._places.request(job)

    def _may_start(self, job: Job) -> bool:
        objection = self._limit.objection(job)
        if objection is not None:
            self._agenda.left(job, objection)
        return objection is None

    def _handle(self, placed: Placed, answer: Any) -> None:
        """Act on an actor's answer, or on its loss."""
        if isinstance(answer, Lost):
            self._places.release(placed)
            self._again(placed, f"{placed.host} was lost ({answer})")
        elif isinstance(answer, CannotStart):
            self._fail(placed, f"{placed.host} cannot start it: {answer}")
        elif placed.question == "place":
            if self._may_start(placed.job):  # it may have waited for long
                placed.host, placed.started = answer, self._clock()
                self._agenda.started(placed.job, placed.host)
                self._places.start(placed, self._limit.left())
            else:
                self._places.release(placed)
        elif placed.question == "start":
            if answer is None:
                self._places.ask_for_lines(placed)
            else:
                self._fail(placed, answer)
        else:
            self._relay(placed, *answer)

    def _relay(self, placed: Placed, lines: list[str], code: int | None) -> None:
        placed.seen += len(lines)
        for line in lines:
            self._agenda.line(placed.job, line)
        if code is None:
            self._places.ask_for_lines(placed)
        else:
            self._places.release(placed)
            self._ended(placed, code)

    def _ended(self, placed: Placed, code: int) -> None:
        job, stopping = placed.job, self._stopping_since is not None
        if code == DONE:
            self._agenda.done(job, self._seconds(placed), self._elapsed())
        elif code == ELSEWHERE:
            self._agenda.elsewhere(job)
            if stopping:
                self._agenda.left(job, "another process works on it")
            else:
                self._later.append((self._clock() + job.order.lease_seconds, job))
        elif code == STOPPED and not stopping and self._limit.left() is None:
            self._again(placed, f"{placed.host} asked it to stop")
        elif code == STOPPED or (stopping and code < 0):  # ended by the signal before it listened to any
            self._agenda.stopped(job)
        else:
            self._fail(placed, self._agenda.reason(job, code))

    def _fail(self, placed: Placed, reason: str) -> None:
        self._places.release(placed)
        self._agenda.failed(placed.job, reason, self._seconds(placed), self._elapsed())

    def _again(self, placed: Placed, reason: str) -> None:
        """Let the job of a lost node wait for another one."""
        job = placed.job
        self._losses[job.name] += 1
        if self._stopping_since is not None:
            self._agenda.left(job, reason)
        elif self._losses[job.name] > MOST_LOSSES:
            self._fail(placed, f"{reason}, the last of {MOST_LOSSES + 1} nodes; see log.txt and the logs of Ray")
        else:
            self._agenda.again(job, reason)

    def _seconds(self, placed: Placed) -> float:
        return 0.0 if placed.started is None else self._clock() - placed.started

    def _elapsed(self) -> dict[str, float]:
        return {placed.job.name: self._seconds(placed) for placed in self._places if placed.started is not None}
