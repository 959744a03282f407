"""Times as SLURM writes them."""

from __future__ import annotations

import math
import re

from benchmark.errors import UserError


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
