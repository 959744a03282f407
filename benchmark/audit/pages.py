"""The pages of a board under audit: all must follow from the records, and the changelog also from the one before."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmark.audit.changes import History
from benchmark.audit.places import place_of
from benchmark.errors import UserError
from benchmark.files.plain import read_plain
from benchmark.leaderboard.history.changelog import CHANGELOG
from benchmark.leaderboard.render import changelog_from, inspect_pages
from benchmark.submission.report import Report

MAX_PAGE = 2**27  # bytes


def audit_pages(board: Path, history: History | None, report: Report) -> None:
    """Check every page, and the changelog against its state at a commit if one is given."""
    try:
        made, problems = inspect_pages(board)
        problems += [f"{name} is not a page of this board" for name in _pages(board) if name not in made]
        report.note("pages", problems, "they agree with their records")
        if history is not None and not problems:
            _audit_changelog(board, history, report)
    except UserError as error:
        report.note("pages", [str(error)])


def _pages(board: Path) -> Iterator[str]:
    """Yield the names of all files in the places of pages."""
    for path in sorted([*board.glob("*"), *(board / "site").rglob("*")]):
        name = path.relative_to(board).as_posix()
        if path.is_file() and place_of(name) == "page":
            yield name


def _audit_changelog(board: Path, history: History, report: Report) -> None:
    """Make the changelog again from the pages at the commit."""
    before = history.content(CHANGELOG)
    now = read_plain(board / CHANGELOG, MAX_PAGE)
    if now == before:
        return
    with tempfile.TemporaryDirectory() as name:
        previous = Path(name)
        for page in history.names():
            if "/" not in page and page.endswith((".json", CHANGELOG)):
                (previous / page).write_bytes(history.content(page) or b"")
        made = changelog_from(previous, board)
    if now == made.encode():
        report.note(CHANGELOG, [], "its new entries follow from the records")
    elif before is not None and not set(_entries(before)) <= set(_entries(now or b"")):
        report.note(CHANGELOG, ["older entries were removed or edited"])
    else:
        report.leave(
            CHANGELOG,
            "it has entries for several states, or entries that this change does not explain; review them by hand",
        )


def _entries(content: bytes) -> list[bytes]:
    return content.replace(b"\r\n", b"\n").split(b"\n## ")[1:]
