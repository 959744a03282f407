"""The first and the last line of a text that may be long, or grow while it is read."""

from __future__ import annotations

import os
from pathlib import Path

_BYTES = 2**16  # at most, read from each end


def last_line(path: Path) -> str:
    """Return the last line of a text that is not blank; empty if there is none, or no such file."""
    return first_and_last_line(path)[1]


def first_and_last_line(path: Path) -> tuple[str, str]:
    """Return the first and the last line of a text that is not blank; empty without one. Links are not followed."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            head = file.read(_BYTES)
            file.seek(max(len(head), os.fstat(file.fileno()).st_size - _BYTES))
            tail = file.read(_BYTES) or head
    except OSError:
        return "", ""
    first = head.decode(errors="replace").strip().splitlines()
    last = tail.decode(errors="replace").strip().splitlines()
    return first[0] if first else "", last[-1] if last else ""
