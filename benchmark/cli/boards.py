"""Commands on boards: write their pages, compare two rows, measure the speed of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.echo import echo_line, echo_text
from benchmark.cli.main import app, stoppable
from benchmark.cli.options import LeaderboardOption
from benchmark.cli.paths import PATH


@app.command()
def leaderboard(
    out: Annotated[Path, typer.Option(help="Folder with records/; the pages are written into it.", **PATH)] = Path(
        "leaderboards"
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with code 1 if a page is out of date.")
    ] = False,
) -> None:
    """Write the pages of the boards from the records.

    Writes one board per protocol in every format, the site, the changelog and the table in the README.
    """
    from benchmark.leaderboard.render import check_pages, write_pages
    from benchmark.results.store import check_folder

    def note(text: str) -> None:
        echo_line(text, err=True)

    check_folder(out)
    if check:
        problems = check_pages(out, note)
        for problem in problems:
            echo_line(problem, err=True)
        if problems:
            raise typer.Exit(1)
        echo_line(f"{out}: all pages agree with their records")
    else:
        changed = write_pages(out, note)
        for path in changed:
            if out / "site" not in path.parents:  # the site has a page for every row
                echo_line(f"{'wrote' if path.exists() else 'removed'} {path}")
        echo_line(f"{out}: {len(changed)} pages changed")


@app.command()
def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A row of a board: a run, at least four digits of its hash, or a part of its name that fits one row "
            "only; for several seeds, their hashes separated by commas.",
            show_default=False,
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Another row of the same board.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder with records/.", **PATH)] = Path("leaderboards"),
    protocol: Annotated[
        str | None, typer.Option(help="Protocol id, if both rows are on several boards.", show_default=False)
    ] = None,
) -> None:
    """Compare two rows image by image.

    Prints confidence intervals, an exact paired test and its conclusion in one sentence.
    """
    from benchmark.api.rows import compare
    from benchmark.results.store import check_folder

    check_folder(out)
    echo_text(compare(a, b, board=out, protocol=protocol).text)


@app.command()
def speed(
    rows: Annotated[
        list[str] | None,
        typer.Argument(
            help="Rows of the boards: runs, at least four digits of their hashes, or parts of their names. Default: "
            "all rows.",
            show_default=False,
        ),
    ] = None,
    out: LeaderboardOption = Path("leaderboards"),
) -> None:
    """Measure how long the networks of rows take, and their memory.

    Times torch, ONNX Runtime and the sparse runtime (extra fast) with one thread; the boards show the result.
    """
    from benchmark.review.speeds import measure_speed

    with stoppable():
        path = measure_speed(rows or [], out, echo_line)
    echo_line(f"wrote {path}; `python -m benchmark leaderboard` shows it on the pages")
