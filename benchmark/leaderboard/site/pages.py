"""All files of the site from boards, the paper's tables and figures: pure text, the same bytes for the same input.

Templates escape whatever they print; only what this package made itself is markup. Characters that are not printable,
such as those that turn the direction of writing, become blanks on every page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import mean
from typing import get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmark.files.text import terminal, visible
from benchmark.leaderboard.board.claims import KNOWN, MEASURES, UNCORRECTED, Answer, row_name
from benchmark.leaderboard.board.compare import wide_text
from benchmark.leaderboard.board.conclusion import p_text
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.figure_plans.list import Figure
from benchmark.leaderboard.formats import (
    GENERATED,
    PRESET_TITLES,
    amount,
    clipped,
    measured_time,
    percent,
    points,
    printable,
    short,
)
from benchmark.leaderboard.pages.column import Table
from benchmark.leaderboard.pages.columns import BY_KEY, columns_of
from benchmark.leaderboard.paper.ranking import PaperRanking
from benchmark.leaderboard.paper.tables import PaperTable
from benchmark.leaderboard.site import labels
from benchmark.leaderboard.site.board_view import SITE_COLUMNS, VERDICTS, BoardView, interval_bar, strategy
from benchmark.leaderboard.site.curves import accuracy_curve, layer_lines, loss_curve
from benchmark.leaderboard.site.links import Places, artifact_link, checks_link, later_ids, record_link, row_path
from benchmark.leaderboard.site.rerun import rerun
from benchmark.leaderboard.site.row_view import broken_by_opponent, counts, neighbours, settings, spelled
from benchmark.results.evaluation import OPPONENT_CHECKS
from benchmark.results.invariants import doubts
from benchmark.results.speed import RUNTIMES, Batch

_TEMPLATES = Path(__file__).parent / "templates"
_SHARED = ("style.css", "site.js")


def site_pages(
    boards: Sequence[Board],
    tables: Sequence[PaperTable],
    figures: Sequence[Figure],
    answers: Sequence[Answer] = (),
    rankings: Sequence[PaperRanking] = (),
) -> dict[str, str]:
    """Return the text of every file of the site by its path, which begins with "site/".

    Args:
        boards: one page each, and one for each of their rows, refused ones included; the ids of a row's later seeds
            lead on to it.
        tables: the paper's tables, all on one page.
        figures: pictures that lie in site/figures; those of a run are on its row's page.
        answers: to the questions of claims.yaml, all on one page.
        rankings: of boards beside the paper's, on the same page.

    Raises:
        UserError: if a protocol cannot be a file name.
    """
    shared = {"columns": SITE_COLUMNS, "place": {column.key: at for at, column in enumerate(SITE_COLUMNS, start=1)}}
    texts = {f"site/{name}": _environment().get_template(name).render(shared) for name in _SHARED}
    texts |= {f"site/{path}": _visible(text) for path, text in _rendered(boards, tables, figures)}
    asked = _environment().get_template("questions.html").render(up="", answers=answers, rankings=rankings)
    return texts | {"site/questions.html": _visible(asked)}


def _rendered(
    boards: Sequence[Board], tables: Sequence[PaperTable], figures: Sequence[Figure]
) -> Iterator[tuple[str, str]]:
    environment = _environment()
    views = [BoardView(board) for board in boards]
    places = Places(boards)
    shared = [figure for figure in figures if figure.run is None]
    index = environment.get_template("index.html")
    yield "index.html", index.render(up="", views=views, figures=shared, places=places)
    yield "paper.html", environment.get_template("paper.html").render(up="", tables=tables, places=places)
    for view in views:
        protocol = view.board.protocol
        own = [figure for figure in shared if figure.protocol == protocol]
        page = environment.get_template("board.html")
        yield (
            f"{protocol}.html",
            page.render(
                up="",
                view=view,
                board=view.board,
                published=columns_of(Table.REPORTED, view.board),
                figures=own,
                places=places,
            ),
        )
        moved = environment.get_template("moved.html")
        for name, row in later_ids(view.board):
            yield row_path(protocol, name), moved.render(protocol=protocol, row=row)
        yield from _row_pages(view, [figure for figure in figures if figure.run is not None])


def _row_pages(view: BoardView, figures: Sequence[Figure]) -> Iterator[tuple[str, str]]:
    page = _environment().get_template("row.html")
    beside = neighbours(view)
    later_checks = {checks.run: checks for checks in view.board.rechecks}
    of_run: dict[str | None, list[Figure]] = {}
    for figure in figures:
        if figure.protocol in (None, view.board.protocol):
            of_run.setdefault(figure.run, []).append(figure)
    for entry in view.entries:
        pictures = [figure for run in entry.row.runs for figure in of_run.get(run, ())]
        yield (
            entry.path,
            page.render(
                up="../../",
                board=view.board,
                entry=entry,
                row=entry.row,
                figures=pictures,
                neighbour=beside.get(entry.anchor),
                later_checks=later_checks,
                by_run=view.by_run,
            ),
        )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Return the compiled templates with what they call."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.filters |= {
        "amount": amount,
        "clipped": clipped,
        "measured_time": measured_time,
        "percent": percent,
        "mean": mean,
        "one_line": printable,
        "p_text": p_text,
        "points": points,
        "short": short,
    }
    environment.globals |= {
        "BATCHES": get_args(Batch),
        "BY_KEY": BY_KEY,
        "CHECKS": ("health", *OPPONENT_CHECKS),
        "KNOWN": KNOWN,
        "MEASURES": MEASURES,
        "PRESET_TITLES": PRESET_TITLES,
        "RUNTIMES": RUNTIMES,
        "UNCORRECTED": UNCORRECTED,
        "VERDICTS": VERDICTS,
        "accuracy_curve": accuracy_curve,
        "artifact_link": artifact_link,
        "broken_by_opponent": broken_by_opponent,
        "checks_link": checks_link,
        "counts": counts,
        "doubts": doubts,
        "interval_bar": interval_bar,
        "layer_lines": layer_lines,
        "loss_curve": loss_curve,
        "marker": GENERATED,
        "record_link": record_link,
        "rerun": rerun,
        "row_name": row_name,
        "settings": settings,
        "spelled": spelled,
        "strategy": strategy,
        "wide_text": wide_text,
        "labels": labels,
    }
    return environment


def _visible(page: str) -> str:
    if terminal(page) == page:  # nothing is hidden, as on nearly all pages
        return page
    return "\n".join(visible(line) for line in page.split("\n"))
