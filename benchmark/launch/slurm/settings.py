"""The settings of the SLURM launcher: what they may be, beyond the type of each."""

from __future__ import annotations

import math
import re

from benchmark.errors import UserError
from benchmark.launch.config import SlurmConfig

# Options of sbatch that are set for each array, or by a setting of their own.
_NOT_EXTRA = {
    **dict.fromkeys(
        ("array", "error", "job-name", "kill-on-invalid-dep", "open-mode", "output", "requeue"), "it is fixed"
    ),
    "dependency": "it follows from the jobs",
    "time": "it is the setting time",
    "signal": "it is the setting signal_delay",
    "cpus-per-task": "it is the setting cpus_per_job",
    "gpus-per-node": "it is the setting gpus_per_job",
    "mem": "it is the setting memory",
    **{name: f"it is the setting {name}" for name in ("partition", "account", "qos")},
}


def check_settings(config: SlurmConfig) -> int:
    """Return the minutes that a job may take.

    Raises:
        UserError: if the settings contradict each other.
    """
    minutes = parse_minutes(config.time)
    if config.signal_delay >= minutes * 60:
        raise UserError(
            f"signal_delay is {config.signal_delay} s, and a job has only {minutes * 60} s; give a smaller delay, or "
            "more time"
        )
    for name in config.extra:
        if (why := _NOT_EXTRA.get(name.replace("_", "-"))) is not None:
            raise UserError(f"extra must not hold {name!r}: {why}; remove it")
    return minutes


def parse_minutes(text: str) -> int:
    """Return the minutes of a time as `sbatch --time` reads it, rounded up.

    >>> parse_minutes("90"), parse_minutes("2:00:00"), parse_minutes("1-12:00:00")
    (90, 120, 2160)

    Raises:
        UserError: if it is written otherwise, or not above zero.
    """
    seconds = 0
    if re.fullmatch(r"[0-9]{1,6}", text):
        seconds = 60 * int(text)
    elif match := re.fullmatch(r"(?:([0-9]{1,3})-)?([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])", text):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if seconds <= 0:
        raise UserError(f"time of a SLURM job takes minutes, or hours:minutes:seconds such as 2:00:00; got {text!r}")
    return math.ceil(seconds / 60)
