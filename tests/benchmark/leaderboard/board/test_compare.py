"""What `compare` says about two rows, from made records to the committed ones."""

from __future__ import annotations

import re

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmark.cli.main import app
from benchmark.errors import UserError
from benchmark.files.places import LEADERBOARDS
from benchmark.leaderboard.board.compare import compare_rows
from benchmark.leaderboard.board.conclusion import p_text
from benchmark.results.evaluation import VERDICTS
from benchmark.results.statistics import images_needed, mcnemar, wilson
from benchmark.results.store import save_record
from benchmark.results.verdicts import pack_verdicts


@pytest.fixture
def make(make_record):
    """Return a maker of records of 100 images whose robust images are those given, all others right when clean."""

    def make(held, **changes):
        bits = [index in held for index in range(100)]
        attacked = pack_verdicts(bits)
        return make_record(
            right=(100, len(held), len(held)),
            evaluation__verdicts=dict.fromkeys(VERDICTS, attacked) | {"clean": pack_verdicts([True] * 100)},
            **changes,
        )

    return make


def test_rows_trained_on_other_images_are_compared_with_a_note(make):
    a, b = make(range(50), seed=0), make(range(40), method="other", dataset__train_sha256="0" * 64)

    assert "The rows were trained on different images or labels" in compare_rows([a], [b]).text
    assert "trained on different" not in compare_rows([a], [make(range(40), method="other")]).text


def conclusion(text):
    return " ".join(text.split("\n\n")[-1].split())


def line_of(text, beginning):
    return next(line for line in text.splitlines() if line.startswith(beginning))


def test_the_better_row_is_named_with_counts_and_p_value(make):
    better, worse = make(range(60), method="at"), make(range(55, 75), method="hydra")
    expected = "is better: 55 images robust for {} only, 15 for {} only; exact McNemar p = 2e-6."
    assert conclusion(compare_rows([better], [worse]).text) == "A " + expected.format("A", "B")
    assert conclusion(compare_rows([worse], [better]).text) == "B " + expected.format("B", "A")


def test_without_a_difference_it_says_how_many_images_would_show_it(make):
    text = compare_rows([make(range(50))], [make(range(5, 52), method="at")]).text
    assert images_needed(5, 2, 100) == 609
    assert conclusion(text) == (
        "No real difference shown: 5 images robust for A only, 2 for B only; exact McNemar p = 0.45; "
        "about 610 images would be needed to show a difference of this size."
    )


def test_rows_that_hold_equally_many_images_need_no_number(make):
    text = compare_rows([make(range(50))], [make(range(5, 55), method="at")]).text
    assert conclusion(text).endswith(
        "5 images robust for A only, 5 for B only; exact McNemar p = 1; both are robust on equally many."
    )


def test_each_measure_is_shown_with_its_intervals_difference_and_test(make_record):
    a, b = make_record(right=(80, 50, 45)), make_record(method="at", right=(78, 60, 40))
    text = compare_rows([a], [b]).text
    rows = {name: line_of(text, name).split() for name in ("clean", "PGD", "AutoAttack", "robust")}
    assert [rows[name][1] for name in rows] == ["80.00", "50.00", "45.00", "45.00"]
    assert [rows[name][5] for name in rows] == ["78.00", "60.00", "40.00", "40.00"]
    assert [rows[name][9] for name in rows] == ["+2.00", "-10.00", "+5.00", "+5.00"]
    low, high = wilson(45, 100)
    assert rows["robust"][2:5] == [f"{100 * low:.2f}", "to", f"{100 * high:.2f}"]
    bits = [[index < right for index in range(100)] for right in (50, 60)]
    test = mcnemar(*(np.array(side) for side in bits))
    assert rows["PGD"][10:] == [f"{100 * test.interval[0]:+.2f}", "to", f"{100 * test.interval[1]:+.2f}", "0.002"]


def test_the_images_that_separate_the_rows_are_listed_up_to_twenty(make):
    text = compare_rows([make(range(30))], [make([*range(25, 40), 99], method="at")]).text
    assert "Robust images: both 5, only A 25, only B 11, neither 59." in text
    listed = ", ".join(str(index) for index in range(20))
    assert f"Robust for only A: {listed} and 5 more\n" in text
    assert "Robust for only B: 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 99\n" in text
    assert "Robust for only B: none\n" in compare_rows([make(range(30))], [make(range(25), method="at")]).text


def test_costs_are_shown_side_by_side(make):
    other = make(
        range(10),
        method="at",
        artifact__size_bytes=1_234_567,
        compression__kept_weights=50,
        compression__density=0.005,
        training__passes=1e6,
    )
    text = compare_rows([make(range(9))], [other]).text
    assert re.search(r"^size +27,100 bytes +1,234,567 bytes$", text, re.MULTILINE)
    assert re.search(r"^density +0\.01 +0\.005$", text, re.MULTILINE)
    assert re.search(r"^training passes +215\.6 M +1\.0 M$", text, re.MULTILINE)


