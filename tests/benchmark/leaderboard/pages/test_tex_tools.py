"""The programs that LaTeX and BibTeX pages are for read them: pdflatex, where one is installed, and pybtex."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from pybtex.database import parse_string

from benchmark.leaderboard.board.state import state_of
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.pages.bibtex import to_bibtex
from benchmark.leaderboard.pages.latex import to_latex

ROOT = Path(__file__).resolve().parents[4]
PDFLATEX = shutil.which("pdflatex")
EVIL = "a\\b{c}$d$&e#f^g_h~i%j<k>l|m\"n`o'p[q]*r--s\x1b\n☃é± \\input{x} @misc{y, z={"
# Booktabs is not in every small installation of TeX; its rules are plain lines then.
DOCUMENT = r"""
\documentclass{article}
\IfFileExists{booktabs.sty}{\usepackage{booktabs}}{\let\toprule\hline\let\midrule\hline\let\bottomrule\hline}
\begin{document}
%s
\end{document}
"""


@pytest.fixture(scope="module")
def state(make_record):
    """Return the state of a board of two presets and two rows, one of them full of characters that TeX reads."""
    hostile = {
        "method__name": EVIL,
        "method__objective": EVIL,
        "architecture__name": EVIL,
        "method__options": {EVIL: EVIL},
    }
    (board,) = boards([make_record(**hostile), make_record(method="hydra", preset="own")]).values()
    return state_of(board, {(board.protocol, run): "0" * 64 for row in board.rows for run in row.runs})


def committed(ending):
    """Return the committed pages of a kind."""
    return sorted((ROOT / "leaderboards").glob(f"*.{ending}"))


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex is installed (Debian: texlive-latex-base)")
def test_pdflatex_sets_committed_pages_and_hostile_text(state, tmp_path):
    text = "\n".join([to_latex(state), *(page.read_text(encoding="utf-8") for page in committed("tex"))])
    (tmp_path / "page.tex").write_text(DOCUMENT % text, encoding="utf-8")

    command = [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")

    assert done.returncode == 0, done.stdout[-2000:]
    assert "undefined" not in done.stdout and "Missing character" not in done.stdout


def test_pybtex_reads_every_entry(state):
    for text in [to_bibtex(state), *(page.read_text(encoding="utf-8") for page in committed("bib"))]:
        database = parse_string(text, "bibtex")

        assert len(database.entries) == text.count("\n@") >= 5
        assert all({"author", "title"} <= {*entry.persons, *entry.fields} for entry in database.entries.values())
        people = database.entries["liu2022robust"].persons["author"]
        assert [str(person) for person in people][2] == r"S{\"{u}}sstrunk, Sabine" and len(people) == 4
