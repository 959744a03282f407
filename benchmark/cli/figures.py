"""The command `figures`. Thin, like `cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.echo import echo_line
from benchmark.cli.main import app, stoppable
from benchmark.cli.paths import PATH


@app.command()
def figures(
    out: Annotated[
        Path, typer.Option("--out", help="Folder with records/; the figures go to site/figures/ below it.", **PATH)
    ] = Path("leaderboards"),
) -> None:
    """Draw the figures of the boards as PNG and SVG: fronts, security curves, ablations, training, masks."""
    from benchmark.figures.draw import draw_figures
    from benchmark.leaderboard.render import check_place, write_pages
    from benchmark.results.store import check_folder

    check_folder(out)
    check_place(out)
    with stoppable():
        drawn = draw_figures(out, echo_line)
        write_pages(out)  # the site shows them
    if not drawn:
        echo_line(f"{out}: there is nothing to draw, for the reasons above", err=True)
        raise typer.Exit(1)
