"""The markers between which a README holds tables of a leaderboard folder. Standard library only.

`<!-- begin table: leaderboards PROTOCOL -->` and `<!-- end table -->` for the best rows of a board, `begin claims` for
the questions to it that are answered; the first word is the folder's name.
"""

from __future__ import annotations

import re

BEGIN = re.compile(r"<!-- begin (table|claims): (\S+) (\S+) -->")
END = "<!-- end table -->"


def split_tables(text: str, folder: str) -> tuple[str, str]:
    r"""Return what a README says itself, and the tables of a folder with their markers.

    >>> split_tables("a\n<!-- begin table: boards x -->\n1\n<!-- end table -->\nb\n", "boards")
    ('a\nb\n', '<!-- begin table: boards x -->\n1\n<!-- end table -->\n')
    """
    parts: dict[bool, list[str]] = {False: [], True: []}
    within = False
    for line in text.splitlines(keepends=True):
        begin = BEGIN.fullmatch(line.strip())
        within = within or (begin is not None and begin[2] == folder)
        parts[within].append(line)
        within = within and line.strip() != END
    return "".join(parts[False]), "".join(parts[True])
