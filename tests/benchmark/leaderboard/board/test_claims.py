"""Questions in claims.yaml and their computed answers."""

import hashlib

import numpy as np
import pytest
from scipy.stats import kendalltau

from benchmark.errors import UserError
from benchmark.leaderboard.board.claims import Claim, RankingSpec, answers, holm, load_claims
from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.pages.claims import claims_page
from benchmark.leaderboard.paper.ranking import kendall_tau, paper_ranking
from benchmark.leaderboard.render import check_pages, write_pages
from benchmark.results.evaluation import VERDICTS
from benchmark.results.statistics import mcnemar
from benchmark.results.store import save_record
from benchmark.results.verdicts import pack_verdicts

PROTOCOL = "cifar10-linf-8_255-aa-standard-100"


@pytest.fixture
def make(make_record):
    """Return a maker of records of a method whose robust images, of 100, are those given."""

    def make(method, held, *, seed=0, **changes):
        bits = pack_verdicts([index in held for index in range(100)])
        digest = hashlib.sha256(f"{method} {seed} {changes}".encode()).hexdigest()[:12]
        return make_record(
            method=method,
            seed=seed,
            right=(100, len(held), len(held)),
            run_hash=digest,
            run=f"cifar10/resnet34-lbn/{method}/binary-keep0.01-p0.1-pgd/seed{seed}-{digest[:6]}",
            evaluation__verdicts=dict.fromkeys(VERDICTS, bits) | {"clean": pack_verdicts([True] * 100)},
            **changes,
        )

    return make


def claim(a="edge_popup", b="hydra", protocol=PROTOCOL):
    return Claim(question=f"Is {a} ahead of {b}?", protocol=protocol, a=a, b=b)


def test_the_answer_is_the_paired_test_of_the_named_rows(make):
    better, worse = make("edge_popup", range(60)), make("hydra", range(20, 50))
    by_protocol = boards([better, worse])

    (answer,) = answers([claim()], by_protocol)

    assert (answer.test.only_a, answer.test.only_b) == (30, 0)
    assert answer.adjusted == answer.test.p_value < 1e-6
    assert answer.verdict == "yes"
    assert answers([claim("hydra", "edge_popup")], by_protocol)[0].verdict == "no"
    assert "| **yes** | robust | 60.00 | 30.00 | +30.00 |" in claims_page([answer], [])


def test_what_is_significant_alone_may_not_be_among_many(make):
    records = [make("edge_popup", range(50)), make("hydra", range(6, 50)), make("at", range(50, 100))]
    one = answers([claim()], boards(records))[0]
    both = answers([claim(), claim("edge_popup", "at")], boards(records))

    assert one.test == mcnemar(np.arange(100) < 50, (np.arange(100) >= 6) & (np.arange(100) < 50))
    assert (one.verdict, both[0].verdict) == ("yes", "not shown")
    assert both[0].adjusted == 2 * one.test.p_value
    assert "| not shown |" in claims_page(both, []).replace("**", "")


def test_questions_to_another_board_do_not_count_in_the_correction(make):
    other = PROTOCOL.replace("8_255", "4_255")
    records = [make("edge_popup", range(50)), make("hydra", range(6, 50))]
    records += [make("edge_popup", range(40), epsilon="4/255"), make("hydra", range(35), epsilon="4/255")]
    by_protocol = boards(records)

    alone = answers([claim()], by_protocol)[0]
    first, second = answers([claim(), claim(protocol=other)], by_protocol)

    assert first.adjusted == alone.adjusted == alone.test.p_value
    assert second.adjusted == second.test.p_value


def test_holm_steps_down():
    assert holm([0.04, 0.01, 0.03]) == [0.06, 0.03, 0.06]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_seeds_that_overlap_are_shown_beside_the_answer(make):
    records = [make("edge_popup", range(80), seed=0), make("edge_popup", range(30), seed=1)]
    records += [make("hydra", range(40), seed=0), make("hydra", range(20), seed=1)]
    (answer,) = answers([claim()], boards(records))
    assert answer.verdict == "yes"
    assert "**yes**, overlap" in claims_page([answer], [])


def test_a_row_of_doubtful_gradients_may_lose_but_not_win(make, health):
    failed = {"evaluation__health": health("unbounded", "fail", "All stay right.")}
    sound, doubtful = make("edge_popup", range(60)), make("hydra", range(20, 50), **failed)
    by_protocol = boards([sound, doubtful])
    assert [row.method for row in by_protocol[PROTOCOL].refused] == ["hydra"]

    yes, no = answers([claim(), claim("hydra", "edge_popup")], by_protocol)
    assert (yes.verdict, no.verdict) == ("yes", "no")
    assert "| 30.00 (off the board) |" in claims_page([yes], [])

    overstated = boards([make("edge_popup", range(60), **failed), make("hydra", range(20, 50))])
    (answer,) = answers([claim()], overstated)
    assert answer.adjusted < 1e-6 and answer.verdict == "not shown"


def test_a_row_refused_for_what_it_says_answers_nothing(make, health):
    failed = {"evaluation__health": health("unbounded", "fail", "All stay right.")}
    wrong = make("hydra", range(20, 50), training__frozen_parts_unchanged=False, **failed)
    (answer,) = answers([claim()], boards([make("edge_popup", range(60)), wrong]))
    assert answer.verdict == "not measured"


