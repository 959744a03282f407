"""Jobs as processes on this machine, side by side: one for each GPU or group of GPUs, or as many as its CPUs allow."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from benchmark.launch.agenda import LOOK_SECONDS, Agenda
from benchmark.launch.config import LauncherConfig
from benchmark.launch.engine import LaunchContext, Outcome, Say
from benchmark.launch.exit_codes import DONE, ELSEWHERE, STOPPED
from benchmark.launch.forking import ForkServer
from benchmark.launch.gpus import Gpus
from benchmark.launch.job import Job
from benchmark.launch.lines import Lines
from benchmark.launch.relay import RunningJob
from benchmark.launch.time_limit import TimeLimit
from benchmark.runtime.devices import visible_gpus
from benchmark.runtime.stopping import Stopped, between_updates, requested


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
        self.server, self.gpus, self.limit = server, gpus, limit
        self.lines = Lines(say, total=len(jobs), jobs=gpus.jobs)
        self.agenda = Agenda(jobs, limit, self.lines)
        self.queue: queue.Queue[tuple[str, str | None]] = queue.Queue()
        self.running: dict[str, RunningJob] = {}

    def run(self) -> Outcome:
        try:
            with suppress(Stopped), between_updates():
                while len(self.agenda) or self.running:
                    self._stop_in_time()
                    self._start()
                    self._next_line()
        finally:
            for running in self.running.values():
                running.worker.stop()
        return self.agenda.outcome()

    def _stop_in_time(self) -> None:
        """Once the time is up or a stop is requested, start nothing any more and let the workers stop."""
        if requested() is None and self.limit.left() != 0:
            return
        self.agenda.leave_waiting()
        for running in self.running.values():
            running.request_stop()

    def _start(self) -> None:
        """Start what can start now."""
        for job in self.agenda.startable(self._elapsed()):
            if (gpus := self.gpus.take(job.gpus)) is None:
                self.agenda.put_back(job)
                return
            self.lines.start(job)
            running = RunningJob(job, self.server.start(job, gpus=gpus or None), gpus)
            self.running[job.name] = running
            running.relay(self.queue)

    def _next_line(self) -> None:
        """Handle what a worker says, if one does soon."""
        if not self.running and not len(self.agenda):
            return
        try:
            name, line = self.queue.get(timeout=LOOK_SECONDS)
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
            self.agenda.end(job)
            self.limit.finished(job, running.seconds)
            self.lines.done(job, running.seconds, self._elapsed())
        elif code == ELSEWHERE:  # it lost a race for the lease, or the lease
            self.agenda.put_back(job)
        elif code == STOPPED:
            self.agenda.leave(job)
            self.lines.stopped(job)
        else:
            self.agenda.fail(job)
            self.lines.failed(job, running.reason(code), running.seconds, self._elapsed())

    def _elapsed(self) -> list[float]:
        return [running.seconds for running in self.running.values()]
