"""What `run` prints about its jobs, the same whichever engine runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmark.launch.job import WHOLE, Job
from benchmark.runtime.progress import duration


class Lines:
    """Prints one line for each thing that happens to a job, and counts the jobs that have ended.

    Args:
        say: receives the lines.
        total: number of jobs.
        jobs: that run side by side, for the time left.
    """

    def __init__(self, say: Callable[[str], None], *, total: int, jobs: int) -> None:
        self._say, self._total, self._jobs = say, total, jobs
        self._ended, self._seconds = 0, list[float]()
        self._shown: dict[str, str] = {}  # job -> what was last printed about its being elsewhere

    def start(self, job: Job, where: str = "") -> None:
        """Print that a job starts; `where`, if that is not this machine."""
        self._say(f"start  {job.name}{f'  {where}' if where else ''}")

    def output(self, job: Job, line: str) -> None:
        """Print a line of a job's own."""
        self._say(f"  {short_name(job)}  {line}")

    def done(self, job: Job, seconds: float | None, running: Sequence[float] = ()) -> None:
        """Print that a job has ended well.

        Args:
            job: which.
            seconds: that it took; None if another process did it.
            running: seconds since the start of each job that runs now.
        """
        took = "elsewhere" if seconds is None else f"{seconds:.0f}s"
        if seconds is not None:
            self._seconds.append(seconds)
        self._say(f"done   {job.name}  {took}  {self._count(running)}")

    def failed(self, job: Job, reason: str, seconds: float | None = None, running: Sequence[float] = ()) -> None:
        """Print why a job has failed; the rest as for `done`."""
        if seconds is not None:
            self._seconds.append(seconds)
        self._say(f"FAILED {job.name}: {reason}  {self._count(running)}")

    def not_run(self, job: Job, need: str) -> None:
        """Print that a job is not run, as `need`, the name of a job that it needs, has failed."""
        self._ended += 1
        self._say(f"not run  {job.name}: it needs {need}, which failed")

    def elsewhere(self, job: Job, holder: str) -> None:
        """Print where another process works on a job, once for each process."""
        if self._shown.get(job.name) != holder:
            self._shown[job.name] = holder
            self._say(f"elsewhere  {job.name}: {holder}")

    def stopped(self, job: Job) -> None:
        """Print that a job was left where it can be resumed."""
        self._say(f"stopped {job.name}")

    def left(self, job: Job, reason: str) -> None:
        """Print why a job is not started."""
        self._say(f"left   {job.name}: {reason}")

    def _count(self, running: Sequence[float]) -> str:
        self._ended += 1
        return f"[{self._ended}/{self._total}, {self._time_left(running)}]"

    def _time_left(self, running: Sequence[float]) -> str:
        """Estimate the time left, as if every job took as long as those finished did on average."""
        waiting = self._total - self._ended - len(running)
        if not running and not waiting:
            return "all finished"
        if not self._seconds:
            return f"{waiting + len(running)} left"
        mean = sum(self._seconds) / len(self._seconds)
        left = (mean * waiting + sum(max(0.0, mean - seconds) for seconds in running)) / self._jobs
        return f"about {duration(left)} left"


def short_name(job: Job) -> str:
    """Return the parts of the job's name in which the experiments of a suite differ.

    Where only options differ, that is the hash at its end.
    """
    _, architecture, method, form, seed = job.run.split("/")
    norm = "lbn" if architecture.endswith("-lbn") else "no-lbn"
    part = "" if job.part == WHOLE else f" {job.part}"
    return f"{method}/{form}/{norm}/{seed}{part}"
