"""The one exception for mistakes a user can mend. The command line turns it into one sentence and exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user gave: says what, what was got, what is allowed and the next step."""


class CannotWrite(UserError):
    """The system refused to write a file, as where the disk is full: nothing is wrong but the place."""


def suggestion(got: str, known: Iterable[str]) -> str:
    """Return ' Did you mean X?' for the known word closest to `got`, or an empty string."""
    spelled = {word.lower(): word for word in known}
    close = difflib.get_close_matches(got.lower(), list(spelled), n=1, cutoff=0.6)
    return f" Did you mean {spelled[close[0]]}?" if close else ""
