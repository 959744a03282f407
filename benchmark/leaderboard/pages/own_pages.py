"""Which files are pages that this project generated: no other file is ever overwritten or deleted.

A page says so at the beginning of its first line. A board's CSV has no room for that: it is recognised by its columns,
and by the protocol in its first row, which is also its name.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from benchmark.errors import UserError
from benchmark.files.plain import open_below
from benchmark.leaderboard.formats import GENERATED
from benchmark.leaderboard.pages.csv_file import CSV_HEADERS, CSV_MARKER
from benchmark.leaderboard.pages.paper import PAPER_CSV_MARKER
from benchmark.results.protocol import Protocol

CONFLICT = re.compile(r"(<{7}|={7}|>{7}|\|{7})( .*)?")  # a line with which git marks the sides of a merge
PAGE_BYTES = 2**28  # of a page that is read; a board of thousands of rows has about ten million
_HEAD = 2**16  # bytes of a page, enough for the first row of a CSV
_FIRST_LINES = {
    ".md": f"<!-- {GENERATED} -->",
    ".html": f"<!-- {GENERATED} -->",
    ".tex": f"% {GENERATED}",
    ".bib": f"% {GENERATED}",
    ".js": f"// {GENERATED}",
    ".css": f"/* {GENERATED} */",
}
_JSON = ("{", f'"about": "{GENERATED}",', '"format": ')  # how its first three lines begin
_TOP = {"boards.md", "claims.md", *(f"paper_tables.{ending}" for ending in ("md", "csv", "tex"))}
_OF_BOARD = (".md", ".csv", ".json", ".tex", ".bib")
_OF_SITE = re.compile(r"(index|paper|questions)\.html|([a-z]+/)?[a-z_-]+\.(js|css)|rows/[^/]+/[0-9a-f]{6,}\.html")


def may_replace(path: Path, folder: Path) -> bool:
    """Return whether a file in the place of a page may be overwritten.

    Pages of earlier versions may be, and pages in which a merge left both sides.
    """
    lines = [line for line in _first_lines(path, folder) if not CONFLICT.fullmatch(line)] or [""]
    if path.suffix == ".csv":
        return lines[0] == PAPER_CSV_MARKER or (lines[0].startswith(CSV_MARKER) and _first_protocol(lines) == path.stem)
    return _is_marked(path, lines)


def may_delete(path: Path, folder: Path) -> bool:
    """Return whether a file is certainly a page of this project, by its place, its name and its content."""
    name = path.relative_to(folder).as_posix()
    if not _is_page_name(name):
        return False
    lines = _first_lines(path, folder)
    if path.suffix == ".csv" and name not in _TOP:
        return lines[0] in CSV_HEADERS and _first_protocol(lines) == path.stem
    return lines[0] == PAPER_CSV_MARKER if path.suffix == ".csv" else _is_marked(path, lines)


def _is_page_name(name: str) -> bool:
    of_site = name.removeprefix("site/")
    if of_site != name and _OF_SITE.fullmatch(of_site):
        return True
    stem, dot, ending = of_site.rpartition(".")
    return name in _TOP or (f"{dot}{ending}" in (_OF_BOARD if of_site == name else (".html",)) and _is_protocol(stem))


def _is_protocol(text: str) -> bool:
    try:
        return bool(Protocol.parse(text))
    except UserError:
        return False


def _first_lines(path: Path, folder: Path) -> list[str]:
    """Return the first lines of a file, at least one, which may be empty; line ends may be those of Windows."""
    file = open_below(path, folder, PAGE_BYTES)
    if file is None:
        return [""]
    with file:
        return file.read(_HEAD).decode("utf-8", errors="replace").splitlines() or [""]


def _is_marked(path: Path, lines: list[str]) -> bool:
    if path.suffix == ".json":
        beginning = [*lines[: len(_JSON)], *[""] * len(_JSON)]
        return all(line.startswith(start) for line, start in zip(beginning, _JSON, strict=False))
    return lines[0] == _FIRST_LINES.get(path.suffix)


def _first_protocol(lines: list[str]) -> str:
    """Return the protocol in the first row of a board's CSV; empty without one."""
    try:
        row = next(csv.reader(lines[1:2]), [])
    except csv.Error:
        return ""
    return row[1] if len(row) > 1 else ""
