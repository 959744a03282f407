"""What to cite for a board, as BibTeX: the board itself, the suite, the paper, and the methods and attacks on it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.state import BoardState
from benchmark.leaderboard.formats import GENERATED, tex

BIBTEX_MARKER = f"% {GENERATED}"
_SUITE = "The robust-compression-benchmark authors"
_PAPERS = Path(__file__).parent / "templates" / "papers.bib"
# Publications by their keys in papers.bib. Every board is attacked with PGD and AutoAttack.
_ALWAYS = ("liu2022robust", "croce2020reliable", "madry2018towards")
_METHODS = {
    "edge_popup": "ramanujan2020whats",
    "hydra": "sehwag2020hydra",
    "atmc": "gui2019model",
    "rst": "fu2021drawing",
}
_OBJECTIVES = {"trades": "zhang2019theoretically"}


def to_bibtex(state: BoardState) -> str:
    """Return the entries that whoever quotes the board should cite."""
    board = state.board
    entries = [
        _entry(
            f"board:{re.sub(r'[^A-Za-z0-9.+-]', '-', board.protocol)}",
            author=f"{{{tex(_SUITE)}}}",
            title=f"{{Board {tex(board.protocol)}}}",
            howpublished="Leaderboard of the Robust compression benchmark",
            year=state.date[:4],
            note=f"{len(board.rows)} rows; newest result of {tex(state.date)}; state {state.digest}",
        ),
        _entry(
            "robust-compression-benchmark",
            author=f"{{{tex(_SUITE)}}}",
            title="{Robust compression benchmark}",
            howpublished="Software",
        ),
    ]
    methods, objectives = {row.method for row in board.rows}, {row.objective for row in board.rows if row.objective}
    cited = {*_ALWAYS, *(_METHODS.get(name) for name in methods), *(_OBJECTIVES.get(name) for name in objectives)}
    entries += [entry for key, entry in _papers().items() if key in cited]
    entries += [_publication(row) for row in board.rows if row.citation is not None]
    return "\n\n".join([BIBTEX_MARKER, *entries]) + "\n"


@cache
def _papers() -> dict[str, str]:
    """Return the entries of papers.bib by key, in its order."""
    entries = _PAPERS.read_text(encoding="utf-8").strip().split("\n\n")[1:]  # a comment comes first
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in entries}


def _publication(row: Row) -> str:
    """Return the entry of the publication about a row's network, from the file beside its record."""
    citation = row.citation
    assert citation is not None
    fields = {
        "author": " and ".join(f"{{{tex(name)}}}" for name in citation.authors),
        "title": f"{{{tex(citation.title)}}}",
        "year": str(citation.year),
        **({} if citation.venue is None else {"howpublished": tex(citation.venue)}),
        **({} if citation.link is None else {"url": citation.link.replace("%", r"\%")}),
        "note": f"row {row.id}",
    }
    return _entry(f"row:{row.id}", **fields)


def _entry(key: str, **fields: str) -> str:
    lines = [f"  {name:<12} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@misc{{{key},", *lines, "}"])
