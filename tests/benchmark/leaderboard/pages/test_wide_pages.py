"""Accuracy on more images than the protocol's: on pages where some row has it, in `compare`, and nowhere else."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from benchmark.leaderboard.board.claims import Claim, answers
from benchmark.leaderboard.board.compare import compare_rows
from benchmark.leaderboard.board.conclusion import p_text
from benchmark.leaderboard.board.state import state_of
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.pages.claims import claims_page
from benchmark.leaderboard.pages.json_file import to_json
from benchmark.leaderboard.pages.latex import to_latex
from benchmark.leaderboard.render import to_csv, to_markdown
from benchmark.leaderboard.site.pages import site_pages
from benchmark.results.statistics import mcnemar, seed_bootstrap, wilson
from benchmark.results.verdicts import pack_verdicts

HEADING = "## Clean and PGD accuracy on more images"


@pytest.fixture
def make(make_record):
    """Return a maker of records, right on 80 and robust on 50 of 100 images, and on the first of 300 further ones."""

    def make(further=(240, 150), *, held=None, sha="f" * 64, **changes):
        bits = {
            name: [place < protocol for place in range(100)] + [place < more for place in range(300)]
            for name, protocol, more in zip(("clean", "pgd"), (80, 50), further, strict=True)
        }
        if held is not None:
            bits["pgd"][100:] = [place in held for place in range(300)]
        wide = {
            "n_images": 400,
            "test_sha256": sha,
            **{f"{name}_accuracy": sum(right) / 400 for name, right in bits.items()},
            "verdicts": {name: pack_verdicts(right) for name, right in bits.items()},
        }
        return make_record(evaluation__wide=wide, **changes)

    return make


def board_of(*records):
    (board,) = boards(records).values()
    return board


def state(board):
    rows = (*board.rows, *board.refused)
    return state_of(board, {(board.protocol, run): "0" * 64 for row in rows for run in row.runs})


def ends(low, high):
    return f"{100 * low:.2f} to {100 * high:.2f}"


def test_pages_without_further_images_do_not_speak_of_them(make_record):
    board = board_of(make_record(), make_record(method="at"))
    pages = [to_markdown(board), to_csv(board), to_json(state(board)), *site_pages([board], [], []).values()]

    assert not any(mark in page for page in pages for mark in ("wide_", "More images", "more images", HEADING))


def test_markdown_has_a_table_of_the_rows_that_have_them(make, make_record):
    text = to_markdown(board_of(make(), make_record(method="at")))

    section = text.split(HEADING)[1].split("\n## ")[0]
    (line,) = (line for line in section.splitlines() if line.startswith("| [3f9a1c"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[8:] == ["1", "400", "80.00", ends(*wilson(320, 400)), "50.00", ends(*wilson(200, 400))]


def test_seeds_are_aggregated_like_the_others(make):
    a, b = make(seed=0), make((270, 210), seed=1)
    (row,) = board_of(a, b).rows

    assert (row.wide.n_images, row.wide.clean.mean, row.wide.pgd.mean) == (400, 0.8375, 0.575)
    assert row.wide.pgd.std == pytest.approx(0.15 / 2**0.5)
    assert row.wide.pgd_interval == seed_bootstrap([each.evaluation.wide.right("pgd") for each in (a, b)])
    assert row.wide.clean_interval == seed_bootstrap([each.evaluation.wide.right("clean") for each in (a, b)])


def test_a_row_needs_all_its_seeds_on_the_same_images(make, make_record):
    for other in (make_record(seed=1), make(seed=1, sha="e" * 64)):
        (row,) = board_of(make(), other).rows
        assert row.wide is None and len(row.seeds) == 2


def test_no_rank_depends_on_them(make, make_record):
    plain = board_of(make_record(), make_record(method="at", right=(80, 50, 46)))
    wide = board_of(make((300, 300)), make((80, 0), method="at", right=(80, 50, 46)))

    assert [(row.method, row.rank, row.tie) for row in wide.rows] == [
        (row.method, row.rank, row.tie) for row in plain.rows
    ]
    assert wide.rows[0].wide.pgd.mean < wide.rows[1].wide.pgd.mean


def test_csv_and_json_hold_means_intervals_and_the_number_of_images(make, make_record):
    board = board_of(make(), make_record(method="at"))
    low, high = wilson(200, 400)

    lines = {line["method"]: line for line in csv.DictReader(io.StringIO(to_csv(board)))}
    rows = {row["method"]: row for row in json.loads(to_json(state(board)))["rows"]}

    line = lines["edge_popup"]
    assert (line["wide_images"], line["wide_clean"], line["wide_pgd"]) == ("400", "0.8", "0.5")
    assert (line["wide_pgd_std"], line["wide_pgd_low"], line["wide_pgd_high"]) == ("", str(low), str(high))
    assert lines["at"]["wide_images"] == lines["at"]["wide_pgd"] == ""
    keys = ("wide_images", "wide_clean", "wide_pgd", "wide_pgd_std", "wide_pgd_low", "wide_pgd_high")
    assert [rows["edge_popup"][key] for key in keys] == [400, 0.8, 0.5, None, low, high]
    assert {rows["at"][key] for key in keys} == {None}


def test_the_rows_page_shows_them_and_latex_does_not(make):
    board = board_of(make())
    (page,) = (text for path, text in site_pages([board], [], []).items() if path.startswith("site/rows/"))

    assert "<dt>More images</dt><dd>400 test images, which no rank depends on: clean 80.00% (95% " in page
    assert f"PGD 50.00% (95% {ends(*wilson(200, 400))})" in page
    assert "On 400 images, of which these are the first: clean 80.00, PGD 50.00." in page
    assert "wide" not in to_latex(state(board)) and "400" not in to_latex(state(board))


def test_compare_tests_pgd_on_the_further_images_too(make):
    a, b = make(held=range(200)), make(held=range(100, 220), method="at")
    test = mcnemar(a.evaluation.wide.right("pgd"), b.evaluation.wide.right("pgd"))
    assert (test.only_a, test.only_b) == (100, 20)

    text = compare_rows([a], [b]).text

    block = next(" ".join(block.split()) for block in text.split("\n\n") if block.startswith("PGD on"))
    assert block == (
        f"PGD on 400 images, percent correct: A 62.50 ({ends(*wilson(250, 400))}), "
        f"B 42.50 ({ends(*wilson(170, 400))}). "
        f"A is better: 100 images robust for A only, 20 for B only; exact McNemar p = {p_text(test.p_value)}."
    )
    last = " ".join(text.split("\n\n")[-1].split())
    assert last == (
        "No real difference shown: 0 images robust for A only, 0 for B only; exact McNemar p = 1; both are robust "
        "on equally many."
    )
    assert max(len(line) for line in text.splitlines()) <= 118


def test_compare_pools_seeds_of_the_further_images(make):
    a = [make(held=range(200), seed=seed) for seed in (0, 1)]
    b = [make(held=range(150), seed=0, method="at"), make(held=range(201), seed=1, method="at")]

    block = next(block for block in compare_rows(a, b).text.split("\n\n") if block.startswith("PGD on"))

    pooled = [np.concatenate([record.evaluation.wide.right("pgd") for record in row]) for row in (a, b)]
    assert (mcnemar(*pooled).only_a, mcnemar(*pooled).only_b) == (50, 1)
    assert (
        "A leads, but its seeds overlap with B's: 50 pairs of image and seed robust for A only, 1 for B only"
        in " ".join(block.split())
    )


def test_compare_is_silent_unless_all_records_have_them_on_the_same_images(make, make_record):
    lacking = [[make_record(method="at")], [make(method="at", sha="e" * 64)]]
    lacking.append([make(method="at"), make_record(method="at", seed=1)])

    assert not any("PGD on" in compare_rows([make(), make(seed=1)], row).text for row in lacking)


def test_a_question_may_be_answered_by_pgd_on_more_images(make, make_record):
    asked = Claim(question="Better?", protocol="any", a="edge_popup", b="at", measure="wide_pgd")

    def answer(*records):
        board = board_of(*records)
        (found,) = answers([asked.model_copy(update={"protocol": board.protocol})], {board.protocol: board})
        return found

    found = answer(make((300, 180)), make((300, 150), method="at"))

    assert (found.test.only_a, found.test.only_b, found.verdict) == (30, 0, "yes")
    page = claims_page([found], [])
    (line,) = (line for line in page.splitlines() if line.startswith("| Better? |"))
    assert "| PGD | 57.50 | 50.00 | +7.50 |" in line and line.endswith("| 1 | 400 |")
    short_of_images = answer(make((300, 180)), make_record(method="at"))
    assert short_of_images.verdict == "not measured" and "evaluation.pgd.images" in short_of_images.missing
