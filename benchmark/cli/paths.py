"""Files and folders on the command line: `~` is the home folder, an empty name is a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from benchmark.errors import UserError


def user_path(text: str | Path) -> Path:
    """Return the path that a user typed, with `~` and `~name` replaced by home folders.

    Raises:
        UserError: if it is empty, or there is no such user.
    """
    if not str(text).strip():
        raise UserError("a file or folder has an empty name; leave the option out, or name one")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{text}: there is no user of this name; write ./{text} for a folder called so") from None


def _expanded(param: typer.CallbackParam, value: Any) -> Any:
    """Turn the text of an option, or the texts of an argument that may be repeated, into paths."""
    try:
        if isinstance(value, list | tuple):
            return [user_path(text) for text in value]
        return None if value is None else user_path(value)
    except UserError as error:
        raise UserError(f"{param.opts[0]}: {error}") from None


# Of every option and argument that is a path. The parser leaves the text alone: `Path("")` would be the current folder.
PATH: dict[str, Any] = {"parser": str, "metavar": "PATH", "callback": _expanded}
