"""How long `run` may take, and which jobs cannot end in time."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from benchmark.errors import UserError
from benchmark.launch.job import Job
from benchmark.runtime.progress import duration

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str, option: str) -> float:
    """Return the seconds of a duration such as 90s, 8m, 2h, 1d or 1:30:00.

    Raises:
        UserError: if it is written otherwise, or not above zero; names the option.
    """
    seconds = 0.0
    if match := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])", text.strip()):
        seconds = float(match[1]) * _UNITS[match[2]]
    elif match := re.fullmatch(r"([0-9]{1,5}):([0-5][0-9]):([0-5][0-9])", text.strip()):
        seconds = int(match[1]) * 3600.0 + int(match[2]) * 60 + int(match[3])
    if seconds <= 0:
        raise UserError(f"{option} takes a time above zero such as 90s, 8m, 2h or 1:30:00; got {text!r}")
    return seconds


class TimeLimit:
    """The time that is left, and what jobs are expected to take.

    Args:
        seconds: from now on; None for no limit.
        clock: returns seconds that never go back.
    """

    def __init__(self, seconds: float | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds
        self._predicted: dict[str, float] = {}  # seconds by job
        self._finished: dict[str, list[float]] = defaultdict(list)  # seconds by kind of job

    def predict(self, seconds: Mapping[str, float]) -> None:
        """Note what jobs are expected to take, by name."""
        self._predicted.update(seconds)

    def left(self) -> float | None:
        """Return the seconds that are left, at least zero; None without a limit."""
        return None if self._end is None else max(0.0, self._end - self._clock())

    def finished(self, job: Job, seconds: float) -> None:
        """Note how long a job took that ended well, from its beginning."""
        self._finished[job.kind].append(seconds)

    def expected(self, job: Job) -> float | None:
        """Return the seconds that a job takes: predicted, or the mean of its kind in this run; None if unknown."""
        if (seconds := self._predicted.get(job.name)) is not None:
            return seconds
        taken = self._finished[job.kind]
        return sum(taken) / len(taken) if taken else None

    def objection(self, job: Job) -> str | None:
        """Return why a job that is started now cannot end in time; None if it may."""
        left = self.left()
        if left is None:
            return None
        if left == 0:
            return "the time is up"
        expected = self.expected(job)
        if expected is None or expected <= left:
            return None
        return f"it takes about {duration(expected)}, and {duration(left)} are left"
