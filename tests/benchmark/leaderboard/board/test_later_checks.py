"""Boards show the checks with the opponent's attacks, say where a row lacks them, and change by them alone."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import pytest

from benchmark.leaderboard.board.compare import compare_rows
from benchmark.leaderboard.board.loading import load_results
from benchmark.leaderboard.board.state import state_of
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.pages.csv_file import to_csv
from benchmark.leaderboard.pages.json_file import to_json
from benchmark.leaderboard.pages.latex import to_latex
from benchmark.leaderboard.pages.markdown import to_markdown
from benchmark.leaderboard.pages.terminal import to_terminal
from benchmark.leaderboard.render import check_pages, write_pages
from benchmark.leaderboard.site.pages import site_pages
from benchmark.results.rechecks import rechecked, save_rechecked
from benchmark.results.store import save_record
from benchmark.submission.placing import place

PROTOCOL = "cifar10-linf-8_255-aa-standard-100"
NOT_CHECKED = ("", "not checked", "", "not checked")


def board_of(records, rechecks=()):
    (board,) = boards(records, rechecks=rechecks).values()
    return board


def state(board):
    digests = {(board.protocol, run): "0" * 64 for row in (*board.rows, *board.refused) for run in row.runs}
    return state_of(board, digests)


@pytest.fixture
def mixed(make_record, make_rechecked):
    """Return a board of a row that was checked later, with doubts, and one that was not."""
    old, new = make_record(method="at", right=(80, 50, 40)), make_record(right=(80, 50, 45))
    return board_of([old, new], [make_rechecked(new, [0, 44, 3], hard_label="suspect")])


def test_each_format_says_which_rows_were_checked(mixed):
    first, second = mixed.rows
    assert (first.robust.mean, first.health, second.health) == (0.42, "suspect", "pass")

    markdown = to_markdown(mixed)
    assert (
        "| suspect | pass | suspect | 0.25 | size, passes |" in markdown
        and "| not checked | not checked | not checked |" in markdown
    )
    for column in ("*leaky BPDA*: Verdict on", "*hard label*: Verdict on", "*straight way*: A hint"):
        assert markdown.count(column) == 1
    lines = list(csv.DictReader(io.StringIO(to_csv(mixed))))
    names = ("hard_label", "hard_label_verdict", "straight_way", "straight_way_verdict")
    assert [tuple(line[name] for name in names) for line in lines] == [
        (str(3 / 45), "suspect", "0.25", "pass"),
        NOT_CHECKED,
    ]
    rows = json.loads(to_json(state(mixed)))["rows"]
    assert [[row[name] for name in names] for row in rows] == [
        [3 / 45, "suspect", 0.25, "pass"],
        [None, "not checked", None, "not checked"],
    ]
    latex = to_latex(state(mixed))
    assert "& suspect & pass & suspect & 0.25 &" in latex and "& not checked & not checked & not checked &" in latex
    assert "% hard label: Verdict on" in latex
    terminal = to_terminal(mixed)
    assert " suspect " in terminal and " pass* " in terminal
    assert "*: the opponent's attacks were not run" in " ".join(terminal.split())
    assert max(map(len, terminal.splitlines())) <= 118


def test_the_site_shows_them_with_their_origin(mixed):
    site = site_pages([mixed], [], [])
    page = site[f"site/{PROTOCOL}.html"]
    assert 'badge suspect">suspect' in page and page.count('badge not checked">not checked') == 3
    row, other = (site[f"site/rows/{PROTOCOL}/{each.id}.html"] for each in mixed.rows)
    assert "broke 3 of the images that survived all others" in row
    assert f'href="../../../checks/{PROTOCOL}/' in row and "recheck" not in row
    assert f"recheck {mixed.rows[1].id}" in other and "older than this check" in other


def test_a_failed_check_refuses_the_row_and_names_what_was_found(make_record, make_rechecked):
    record = make_record()
    board = board_of([record], [make_rechecked(record, [0], hard_label="fail")])
    assert board.rows == ()
    assert board.refused[0].reasons == ("gradient health, hard_label: Nothing was found.",)
    assert board.doubtful == board.refused


def test_a_row_is_checked_only_if_all_its_seeds_are(make_record, make_rechecked):
    seeds = [make_record(seed=seed) for seed in (0, 1)]
    one, both = [make_rechecked(seeds[0], [0])], [make_rechecked(record, [0]) for record in seeds]
    assert board_of(seeds, one).rows[0].opponent["hard_label"].verdict == "not checked"
    answer = board_of(seeds, both).rows[0].opponent["hard_label"]
    assert (answer.verdict, answer.value) == ("pass", 1 / 45)


def test_a_check_without_images_to_look_at_was_not_run(make_record, make_rechecked):
    record = make_record()
    checks = make_rechecked(record, [])
    idle = [check.model_copy(update={"verdict": "not run", "value": None}) for check in checks.checks]
    (row,) = board_of([record], [checks.model_copy(update={"checks": idle})]).rows
    answer = row.opponent["hard_label"]
    assert (answer.verdict, answer.value, row.health) == ("not run", None, "pass")


def test_checks_that_find_nothing_change_nothing_but_the_columns_and_the_state(make_record, make_rechecked):
    record = make_record()
    before, after = board_of([record]), board_of([record], [make_rechecked(record, [])])
    (old,), (new,) = before.rows, after.rows
    columns = {name: getattr(old, name) for name in ("opponent", "records")}
    assert replace(new, **columns) == old
    assert state(after).digest != state(before).digest
    assert state(after).date == "2026-01-02"


def test_the_changelog_reports_the_checks_and_what_they_changed(make_record, make_rechecked, tmp_path):
    record = make_record()
    save_record(record, tmp_path)
    write_pages(tmp_path)
    save_rechecked(make_rechecked(record, [0, 1]), tmp_path)
    assert any(problem.startswith("CHANGELOG.md has no entry for") for problem in check_pages(tmp_path))

    write_pages(tmp_path)

    assert check_pages(tmp_path) == []
    text = (tmp_path / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.split(r"(?m)^## ", text)[1]
    assert newest.startswith("2026-01-02 ")
    assert "opponent's checks added for seed 0; robust 45.00 to 43.00." in newest
    assert "opponent's checks" not in re.split(r"(?m)^## ", text)[2]


def test_compare_says_where_only_one_row_met_the_attack(make_record, make_rechecked):
    a, b = make_record(), make_record(method="at")
    (checked,) = rechecked([a], [make_rechecked(a, [0])])
    assert "The opponent's attacks were run on B and not on A" in compare_rows([b], [checked]).text
    assert "The opponent's attacks" not in compare_rows([a], [b]).text


def test_a_submission_is_placed_among_the_rows_as_they_were_checked(make_record, make_rechecked, tmp_path):
    other = make_record(method="at", right=(80, 50, 45))
    save_record(other, tmp_path)
    save_rechecked(make_rechecked(other, [0, 1]), tmp_path)

    placement = place(make_record(right=(80, 50, 44)), tmp_path)

    assert (placement.row.rank, placement.rivals) == (1, 2)
    (results,) = load_results(tmp_path).boards.values()
    assert results.rows[0].robust.mean == 0.43
