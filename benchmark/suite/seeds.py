"""The seeds that a user gives as text: numbers and ranges."""

from __future__ import annotations

import re

from benchmark.errors import UserError

MAX_SEEDS = 100_000  # a mistyped range would otherwise fill the memory
_PART = re.compile(r"([0-9]{1,20})(?:\.\.([0-9]{1,20}))?")


def parse_seeds(text: str) -> list[int]:
    """Return the seeds in the order given, each once.

    >>> parse_seeds("7, 0..3, 2")
    [7, 0, 1, 2, 3]

    Raises:
        UserError: for anything but whole numbers and rising ranges of them, or too many.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise UserError(
                f"--seeds takes whole numbers from 0 and ranges such as 0..4, separated by commas; got {text!r}"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UserError(f"--seeds: {part.strip()} is empty; write the smaller number first")
        if last - first + 1 + len(seeds) > MAX_SEEDS:
            raise UserError(f"--seeds takes at most {MAX_SEEDS:,} seeds; got {text!r}")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return list(seeds)
