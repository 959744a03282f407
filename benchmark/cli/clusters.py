"""Commands around runs on several machines: what runs where, and how results of two sites come together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.echo import echo_text
from benchmark.cli.main import app
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
