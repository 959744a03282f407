"""The exceptions for mistakes that a user can fix. The command line prints one sentence and exits with code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in the user's input: one sentence with the problem, the value, what is allowed and the next step."""


class CannotWrite(UserError):
    """The system refused to write a file, for example because the disk is full."""


def suggestion(got: str, allowed: Iterable[str]) -> str:
    """Return ' Did you mean X?' for the allowed word closest to `got`, or an empty string."""
    words = {word.lower(): word for word in allowed}
    close = difflib.get_close_matches(got.lower(), list(words), n=1, cutoff=0.6)
    return f" Did you mean {words[close[0]]}?" if close else ""
