"""Prints text on the terminal with control characters escaped, as names and texts may come from anyone."""

from __future__ import annotations

import typer

from benchmark.files.text import terminal, terminal_line


def echo_line(line: str = "", *, err: bool = False) -> None:
    """Print one line; line breaks in it are escaped."""
    typer.echo(terminal_line(line), err=err)


def echo_text(text: str, *, err: bool = False) -> None:
    """Print a text of several lines as it is, without adding a line break."""
    typer.echo(terminal(text), nl=False, err=err)
