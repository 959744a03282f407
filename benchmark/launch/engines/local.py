"""Jobs as processes on this machine, side by side: one for each GPU or group of GPUs, or as many as its CPUs allow."""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from benchmark.launch.config import LauncherConfig
from benchmark.launch.engine import LaunchContext, Outcome, Say
from benchmark.launch.exit_codes import DONE, ELSEWHERE, STOPPED
from benchmark.launch.forking import ForkServer
from benchmark.launch.gpus import Gpus
from benchmark.launch.job import Job
from benchmark.launch.lease import Watch
from benchmark.launch.lines import Lines
from benchmark.launch.relay import RunningJob
from benchmark.launch.remeasured import has_record
from benchmark.launch.time_limit import TimeLimit
from benchmark.runtime.devices import visible_gpus
from benchmark.runtime.stopping import Stopped, between_updates, requested

_LOOK = 0.5  # seconds between two looks at what other processes do, and at the clock


def make(config: LauncherConfig, context: LaunchContext) -> LocalEngine:
    """Return the engine; raises UserError if a job needs more GPUs than there are."""
    return LocalEngine(config, context)


class LocalEngine:
    """Starts a worker for every job by a fork server; see `Engine`.

    The workers end with this process, however it ends; running again resumes them.
    """

    def __init__(self, config: LauncherConfig, context: LaunchContext) -> None:
        names = visible_gpus() if context.device == "cuda" else []
        self._gpus = Gpus(names, group=config.gpus_per_job, jobs=context.jobs)
        self._context = ForkServer("cuda" if context.device == "cuda" else "cpu")
        self._server: ForkServer | None = None

    def __enter__(self) -> Self:
        self._server = self._context.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(*error)

    def run(self, jobs: Sequence[Job], *, limit: TimeLimit, say: Say) -> Outcome:
        """Run the jobs; see `Engine`."""
        assert self._server is not None, "it is used as a context"
        return _Run(jobs, self._server, self._gpus, limit, say).run()


class _Run:
    """The state of one call of `run`."""

    def __init__(self, jobs: Sequence[Job], server: ForkServer, gpus: Gpus, limit: TimeLimit, say: Say) -> None:
        self.jobs, self.server, self.gpus, self.limit = jobs, server, gpus, limit
        self.lines = Lines(say, total=len(jobs), jobs=gpus.jobs)
        self.queue: queue.Queue[tuple[str, str | None]] = queue.Queue()
        self.waiting = {job.name: job for job in jobs}
        self.running: dict[str, RunningJob] = {}
        self.watches: dict[str, list[Watch]] = {}  # of jobs that other processes work on
        self.looked = 0.0
        self.failed, self.left = dict[str, None](), dict[str, None]()  # names of jobs, in order
        self.failed_runs, self.left_runs = dict[str, None](), dict[str, None]()

    def run(self) -> Outcome:
        try:
            with suppress(Stopped), between_updates():
                while self.waiting or self.running:
                    self._stop_in_time()
                    self._start()
                    self._next_line()
        finally:
            for running in self.running.values():
                running.worker.stop()
        return Outcome(tuple(self.failed_runs), tuple(self.left_runs))

    def _stop_in_time(self) -> None:
        """Once the time is up or a stop is requested, start nothing any more and let the workers stop."""
        reason = requested() or ("the time is up" if self.limit.left() == 0 else None)
        if reason is None:
            return
        for job in list(self.waiting.values()):
            self._leave(job)
        for running in self.running.values():
            running.request_stop()

    def _start(self) -> None:
        """Start what can start now."""
        look = time.monotonic() - self.looked >= _LOOK
        if look:
            self.looked = time.monotonic()
        for job in list(self.waiting.values()):
            if not look and job.name in self.watches:
                continue
            if not self._is_ready(job):
                continue
            if (gpus := self.gpus.take(job.gpus)) is None:
                return
            if not self._start_job(job, gpus):
                self.gpus.give_back(gpus)

    def _is_ready(self, job: Job) -> bool:
        """Return whether all jobs have ended that a job needs; take it off the list if it cannot be run."""
        for need in job.needs:
            if need in self.failed:
                del self.waiting[job.name]
                self.lines.not_run(job, need)
                self.failed[job.name] = self.failed_runs[job.run] = None
                return False
            if need in self.left:
                self._leave(job)
                return False
        return not any(need in self.waiting or need in self.running for need in job.needs)

    def _start_job(self, job: Job, gpus: tuple[str, ...]) -> bool:
        """Start a job, unless it is done, in work elsewhere, or cannot end in time; return whether it was started."""
        if has_record(job.order.out, job.order.experiment):
            del self.waiting[job.name]
            self.watches.pop(job.name, None)
            self.lines.done(job, None, self._elapsed())
            return False
        watches = self.watches.get(job.name) or [Watch(path, job.order.lease_seconds) for path in job.leases]
        for watch in watches:
            if (holder := watch.holder()) is not None:
                self.watches[job.name] = watches
                self.lines.elsewhere(job, holder)
                return False
        self.watches.pop(job.name, None)
        if (objection := self.limit.objection(job)) is not None:
            self.lines.left(job, objection)
            self._leave(job)
            return False
        del self.waiting[job.name]
        self.lines.start(job)
        running = RunningJob(job, self.server.start(job, gpus=gpus or None), gpus)
        self.running[job.name] = running
        running.relay(self.queue)
        return True

    def _leave(self, job: Job) -> None:
        del self.waiting[job.name]
        self.left[job.name] = self.left_runs[job.run] = None

    def _next_line(self) -> None:
        """Handle what a worker says, if one does soon."""
        if not self.running and not self.waiting:
            return
        try:
            name, line = self.queue.get(timeout=_LOOK)
        except queue.Empty:
            return
        running = self.running[name]
        if line is None:
            del self.running[name]
            self._end(running)
        else:
            running.last_line = line
            self.lines.output(running.job, line)

    def _end(self, running: RunningJob) -> None:
        job, code = running.job, running.end()
        self.gpus.give_back(running.gpus)
        if code == DONE:
            self.limit.finished(job, running.seconds)
            self.lines.done(job, running.seconds, self._elapsed())
        elif code == ELSEWHERE:  # it lost a race for the lease, or the lease
            self.waiting[job.name] = job
            self.watches[job.name] = [Watch(path, job.order.lease_seconds) for path in job.leases]
        elif code == STOPPED:
            self.lines.stopped(job)
            self.left[job.name] = self.left_runs[job.run] = None
        else:
            self.failed[job.name] = self.failed_runs[job.run] = None
            self.lines.failed(job, running.reason(code), running.seconds, self._elapsed())

    def _elapsed(self) -> list[float]:
        return [running.seconds for running in self.running.values()]
