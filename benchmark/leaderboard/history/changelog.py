"""The changelog of a leaderboard folder: one entry for every new state of a board, newest first.

What was there before is read from the board's JSON page, which a merge may have left with the lines of both sides. An
entry has no blank line and no line that another entry might have too: git then merges two new entries to one after the
other. Older entries are never rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from benchmark.errors import UserError
from benchmark.files.plain import read_below
from benchmark.leaderboard.board.state import BoardState
from benchmark.leaderboard.formats import markdown
from benchmark.leaderboard.history.changes import changes
from benchmark.leaderboard.history.previous_page import read_page
from benchmark.leaderboard.pages.json_file import to_json
from benchmark.leaderboard.pages.own_pages import CONFLICT, PAGE_BYTES

CHANGELOG = "CHANGELOG.md"
_MARKER = "<!-- `python -m benchmark leaderboard` adds entries at the top; older ones are never rewritten. -->"
_HEADER = (
    f"{_MARKER}\n\n# Changes of the boards\n\n"
    "Every new state of a board: rows that came, went or changed, and ranks that moved, with the reason. A date is "
    "that of the board's newest result; the digits name the state, as in its JSON page.\n\n"
)
_GONE = "no rows"
_ENTRY = re.compile(r"## \d{4}-\d\d-\d\d (\S+) (state [0-9a-f]{12}|no rows)")


def changelog_page(folder: Path, states: Mapping[str, BoardState]) -> str:
    """Return the changelog with an entry for every board whose state it does not tell yet.

    Args:
        folder: has the changelog and the pages as they are.
        states: of all boards, by protocol.

    Raises:
        UserError: if there is a file of that name that is no such changelog.
    """
    current = read_changelog(folder)
    lines = [line for line in current.splitlines() if not CONFLICT.fullmatch(line)]
    first = next((number for number, line in enumerate(lines) if line.startswith("## ")), len(lines))
    told = _newest(lines)
    entries: list[str] = []
    for protocol in sorted({*states, *told}):
        state = states.get(protocol)
        if told.get(protocol, _GONE) != (_GONE if state is None else f"state {state.short}"):
            entries += _entry(folder, protocol, state, lines)
    return _HEADER + "".join(f"{line}\n" for line in [*entries, *lines[first:]])


def read_changelog(folder: Path) -> str:
    """Return the changelog of a folder as it is, or the head of a new one.

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
    """Say what is wrong with a changelog that should read otherwise."""
    told, needed = _newest(current.splitlines()), _newest(text.splitlines())
    missing = [f"{protocol}, {what}" for protocol, what in needed.items() if told.get(protocol) != what]
    return f"has no entry for {' and '.join(missing)}" if missing else "has an edited head, or marks of a merge"


def _newest(lines: list[str]) -> dict[str, str]:
    """Return what the newest entry of each board says its state is."""
    told: dict[str, str] = {}
    for line in lines:
        if found := _ENTRY.fullmatch(line):
            told.setdefault(found[1], found[2])
    return told


def _entry(folder: Path, protocol: str, state: BoardState | None, lines: list[str]) -> list[str]:
    if state is None:
        dates = [line.split()[1] for line in lines if (found := _ENTRY.fullmatch(line)) and found[1] == protocol]
        return [f"## {dates[0]} {protocol} {_GONE}", f"- All records of {markdown(protocol)} are gone."]
    page = folder / f"{protocol}.json"
    before = read_page((read_below(page, folder, PAGE_BYTES) or b"").decode("utf-8", errors="replace"))
    refused = f", {len(state.board.refused)} refused" if state.board.refused else ""
    rows = f"state {state.short}: {len(state.board.rows)} rows{refused}"
    if before.rows:
        told = changes(before, read_page(to_json(state)))
    elif _newest(lines).get(protocol, _GONE) != _GONE:
        told = [f"Unknown how it came to {rows}. The page that told the state before was missing or damaged."]
    else:
        told = [f"First {rows}."]
    return [f"## {state.date} {protocol} state {state.short}", *(f"- {line}" for line in told)]
