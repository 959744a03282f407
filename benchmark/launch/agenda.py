"""Which jobs of a run may start, what became of the others, and the lines about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.errors import CannotWrite
from benchmark.files.plain import no_link
from benchmark.launch.engine import Outcome, Say
from benchmark.launch.exit_codes import USER_MISTAKE
from benchmark.launch.job import WHOLE, Job
from benchmark.launch.order import FAILURE
from benchmark.launch.time_limit import TimeLimit
from benchmark.results.store import write_atomic
from benchmark.runtime.progress import duration


class Agenda:
    """The jobs of one run of an engine.

    Args:
        jobs: each after those that it needs.
        limit: how long the run may take.
        say: receives one line of progress at a time.
    """

    def __init__(self, jobs: Sequence[Job], limit: TimeLimit, say: Say) -> None:
        self._waiting = list(jobs)
        self._total = len(jobs)
        self._limit, self._say = limit, say
        self._open = {job.name for job in jobs}  # neither ended nor given up
        self._finished: list[float] = []  # seconds of the jobs that ended, well or not
        self._failed: dict[str, None] = {}  # runs, in order
        self._left: dict[str, None] = {}
        self._elsewhere: set[str] = set()  # jobs that were reported to run elsewhere
        self._last_lines: dict[str, str] = {}

    def outcome(self) -> Outcome:
        """Return what became of the runs."""
        return Outcome(tuple(self._failed), tuple(run for run in self._left if run not in self._failed))

    def take(self) -> Job | None:
        """Remove and return the first job that waits for no other one; None if there is none."""
        for job in self._waiting:
            if self._open.isdisjoint(job.needs):
                self._waiting.remove(job)
                return job
        return None

    def put_back(self, job: Job) -> None:
        """Let a job that was taken wait again, before all others."""
        self._waiting.insert(0, job)

    def again(self, job: Job, reason: str) -> None:
        """Report that a job has to be started again, and let it wait before all others."""
        self._say(f"again  {job.name}: {reason}")
        self.put_back(job)

    def started(self, job: Job, host: str) -> None:
        """Report the start of a job on a host."""
        self._say(f"start  {job.name}  on {host}")

    def line(self, job: Job, line: str) -> None:
        """Report a line of a job's worker, and add it to the log."""
        self._last_lines[job.name] = line
        self._say(f"  {short_name(job)}  {line}")
        path = job.order.folder / "log.txt"
        try:
            with open(path, "a", encoding="utf-8", opener=no_link) as log:
                log.write(f"{line}\n")
        except OSError as error:
            self._say(f"warning: {path} cannot be written ({error.strerror}); a line is missing there")

    def done(self, job: Job, seconds: float, running: Mapping[str, float]) -> None:
        """Report a job that ended well.

        Args:
            job: which ended.
            seconds: that it took.
            running: how long the jobs that still run have taken, by name.
        """
        self._limit.finished(job, seconds)
        self._end(job, seconds)
        self._say(f"done   {job.name}  {seconds:.0f}s  [{self._count(running)}]")

    def failed(self, job: Job, reason: str, seconds: float, running: Mapping[str, float]) -> None:
        """Report a job that failed, and give up those that need it; see `done`."""
        self._end(job, seconds)
        self._failed[job.run] = None
        self._say(f"FAILED {job.name}: {reason}  [{self._count(running)}]")
        for other in self._give_up_dependants(job):
            self._failed[other.run] = None
            self._say(f"FAILED {other.name}: not run, as it needs {job.name}")

    def left(self, job: Job, reason: str) -> None:
        """Report a job that did not end, or did not start, before the run had to end; so those that need it."""
        self._open.discard(job.name)
        self._left[job.run] = None
        self._say(f"left   {job.name}: {reason}")
        for other in self._give_up_dependants(job):
            self._left[other.run] = None

    def leave_waiting(self, reason: str) -> None:
        """Leave all jobs that have not started."""
        while self._waiting:
            self.left(self._waiting.pop(0), reason)

    def stopped(self, job: Job) -> None:
        """Report a job whose worker has saved its state and left."""
        self._say(f"stopped {job.name}")
        self.left(job, "it continues from what it has saved")

    def elsewhere(self, job: Job) -> None:
        """Report once that another process works on a job, as the worker's last line says."""
        if job.name not in self._elsewhere:
            self._elsewhere.add(job.name)
            self._say(f"elsewhere  {job.name}: {self._last_lines.get(job.name, 'another process works on it')}")

    def reason(self, job: Job, code: int) -> str:
        """Return why a job failed: the last line of the traceback, or how the process ended if it left none."""
        path = job.order.folder / FAILURE
        if not path.exists() and code == USER_MISTAKE:
            return self._last_lines.get(job.name, "")  # which the worker wrote here, as it could not write there
        if not path.exists():
            reason = f"the process ended with code {code} without a message; see log.txt"
            try:
                write_atomic(path, f"{reason}\n")
            except CannotWrite as error:
                return f"{reason}; {error}"
        return f"{_last_line(path)} (see {path})"

    def _end(self, job: Job, seconds: float) -> None:
        self._open.discard(job.name)
        self._finished.append(seconds)

    def _give_up_dependants(self, job: Job) -> list[Job]:
        """Remove the waiting jobs that need a job, directly or not, and return them."""
        names, gone = {job.name}, []
        for other in self._waiting:  # in which every job comes after those it needs
            if not names.isdisjoint(other.needs):
                names.add(other.name)
                gone.append(other)
        self._waiting = [other for other in self._waiting if other not in gone]
        self._open -= names
        return gone

    def _count(self, running: Mapping[str, float]) -> str:
        return f"{len(self._finished)}/{self._total}, {self._time_left(running)}"

    def _time_left(self, running: Mapping[str, float]) -> str:
        """Estimate the time left, as if every job took as long as those that ended did on average."""
        if not running and not self._waiting:
            return "all finished"
        mean = sum(self._finished) / len(self._finished)
        left = mean * len(self._waiting) + sum(max(0.0, mean - seconds) for seconds in running.values())
        return f"about {duration(left / max(1, len(running)))} left"


def short_name(job: Job) -> str:
    """Return the parts of a job's name in which those of a suite differ.

    Where only options differ, that is the hash at its end.
    """
    _, architecture, method, form, seed = job.run.split("/")
    norm = "lbn" if architecture.endswith("-lbn") else "no-lbn"
    return f"{method}/{form}/{norm}/{seed}" + ("" if job.part == WHOLE else f" {job.part}")


def _last_line(path: Path) -> str:
    return (path.read_text(encoding="utf-8").strip().splitlines() or ["no reason was written"])[-1]
