"""The changelog of a leaderboard folder: one entry for every new state of a board, newest first.

The state before is read from the board's JSON page. An entry has no blank line and no line that another entry might
have too, so that git merges two new entries one after the other. Older entries are never rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from benchmark.errors import UserError
from benchmark.files.plain import read_below
from benchmark.leaderboard.board.state import BoardState
from benchmark.leaderboard.formats import markdown
from benchmark.leaderboard.history.changes import changes, read_page
from benchmark.leaderboard.pages.json_file import to_json
from benchmark.leaderboard.pages.own_pages import CONFLICT, PAGE_BYTES

CHANGELOG = "CHANGELOG.md"
_MARKER = "<!-- `python -m benchmark leaderboard` adds entries at the top; older ones are never rewritten. -->"
_HEADER = (
    f"{_MARKER}\n\n# Changes of the boards\n\n"
    "Every new state of a board: rows that were added, removed or changed, and ranks that moved, with the reason. The "
    "date is that of the board's newest result; the digits identify the state, as in its JSON page.\n\n"
)
_NO_ROWS = "no rows"
_HEADING = re.compile(r"## (\d{4}-\d\d-\d\d) (\S+) (state [0-9a-f]{12}|no rows)")


def changelog_page(folder: Path, states: Mapping[str, BoardState]) -> str:
    """Return the changelog with an entry for every board whose newest entry is of another state.

    Args:
        folder: has the changelog and the pages as they are.
        states: of all boards, by protocol.

    Raises:
        UserError: if there is a file of that name that is no such changelog.
    """
    lines = [line for line in read_changelog(folder).splitlines() if not CONFLICT.fullmatch(line)]
    first = next((number for number, line in enumerate(lines) if line.startswith("## ")), len(lines))
    newest = _newest(lines)
    entries: list[str] = []
    for protocol in sorted({*states, *newest}):
        date, name = newest.get(protocol, ("", _NO_ROWS))
        state = states.get(protocol)
        if state is not None and name != f"state {state.short}":
            texts = _entry(folder, state, is_first=name == _NO_ROWS)
            entries += [f"## {state.date} {protocol} state {state.short}", *(f"- {text}" for text in texts)]
        elif state is None and name != _NO_ROWS:
            entries += [f"## {date} {protocol} {_NO_ROWS}", f"- All records of {markdown(protocol)} were removed."]
    return _HEADER + "".join(f"{line}\n" for line in [*entries, *lines[first:]])


def read_changelog(folder: Path) -> str:
    """Return the changelog of a folder as it is, or the header of a new one.

    Raises:
        UserError: if there is something else of that name, or a link.
    """
    path = folder / CHANGELOG
    content = read_below(path, folder, PAGE_BYTES)
    if content is None:
        return _HEADER
    text = content.decode("utf-8", errors="replace").replace("\r\n", "\n")
    if _MARKER not in text:
        raise UserError(f"{path} is not the changelog of the boards; move it, or give --out another folder")
    return text


def missing_entries(current: str, text: str) -> str:
    """Return what is wrong with a changelog that should be another text, as the end of a sentence."""
    newest = _newest(current.splitlines())
    needed = _newest(text.splitlines())
    missing = [f"{protocol}, {entry[1]}" for protocol, entry in needed.items() if newest.get(protocol) != entry]
    return f"has no entry for {' and '.join(missing)}" if missing else "has an edited header or merge conflict markers"


def _newest(lines: list[str]) -> dict[str, tuple[str, str]]:
    """Return date and state in the newest entry of each board."""
    headings = [heading for line in lines if (heading := _HEADING.fullmatch(line))]
    return {heading[2]: (heading[1], heading[3]) for heading in reversed(headings)}


def _entry(folder: Path, state: BoardState, *, is_first: bool) -> list[str]:
    """Return the lines of an entry: what changed since the page in the folder."""
    page = read_below(folder / f"{state.board.protocol}.json", folder, PAGE_BYTES) or b""
    if before := read_page(page.decode("utf-8", errors="replace")):
        return changes(before, read_page(to_json(state)))
    count, refused = len(state.board.rows), len(state.board.refused)
    rows = f"state {state.short}: {count} row{'' if count == 1 else 's'}{f', {refused} refused' if refused else ''}"
    if is_first:
        return [f"First {rows}."]
    return [f"Unknown changes to {rows}. The page of the state before is missing or damaged."]
