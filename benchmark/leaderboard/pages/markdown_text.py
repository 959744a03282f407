"""Markdown from templates and tables. Every value is escaped, unless it is `Markup`: Markdown of our own."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from tabulate import DataRow, TableFormat, tabulate

from benchmark.leaderboard.formats import GENERATED, markdown

MARKDOWN_MARKER = f"<!-- {GENERATED} -->"
# Without padding, unlike tabulate's own: a longer cell would change all lines of a page, and git merges lines.
_GITHUB = TableFormat(
    lineabove=None,
    linebelowheader=lambda widths, sides: f"| {' | '.join(['---'] * len(widths))} |",
    linebetweenrows=None,
    linebelow=None,
    headerrow=DataRow("| ", " | ", " |"),
    datarow=DataRow("| ", " | ", " |"),
    padding=0,
    with_header_hide=None,
)


def escaped(value: object) -> str:
    """Return a value as Markdown that shows it as it is; `Markup` is Markdown already."""
    return value if isinstance(value, Markup) else markdown(str(value))


def link(text: str, target: str) -> Markup:
    """Return a link; `target` is of our own making."""
    return Markup(f"[{markdown(text)}]({target})")


def table(header: Iterable[object], lines: Iterable[Iterable[object]]) -> Markup:
    """Return a table of a header and lines of cells; empty without lines."""
    rows = [[escaped(cell) for cell in cells] for cells in lines]
    names = [escaped(name) for name in header]
    return Markup(tabulate(rows, names, tablefmt=_GITHUB, stralign=None, disable_numparse=True) if rows else "")


def render(name: str, **values: Any) -> str:
    """Return the page that the template of a name makes of the values."""
    return (
        environment(Path(__file__).parent / "templates")
        .get_template(name)
        .render(marker=Markup(MARKDOWN_MARKER), **values)
    )


@lru_cache(maxsize=2)
def environment(folder: Path) -> Environment:
    """Return Jinja's environment for the Markdown templates of a folder: it escapes every value."""
    return Environment(
        loader=FileSystemLoader(folder),
        finalize=escaped,
        autoescape=False,  # that would be for HTML; `finalize` escapes
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
