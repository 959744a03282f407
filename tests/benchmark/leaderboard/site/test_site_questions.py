"""The page of questions tells each answer with its test and its rows, and the paper's ranking beside a board's."""

from __future__ import annotations

import dataclasses

from benchmark.leaderboard.board.claims import Claim, RankingSpec, answers
from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.paper.ranking import PaperRanking
from benchmark.leaderboard.site.pages import site_pages

PAGE = "site/questions.html"
PROTOCOL = "cifar10-linf-8_255-aa-standard-100"


def page_of(records, *asked, rankings=()):
    all_boards = boards(records)
    claims = [Claim(question="Is A ahead?", protocol=PROTOCOL, a=a, b=b) for a, b in asked]
    return site_pages(list(all_boards.values()), [], [], answers(claims, all_boards), rankings)[PAGE]


def test_an_answer_stands_in_the_table_and_with_its_rows(records, parsed):
    page = page_of(records, ("resnet34-lbn/a", "resnet34-lbn/c"))
    texts = "".join(parsed(page).texts)

    # Seeds 46 and 44 of 100 against the one seed of the other row, which holds 20; the first of either are paired.
    assert "yesrobust46.0020.00+26.00" in texts.replace("\n", "")
    assert "both 20, only A 26, only B 0, neither 54" in texts
    assert "off the board" not in texts
    assert {f"{PROTOCOL}.html", "#q1"} <= {*parsed(page).values("href")}


def test_a_seed_off_the_board_is_marked_and_the_mark_explained(make_site_record, health, parsed):
    failed = {"evaluation__health": health("unbounded", "fail", "All stay right.")}
    page = page_of(
        [make_site_record("x", right=(80, 50, 46)), make_site_record("y", method="at", right=(80, 50, 20), **failed)],
        ("resnet34-lbn/x", "resnet34-lbn/y"),
    )
    texts = "".join(parsed(page).texts)
    assert "20.00 off the board" in texts and "its row can lose but not win" in texts


def test_what_was_not_measured_is_said_in_plain_letters(records, parsed):
    page = page_of(records, ("resnet34-lbn/a", "lacking"))
    assert "Not measured: the board has no row &#39;lacking&#39; yet" in page and "<b>not measured" not in page
    assert "No questions are asked here." in page_of(records)


def test_the_ranking_names_its_correlation_and_its_rows(records):
    (board,) = boards(records).values()
    spec = RankingSpec(protocol=PROTOCOL, published="cifar10", objective="fast")
    published = ReportedRow(
        "cifar10", "8/255", "at", "pgd", "resnet34", True, None, 1.0, "fp", {}, clean=0.8099, robust=0.4326, note=None
    )
    pairs = ((published, dataclasses.replace(board.rows[0], id="abcdef")),) * 4
    page = page_of(records, rankings=[PaperRanking(spec, pairs, 0.5, (0.125, 0.875))])
    assert "Kendall's tau-b of 4 rows: <b>0.50</b>, 95% interval 0.12 to 0.88" in page
    assert page.count(f'<a href="rows/{PROTOCOL}/abcdef.html">abcdef</a>') == 4
    assert "no correlation" in page_of(records, rankings=[PaperRanking(spec, pairs[:3], None, None)])
