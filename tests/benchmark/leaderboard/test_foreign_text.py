"""Hostile texts in every medium a board is written in: each has one door, and nothing that acts comes through."""

from __future__ import annotations

import csv
import io
import re
import runpy
from pathlib import Path

import pytest

from benchmark.leaderboard.board.compare import compare_rows
from benchmark.leaderboard.board.state import state_of
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.pages.bibtex import to_bibtex
from benchmark.leaderboard.pages.csv_file import to_csv
from benchmark.leaderboard.pages.json_file import to_json
from benchmark.leaderboard.pages.latex import to_latex
from benchmark.leaderboard.pages.markdown import to_markdown
from benchmark.leaderboard.pages.terminal import to_terminal
from benchmark.leaderboard.site.pages import site_pages
from benchmark.results.record import Record

# Test folders are no packages (importmode=importlib), hence no import.
_shared = runpy.run_path(str(Path(__file__).parents[1] / "results" / "conftest.py"))
record_fields, health = _shared["record_fields"], _shared["health_fields"]

HOSTILE = (
    *("https://evil.example/x", "ftp://evil.example", "www.evil.example", "mail me@evil.example", "mailto:me@evil"),
    *("$x^2$", "$$y$$", "__bold__", "_it_", "~~gone~~", "**b**", "*i*", "`code`", ":smile:", "@user", "#12", "a/b#4"),
    *("[a](javascript:alert(1))", "![x](y)", "[^1]", "# head", "- item", "+ item", "1. one", "12) two", "> quote"),
    *("a|b", "a\\|b", "<script>alert(1)</script>", "&lt;b&gt;", "<!-- x", "a\n\n# b", "    code", "---"),
    *(
        "\uff1cscript\uff1e",
        "\uff3f\uff3fx\uff3f\uff3f",
        "\uff57\uff57\uff57\uff0eevil.example",
        "a\uff5cb",
        "\uff04x\uff04",
        "\uff20user",
        "\ufe5f12",
    ),
    *(
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\uff1d1+1",
        "\uff0b1",
        "\uff0d1",
        "\uff20x",
        "\ufe621",
        " =1",
        "\t=1",
        "\r=1",
        "'=1",
        '"=1',
    ),
    *("\\input{x}", "a % b", "{}", "^^5c", "~", "\x1b[2J", "\x9b2J", "a\u202eb", "a\u200bb", "a\u3164b", "a\ufe0fb"),
)
# What still acts in GitHub Markdown once entities and the comments between are taken for text.
ACTIVE = re.compile(
    r"[*`~$\[\]<>|\\]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|://|www\.|mailto:|@\w|#\w|:[\w+-]+:|^(?:[-+#=>]\s|\d+[.)]\s)"
)


@pytest.fixture(scope="module")
def board():
    """Return a board with a row for each text, in its options, objective and deviations, and a refused one."""
    records = []
    for number, text in enumerate(HOSTILE):
        digits = f"{number:06x}000000"
        record = record_fields(run=f"cifar10/r{number}/seed0-{digits[:6]}", run_hash=digits, right=(90, 50, 40))
        record["method"] |= {"deviations": [text], "options": {"x": text}, "objective": text}
        records.append(Record(**record))
    doubtful = health(reason=" ".join(HOSTILE), verdict="fail", name="unbounded")
    refused = record_fields(method="refused", evaluation__health=doubtful)
    (board,) = boards([*records, Record(**refused)]).values()
    assert len(board.rows) == len(HOSTILE) and len(board.refused) == 1
    return board


@pytest.fixture(scope="module")
def state(board):
    """Return the state of the board."""
    rows = (*board.rows, *board.refused)
    return state_of(board, {(board.protocol, run): "0" * 64 for row in rows for run in row.runs})


def test_markdown_links_names_and_formulas_stay_text(board):
    page = to_markdown(board)
    notes = re.findall(r"(?m)^\d+\. (.*)$", page[page.index("## Deviations") :])
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if re.match(r"\| \d+ \| \d+ \| \[0", line)]
    assert len(notes) == len({*HOSTILE}) and len({len(row) for row in rows}) == 1
    options = [re.search(r"</sup> \((x=.*)\)$", row[3]) for row in rows]
    for shown in [*notes, *(match[1] for match in options if match)]:
        assert not ACTIVE.search(re.sub(r"&#\d+;|<!-- -->", "·", shown)), shown
    assert len([match for match in options if match]) == len(HOSTILE)


def test_csv_cells_are_no_formulas(board):
    texts = [cell for row in csv.DictReader(io.StringIO(to_csv(board))) for cell in (row["note"], row["objective"])]
    assert len(texts) == 2 * len(board.rows) + 2
    for cell in texts:
        assert not re.match(r"[\s'\"]*[=+@-]", cell) or cell.startswith("'")
        assert not re.search(r"[\uff1d\uff0b\uff0d\uff20\ufe62\r\n\t]", cell)


@pytest.mark.parametrize("write", [to_latex, to_bibtex])
def test_tex_is_plain_ascii(state, write):
    page = write(state)
    assert page.isascii() and page.replace("\n", "").isprintable()
    assert r"\input" not in page and "^^" not in page


def test_pages_and_terminals_hold_no_hidden_character(board, state):
    record = board.rows[0].records
    texts = [to_markdown(board), to_csv(board), to_json(state), to_terminal(board), compare_rows(record, record).text]
    for page in [*texts, *site_pages([board], [], []).values()]:
        assert page.replace("\n", "").isprintable()
        assert not re.search("[\u3164\ufe0f]", page)
