"""Paths on the command line: `~` is the home folder, an empty path is a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from benchmark.errors import UserError


def user_path(text: str | Path) -> Path:
    """Return the path that a user typed, with `~` and `~name` expanded.

    Raises:
        UserError: if it is empty, or there is no such user.
    """
    if not str(text).strip():
        raise UserError("the path is empty; leave the option out, or name a file or folder")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{text}: there is no user of this name; write ./{text} for a folder of this name") from None


def _expanded(param: typer.CallbackParam, value: Any) -> Any:
    """Turn the text of an option, or the texts of a repeated argument, into paths."""
    try:
        if isinstance(value, list | tuple):
            return [user_path(text) for text in value]
        return None if value is None else user_path(value)
    except UserError as error:
        raise UserError(f"{param.opts[0]}: {error}") from None


# For every option and argument that is a path. `Path` cannot be the parser: `Path("")` is the current folder.
PATH: dict[str, Any] = {"parser": str, "metavar": "PATH", "callback": _expanded}