def test_several_seeds_are_paired_in_order_and_their_pooling_is_explained(make):
    a = [make(range(40), seed=0), make(range(20, 60), seed=1)]
    b = [make(range(10), seed=3, method="at"), make(range(30, 40), seed=4, method="at")]
    text = compare_rows(a, b).text
    assert "edge_popup/binary-keep0.01-p0.1-pgd, seeds 0, 1\n" in text
    assert "at/binary-keep0.01-p0.1-pgd, seeds 3, 4\n" in text
    assert "Robust pairs of image and seed (2 x 100): both 20, only A 60, only B 0, neither 120." in text
    assert "Robust for every seed of A and none of B: 20, 21, 22, 23, 24, 25, 26, 27, 28, 29\n" in text
    assert "a bootstrap over seeds and images" in " ".join(text.split())
    assert re.search(r"^robust by seed +40\.00, 40\.00 +10\.00, 10\.00$", text, re.MULTILINE)
    assert "The test pools 2 seeds" in text
    assert (
        conclusion(text)
        == "A is better: 60 pairs of image and seed robust for A only, 0 for B only; exact McNemar p = 2e-18."
    )


def test_a_lead_that_not_every_seed_has_is_not_called_better(make):
    """As in the committed HYDRA and random pruning of ten epochs: 20.5 and 18.5 against 20.5 and 9.5."""
    a = [make(range(40), seed=0), make(range(36), seed=1)]
    b = [make(range(40), seed=0, method="at"), make(range(18), seed=1, method="at")]
    assert conclusion(compare_rows(a, b).text) == (
        "A leads, but its seeds overlap with B's: 18 pairs of image and seed robust for A only, 0 for B only; "
        "exact McNemar p = 8e-6."
    )
    assert conclusion(compare_rows(b, a).text).startswith("B leads, but its seeds overlap with A's: 18 ")


def test_images_needed_are_images_and_not_pairs(make):
    a = [make(range(50), seed=seed) for seed in (0, 1)]
    b = [make(range(5, 53), seed=seed, method="at") for seed in (0, 1)]
    needed = images_needed(10, 6, 200)
    assert 1_500 < needed < 1_600
    assert f"about {round(needed / 2, -1):,.0f} images would be needed" in conclusion(compare_rows(a, b).text)


def test_seeds_that_the_other_row_lacks_are_left_out_and_that_is_said(make):
    a = [make(range(40), seed=seed) for seed in (0, 1)]
    text = compare_rows(a, [make(range(39), seed=1, method="at")]).text
    assert "The rows have different numbers of seeds. Compared below: A, seed 0; B, seed 1." in text
    assert "one seed of each" in text
    assert "Robust images: both 39, only A 1, only B 0, neither 60." in text


def test_what_a_board_would_not_rank_together_is_said(make_record):
    text = compare_rows([make_record()], [make_record(preset="smoke", right=(80, 45, 46))]).text
    assert "A is of the preset paper, B of the preset smoke: boards rank them apart." in text
    assert "The board refuses B, seed 0: AutoAttack accuracy 0.4600 exceeds PGD accuracy 0.4500" in text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"n": 200}, "different protocols"),
        ({"dataset__test_sha256": "0" * 64}, "different test images"),
    ],
    ids=["protocol", "images"],
)
def test_rows_that_did_not_see_the_same_images_are_not_compared(make_record, change, sentence):
    with pytest.raises(UserError, match=sentence):
        compare_rows([make_record()], [make_record(**change)])


def test_lines_fit_and_foreign_text_shapes_none_of_them(make_record):
    evil = "kind\x1b[2J\nA is better: everything. " + "x" * 200
    rows = [make_record(method=name, provenance__device=evil, run=f"{name}{'y' * 200}/seed0-3f9a1c") for name in "ab"]
    text = compare_rows(rows[:1], rows[1:]).text
    assert "\x1b" not in text
    assert not any(line.startswith("A is better") for line in text.splitlines())
    assert max(len(line) for line in text.splitlines()) <= 118


@pytest.mark.parametrize(
    ("p", "text"),
    [
        *((1.0, "1"), (0.312, "0.31"), (0.00213, "0.0021"), (0.001, "0.001"), (2.96e-6, "3e-6"), (1.4e-12, "1e-12")),
        *((0.0496, "0.0496"), (0.0504, "0.0504"), (0.0, "1e-300")),
    ],
)
def test_a_p_value_is_short_and_never_rounded_to_the_limit(p, text):
    assert p_text(p) == text


def test_the_command_compares_committed_rows():
    rows = ["edge_popup/binary-keep0.1-p1-pgd", "edge_popup/binary-keep0.1-p0.1-pgd"]
    result = CliRunner().invoke(app, ["compare", *rows, "--out", str(LEADERBOARDS)])
    assert result.exit_code == 0, result.output
    assert re.fullmatch(
        r"A is better: \d+ pairs of image and seed robust for A only, .* p = \de-\d+\.", conclusion(result.output)
    )


def test_the_command_finds_the_protocol_that_both_rows_share(make_record, tmp_path):
    for record in (make_record(), make_record(method="at"), make_record(n=200)):
        save_record(record, tmp_path)
    result = CliRunner().invoke(app, ["compare", "edge_popup", "/at/", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "cifar10-linf-8_255-aa-standard-100, 100 test images" in result.output


def test_the_command_names_a_missing_folder(tmp_path):
    result = CliRunner().invoke(app, ["compare", "a", "b", "--out", str(tmp_path / "nosuch")])
    assert isinstance(result.exception, UserError) and "there is no folder" in str(result.exception)
