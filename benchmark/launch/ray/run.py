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
from benchmark.launch.lines import Lines
from benchmark.launch.ray.places import CannotStart, Lost, Placed, Places
from benchmark.launch.time_limit import TimeLimit
from benchmark.runtime.stopping import requested

LOOK_SECONDS = 1.0  # between looks at the disk, at the time and at requests to stop
MOST_PLACES = 64  # that wait for resources at a time; more would only burden Ray
MOST_LOSSES = 5  # nodes that a job may lose: it may be the job that brings them down
GRACE_SECONDS = 120.0  # after the end of the time or a request to stop, in which workers save their state


class RayRun:
    """Places jobs, watches them, and starts those of lost nodes again.

    Args:
        places: on the cluster.
        jobs: each after those that it needs.
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
        self._places, self._limit, self._say, self._clock = places, limit, say, clock
        self._lines = Lines(say, total=len(jobs), jobs=places.side_by_side(jobs))
        self._agenda = Agenda(jobs, limit, self._lines)
        self._looked = -LOOK_SECONDS
        self._losses = Counter[str]()  # by name of job
        self._stopping_since: float | None = None

    def outcome(self) -> Outcome:
        """Return what became of the runs."""
        return self._agenda.outcome()

    def run(self) -> None:
        """Run the jobs until all have ended, the time is up or a stop is requested.

        Raises:
            UserError: if an order cannot be written.
        """
        while len(self._agenda) or len(self._places):
            self._heed_requests()
            if self._stopping_since is None:
                self._place_jobs()
            if len(self._places):
                for placed, answer in self._places.answered(LOOK_SECONDS):
                    self._handle(placed, answer)
            elif len(self._agenda):  # for jobs that run elsewhere
                time.sleep(LOOK_SECONDS)

    def _heed_requests(self) -> None:
        """Begin to stop if that was requested or the time is up, and give up workers that do not stop."""
        if self._stopping_since is not None:
            if self._clock() - self._stopping_since > GRACE_SECONDS:
                for placed in self._places:
                    self._leave(placed, "it did not stop in time")
        elif requested() or self._limit.left() == 0:
            self._stopping_since = self._clock()
            self._agenda.leave_waiting()
            for placed in self._places:
                if placed.question == "place":
                    self._places.release(placed)
                    self._agenda.leave(placed.job)
                else:
                    self._places.stop(placed)

    def _place_jobs(self) -> None:
        if self._clock() - self._looked < LOOK_SECONDS:
            return
        self._looked = self._clock()
        free = MOST_PLACES - sum(placed.question == "place" for placed in self._places)
        if free > 0:
            for _, job in zip(range(free), self._agenda.startable(self._elapsed()), strict=False):
                self._places.request(job)

    def _handle(self, placed: Placed, answer: Any) -> None:
        """Act on an actor's answer, or on its loss."""
        if isinstance(answer, Lost):
            self._again(placed, f"{placed.host} was lost ({answer})")
        elif isinstance(answer, CannotStart):
            self._fail(placed, f"{placed.host} cannot start it: {answer}")
        elif placed.question == "place":
            if self._agenda.fits(placed.job):  # it may have waited for long
                placed.host, placed.started = answer, self._clock()
                self._lines.start(placed.job, f"on {placed.host}")
                self._places.start(placed, self._limit.left())
            else:
                self._places.release(placed)
        elif placed.question == "lines":
            self._relay(placed, *answer)
        elif answer is None:
            self._places.ask_for_lines(placed)
        else:
            self._fail(placed, answer)

    def _relay(self, placed: Placed, lines: list[str], code: int | None) -> None:
        for line in lines:
            self._lines.output(placed.job, line)
        if warning := placed.take(lines):
            self._lines.output(placed.job, warning)
        if code is None:
            self._places.ask_for_lines(placed)
        else:
            self._ended(placed, code)

    def _ended(self, placed: Placed, code: int) -> None:
        job, stopping = placed.job, self._stopping_since is not None
        if code == DONE:
            self._places.release(placed)
            self._agenda.end(job)
            self._limit.finished(job, self._seconds(placed))
            self._lines.done(job, self._seconds(placed), self._elapsed())
        elif code == ELSEWHERE and not stopping:  # it lost a race for the lease, or the lease
            self._places.release(placed)
            self._agenda.put_back(job)
        elif code == STOPPED and not stopping and self._limit.left() is None:
            self._again(placed, f"{placed.host} asked it to stop")
        elif code in (STOPPED, ELSEWHERE) or (stopping and code < 0):  # a signal before it listened to any
            self._places.release(placed)
            self._agenda.leave(job)
            self._lines.stopped(job)
        else:
            self._fail(placed, placed.failure.reason(code, placed.last_line))

    def _fail(self, placed: Placed, reason: str) -> None:
        self._places.release(placed)
        self._agenda.fail(placed.job)
        self._lines.failed(placed.job, reason, self._seconds(placed), self._elapsed())

    def _leave(self, placed: Placed, reason: str) -> None:
        self._places.release(placed)
        self._agenda.leave(placed.job)
        self._lines.left(placed.job, reason)

    def _again(self, placed: Placed, reason: str) -> None:
        """Let the job of a lost node wait for another one."""
        job = placed.job
        self._losses[job.name] += 1
        if self._stopping_since is not None:
            self._leave(placed, reason)
        elif self._losses[job.name] > MOST_LOSSES:
            self._fail(placed, f"{reason}, the last of {MOST_LOSSES + 1} nodes; see log.txt and the logs of Ray")
        else:
            self._places.release(placed)
            self._agenda.put_back(job)
            self._say(f"again  {job.name}: {reason}")

    def _seconds(self, placed: Placed) -> float:
        return 0.0 if placed.started is None else self._clock() - placed.started

    def _elapsed(self) -> list[float]:
        return [self._seconds(placed) for placed in self._places if placed.started is not None]
