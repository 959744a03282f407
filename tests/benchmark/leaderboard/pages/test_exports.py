"""JSON, LaTeX and BibTeX: a table can be made again from the JSON, and foreign text stays text in TeX."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from benchmark.leaderboard.board.state import state_of
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.formats import tex
from benchmark.leaderboard.history.changes import read_page
from benchmark.leaderboard.pages.bibtex import to_bibtex
from benchmark.leaderboard.pages.json_file import to_json
from benchmark.leaderboard.pages.latex import to_latex
from benchmark.results.store import load_hashed_records, save_record

EVIL = "a\\b{c}$d$&e#f^g_h~i%j<k>l|m\"n`o'p[q]*r--s\x1b\n\u2603é± \\input{x}"


def state(*records, digest="0"):
    (board,) = boards(records).values()
    return state_of(board, {(record.protocol, record.run): digest * 64 for record in records})


def test_the_json_holds_every_row_on_a_line_of_its_own(make_record):
    records = [make_record(seed=0), make_record(seed=1, right=(82, 52, 46)), make_record(method="at")]
    records.append(make_record(method="masked", right=(80, 45, 46)))
    text = to_json(state(*records))
    page = json.loads(text)

    assert [(row["rank"], row["tie"], row["method"], len(row["seeds"])) for row in page["rows"]] == [
        (1, 1, "edge_popup", 2),
        (2, 1, "at", 1),
    ]
    first = page["rows"][0]
    assert (first["robust"], first["robust_low"], first["robust_high"]) == (0.455, 0.36, 0.55)
    assert [row["reasons"][0][:18] for row in page["refused"]] == ["AutoAttack accurac"]
    lines = [line.rstrip(",") for line in text.splitlines() if line.startswith('{"kind"')]
    assert [json.loads(line) for line in lines] == page["rows"] + page["refused"]
    assert [row.id for row in read_page(text)] == [row["id"] for row in page["rows"] + page["refused"]]


def test_a_run_bears_the_sha256_of_its_records_file(make_record, tmp_path):
    path = save_record(make_record(), tmp_path)
    ((record, digest),) = load_hashed_records(tmp_path)
    page = json.loads(to_json(state_of(*boards([record]).values(), {(record.protocol, record.run): digest})))

    assert page["rows"][0]["seeds"][0]["record_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_hashed_records(tmp_path) == [(record, digest)], "as git checks it out on Windows"


def test_the_state_is_that_of_rows_records_ranks_and_challenges_alone(make_record):
    digest = state(make_record()).digest

    assert state(make_record(suite="other")).digest == digest, "the record's digest stands for its content"
    assert state(make_record(), digest="1").digest != digest
    assert state(make_record(preset="own")).digest != digest
    assert state(make_record(seed=1)).digest != digest
    assert state(make_record(), make_record(method="at")).digest != digest


def test_rows_whose_hashes_begin_alike_get_names_that_differ(make_record):
    def record(method, run_hash, right=(80, 50, 45)):
        run = f"cifar10/{method}/seed0-{run_hash[:6]}"
        return make_record(method=method, run=run, run_hash=run_hash, right=right)

    alike = [record("a", "3f9a1c000001"), record("b", "3f9a1c000002"), record("c", "aaaaaa000000")]
    copies = [record("d", "bbbbbb000000"), record("e", "bbbbbb000000")]
    refused = record("f", "aaaaaa000000", right=(80, 45, 46))
    (board,) = boards([*alike, *copies, refused]).values()

    assert {row.method: row.id for row in [*board.rows, *board.refused]} == {
        **{"a": "3f9a1c000001", "b": "3f9a1c000002", "c": "aaaaaa"},
        **{"d": "bbbbbb", "e": "bbbbbb-2", "f": "aaaaaa000000"},
    }


def unescaped(text):
    """Return the specials of TeX that are left when commands, escapes and groups are taken away."""
    text = re.sub(
        r"\\(textbackslash|textasciicircum|textasciitilde|textless|textgreater|textbar|char\d+)\{\}", "", text
    )
    text = re.sub(r"\$\\pm\$|\{\\[`'^~\"rvc]\{[A-Za-z]\}\}|\{[\[\]*]\}|\\[{}$&#_%]|\{\}", "", text)
    return re.findall(r"[\\{}$&#^_~%<>|\"`]", text)


def test_tex_leaves_no_special_of_foreign_text():
    assert unescaped(tex(EVIL)) == []
    assert tex("a_b & 50%") == r"a\_b \& 50\%"
    assert tex("Süß é ☃") == r"S{\"{u}}? {\'{e}} ?"
    assert tex("a---b''c") == "a-{}-{}-b'{}'c"
    assert tex(EVIL).isascii() and "\n" not in tex(EVIL)


@pytest.mark.parametrize("write", [to_latex, to_bibtex])
def test_foreign_text_breaks_no_tex_page(make_record, write):
    record = make_record(method__name=EVIL, method__objective=EVIL, architecture__name=EVIL)
    text = write(state(record, make_record(method="trades", method__objective="trades")))
    plain = re.sub(r"(?m)^%.*$", "", text).replace("\\{", "").replace("\\}", "")

    assert plain.isascii() and r"\input" not in plain
    depth = 0
    for char in plain:
        depth += {"{": 1, "}": -1}.get(char, 0)
        assert depth >= 0
    assert depth == 0


def test_every_line_of_a_latex_table_has_all_its_columns_and_only_known_commands(make_record):
    text = to_latex(state(make_record(method__name=EVIL), make_record(preset="own")))
    bodies = re.findall(r"\\begin\{tabular\}\{([lr]+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)

    assert len(bodies) == 2
    for columns, body in bodies:
        rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert [len(re.findall(r"(?<!\\)&", line)) + 1 for line in rows] == [len(columns)] * len(rows)
        assert len(rows) == 2
    commands = {"begin", "end", "toprule", "midrule", "bottomrule", "multicolumn", "emph", "pm", "char"}
    commands |= {"textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar"}
    body = re.sub(r"(?m)^%.*$", "", text)
    assert set(re.findall(r"\\([a-z]{2,})", body)) <= commands


@pytest.mark.parametrize(
    ("methods", "objective", "cited"),
    [
        (["at"], "pgd", set()),
        (["edge_popup", "hydra"], "trades", {"ramanujan2020whats", "sehwag2020hydra", "zhang2019theoretically"}),
        (["atmc"], "half_clean", {"gui2019model"}),
    ],
)
def test_a_board_cites_itself_the_suite_and_the_papers_that_apply(make_record, methods, objective, cited):
    found = state(*(make_record(method=name, method__objective=objective) for name in methods))
    text = to_bibtex(found)
    keys = re.findall(r"(?m)^@\w+\{([^,]+),$", text)

    always = {"liu2022robust", "croce2020reliable", "madry2018towards", "robust-compression-benchmark"}
    assert set(keys) == always | cited | {"board:cifar10-linf-8-255-aa-standard-100"} and len(set(keys)) == len(keys)
    assert found.digest in text and r"cifar10-linf-8\_255-aa-standard-100" in text and "2025-01-01" in text


def test_committed_pages_name_the_papers_with_their_authors():
    text = to_bibtex(state_of_committed())
    assert r"Liu, Chen and Zhao, Ziqi and S{\"{u}}sstrunk, Sabine and Salzmann, Mathieu" in text


def state_of_committed():
    """Return the state of the first committed board."""
    hashed = load_hashed_records(Path(__file__).parents[4] / "leaderboards")
    found = boards([record for record, _ in hashed])
    digests = {(record.protocol, record.run): digest for record, digest in hashed}
    return state_of(next(iter(found.values())), digests)