@pytest.mark.parametrize(
    ("asked", "reason", "counted"),
    [
        (claim("at"), "the board has no row 'at' yet", 2),
        (claim("at", "atmc"), "the board has no row 'at' and no row 'atmc' yet", 2),
        (claim(protocol="cifar10-linf-8_255-aa-standard-9"), "no such board", 1),
    ],
)
def test_a_question_without_an_answer_yet_counts_among_those_to_its_board(make, asked, reason, counted):
    by_protocol = boards([make("edge_popup", range(50)), make("hydra", range(6, 50))])
    unanswered, answered = answers([asked, claim()], by_protocol)
    assert unanswered.verdict == "not measured" and answered.adjusted == counted * answered.test.p_value
    assert reason in claims_page([unanswered], []).replace("&#39;", "'")


def test_a_later_answer_makes_no_earlier_one_weaker(make):
    records = [make("edge_popup", range(50)), make("hydra", range(7, 50))]
    asked = [claim(), claim("edge_popup", "at"), claim("edge_popup", "atmc")]
    weaker, stronger = make("at", range(1, 50)), make("atmc", range(30, 50))

    answered = [answers(asked, boards([*records, *later]))[0] for later in ([], [weaker], [weaker, stronger])]

    assert [round(each.adjusted / each.test.p_value) for each in answered] == [3, 3, 2]


def test_what_was_known_when_it_was_asked_is_said(make):
    asked = claim().model_copy(update={"known": "A pilot <b> had seen it."})
    records = [make("edge_popup", range(60), method__options={"score_scale": 1.0}), make("hydra", range(30))]
    page = claims_page(answers([asked], boards(records)), [])

    assert "| Is edge&#95;popup ahead of hydra? (not blind) |".replace("&#95;", "_") in page
    assert "Known when this was asked: A pilot &#60;b&#62; had seen it." in page
    assert "binary-keep0.01-p0.1-pgd, score_scale=1.0](site/rows/" in page  # which the cell's name does not tell
    assert "(not blind)" not in claims_page(answers([claim()], boards(records)), [])


def test_the_seeds_behind_a_mean_are_shown_beside_it(make):
    records = [make("edge_popup", range(60), seed=0), make("edge_popup", range(50), seed=1)]
    records += [make("hydra", range(9), seed=0), make("hydra", range(30), seed=1)]
    assert "| 55.00 (60.00, 50.00) | 19.50 (9.00, 30.00) |" in claims_page(answers([claim()], boards(records)), [])


def test_the_page_is_made_checked_and_removed_with_its_file(make, tmp_path):
    for record in (make("edge_popup", range(60)), make("hydra", range(30))):
        save_record(record, tmp_path)
    file = tmp_path / "claims.yaml"
    file.write_text(f"claims:\n- question: Better <b>?\n  protocol: {PROTOCOL}\n  a: edge_popup\n  b: hydra\n")
    write_pages(tmp_path)
    page = tmp_path / "claims.md"
    assert "Better &#60;b&#62;?" in page.read_text() and check_pages(tmp_path) == []

    page.write_text(page.read_text().replace("**yes**", "**no**"))
    assert check_pages(tmp_path) == ["claims.md differs from its records: run `python -m benchmark leaderboard`"]
    file.unlink()
    write_pages(tmp_path)
    assert not page.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claims: [{question: q}]", r"claims\.yaml: claims\[0\]\.protocol: Field required"),
        ("claims: [{question: q, protocol: p, a: x, b: y, c: z}]", "Extra inputs"),
        ("[]", "must hold a mapping with claims and rankings; got list"),
        ("claims: [", "cannot be read as YAML"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(tmp_path, text, message):
    (tmp_path / "claims.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_claims(tmp_path)


def published(method, robust, **changes):
    fields = {
        "dataset": "cifar10",
        "epsilon": "8/255",
        "method": method,
        "objective": "pgd",
        "architecture": "resnet34",
        "last_norm": True,
        "allocation": 0.1,
        "keep_ratio": 0.01,
        "weights": "binary",
        "options": {},
        "clean": None,
        "robust": robust,
        "note": None,
    }
    return ReportedRow(**fields | changes)


METHODS = ("edge_popup", "hydra", "atmc", "lwm", "random_pruning")
SPEC = RankingSpec(protocol=PROTOCOL, published="cifar10", objective="pgd")


def test_the_same_order_correlates_fully_and_the_reverse_order_reversed(make):
    board = boards([make(method, range(80 - 15 * place)) for place, method in enumerate(METHODS)])[PROTOCOL]
    same = [published(method, 0.5 - place / 20) for place, method in enumerate(METHODS)]
    reverse = [published(method, 0.1 + place / 20) for place, method in enumerate(METHODS)]

    ranking = paper_ranking(SPEC, board, same)
    assert ranking.tau == 1.0 and ranking.interval[0] > 0.5
    assert [row.method for _, row in ranking.pairs] == list(METHODS)
    assert paper_ranking(SPEC, board, reverse).tau == -1.0
    assert "Kendall's tau-b of 5 rows: **1.00**" in claims_page([], [ranking])


def test_rows_that_differ_in_setting_or_are_doubted_are_not_matched(make):
    board = boards([make(method, range(80 - 15 * place)) for place, method in enumerate(METHODS)])[PROTOCOL]
    others = [
        published("edge_popup", 0.5, objective="fast"),
        published("hydra", 0.4, last_norm=False),
        published("atmc", 0.3, weights="fp"),
        published("lwm", 0.2, allocation=1.0),
        published("random_pruning", 0.1, note="doubtful"),
    ]
    ranking = paper_ranking(SPEC, board, others)
    assert ranking.pairs == () and ranking.tau is None
    assert "no correlation" in claims_page([], [ranking])


def test_kendall_tau_is_scipys():
    draw = np.random.default_rng(0)
    for _ in range(20):
        a, b = draw.integers(0, 6, size=(2, 12))
        assert kendall_tau(a, b) == pytest.approx(kendalltau(a, b).statistic, abs=1e-4)
    assert kendall_tau(np.ones(4, dtype=np.int64), np.arange(4)) is None
