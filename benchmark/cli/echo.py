"""What the command line prints, through one door: names and texts of others cannot steer the terminal."""

from __future__ import annotations

import typer

from benchmark.files.text import terminal, terminal_line


def echo_line(line: str = "", *, err: bool = False) -> None:
    """Print one line, whatever foreign text is in it."""
    typer.echo(terminal_line(line), err=err)


def echo_text(text: str) -> None:
    """Print a text of several lines that were put together here, without a line end of its own."""
    typer.echo(terminal(text), nl=False)
