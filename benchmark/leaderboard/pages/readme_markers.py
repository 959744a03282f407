"""The markers between which a README holds tables of a leaderboard folder. Standard library only.

`<!-- begin table: leaderboards PROTOCOL -->` and `<!-- end table -->` for the best rows of a board, `begin claims` for
the questions to it that are answered; the first word is the folder's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

BEGIN = re.compile(r"<!-- begin (table|claims): (\S+) (\S+) -->")
END = "<!-- end table -->"


def segments(text: str, folder: str) -> Iterator[tuple[re.Match[str] | None, str]]:
    """Yield a README in parts: what it says itself, and the tables of a folder with their markers.

    Beside each part is the match of its first marker, None where the README speaks itself. A table without an end goes
    on to the end of the text.
    """
    begin: re.Match[str] | None = None
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        match = BEGIN.fullmatch(line.strip())
        if begin is None and match is not None and match[2] == folder:
            yield None, "".join(lines)
            begin, lines = match, []
        lines.append(line)
        if begin is not None and line.strip() == END:
            yield begin, "".join(lines)
            begin, lines = None, []
    yield begin, "".join(lines)


def split_tables(text: str, folder: str) -> tuple[str, str]:
    r"""Return what a README says itself, and the tables of a folder with their markers.

    >>> split_tables("a\n<!-- begin table: boards x -->\n1\n<!-- end table -->\nb\n", "boards")
    ('a\nb\n', '<!-- begin table: boards x -->\n1\n<!-- end table -->\n')
    """
    parts: dict[bool, list[str]] = {False: [], True: []}
    for begin, part in segments(text, folder):
        parts[begin is not None].append(part)
    return "".join(parts[False]), "".join(parts[True])
