"""The command `figures`."""

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
        Path, typer.Option("--out", help="Folder with records/; the figures are written to its site/figures/.", **PATH)
    ] = Path("leaderboards"),
) -> None:
    """Draw the figures of the boards as PNG and SVG.

    Pareto fronts, security curves, ablations, training curves and masks.
    """
    from benchmark.figures.draw import draw_figures
    from benchmark.leaderboard.render import check_place, write_pages
    from benchmark.results.store import check_folder

    check_folder(out)
    check_place(out)
    with stoppable():
        drawn = draw_figures(out, echo_line)
        write_pages(out)  # the site shows them
    if not drawn:
        echo_line(f"{out}: nothing to draw, for the reasons above", err=True)
        raise typer.Exit(1)
