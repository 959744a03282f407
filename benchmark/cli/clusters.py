"""Commands around runs on several machines: what runs where, and how results of two sites come together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.echo import echo_line, echo_text
from benchmark.cli.main import app, stoppable
from benchmark.cli.paths import PATH


@app.command()
def status(
    out: Annotated[Path, typer.Option(help="Output folder of `run`.", **PATH)] = Path("runs"),
) -> None:
    """Show what runs where, since when and for how long, what failed and why, and what can be resumed.

    Changes nothing, and may be called on any machine that sees the folder.
    """
    from benchmark.api.watching import status

    echo_text(f"{status(out).text}\n")


@app.command()
def collect(
    sites: Annotated[
        list[Path],
        typer.Argument(help="Output folders of `run`, one of each site.", show_default=False, **PATH),
    ],
    out: Annotated[Path, typer.Option(help="Folder to copy into, made if need be.", show_default=False, **PATH)],
) -> None:
    """Bring the results of several sites into one folder.

    Copies records and artifacts that are not there yet, after checking them, and writes the boards. Of
    two different records of one run the first stays, and the exit code is 1.
    """
    from benchmark.api.collecting import collect

    with stoppable():
        collected = collect(sites, out=out, report=echo_line)
    if collected.refused:
        raise typer.Exit(1)
