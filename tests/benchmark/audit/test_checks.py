"""`audit` takes later checks for a part of a board: what a forger writes there is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmark.evaluation.opponent.checks import LEAKY, hard_label_of, leaky_bpda_of
from benchmark.results.evaluation import VERDICTS
from benchmark.results.verdicts import pack_verdicts
from benchmark.submission.opponent import unbroken_by_opponent


@pytest.fixture(autouse=True)
def falls(monkeypatch):
    """Keep attacks away, which are tested elsewhere; return the places that fall to BPDA through leaky ReLUs."""
    fallen = set()

    def attack(replay, name, places, shrink, say):
        return [name == LEAKY and place in fallen for place in places]

    monkeypatch.setattr("benchmark.audit.rows.check_attacks", lambda *args: None)
    monkeypatch.setattr("benchmark.submission.opponent._attack", attack)
    return fallen


@pytest.fixture
def write(board):
    """Return what writes checks beside the first record by hand, in canonical form, with some fields changed."""
    board.make_older()

    def make(broken: int = 0, *, straight_way: str = "Nothing was found.", **changes: Any) -> Path:
        record = board.read()
        survivors = [all(bits) for bits in zip(*(board.verdicts_of(record)[name] for name in VERDICTS), strict=True)]
        places = [place for place, survives in enumerate(survivors) if survives]
        checks = [
            vars(leaky_bpda_of(0, len(places))),
            vars(hard_label_of(broken, len(places))),
            {"name": "straight_way", "value": 0.25, "verdict": "pass", "reason": straight_way},
        ]
        fields = {
            "schema_version": 1,
            "run": record["run"],
            "protocol": record["protocol"],
            "artifact_sha256": record["artifact"]["sha256"],
            "test_sha256": record["dataset"]["test_sha256"],
            "checks": checks,
            "verdicts": {"opponent": pack_verdicts([place not in places[:broken] for place in range(12)])},
            "seconds": 3.5,
            "machine": {
                "torch": "2.6.0",
                "device": "cpu",
                "threads": 1,
                "started": record["provenance"]["started"],
                "seconds": 3.5,
            },
        } | changes
        path: Path = board.folder / "checks" / record["protocol"] / board.records[0].name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return path

    return make


def test_honest_checks_pass_and_go_with_their_row(board, write):
    write(1)
    board.leaderboard()

    result = board.audit("56d8")

    assert result.exit_code == 0, result.output
    assert "1 record, 0 evaluations, 0 challenges, 1 check: all pass" in result.output
    assert "ok       numbers: the file agrees with its record and with itself" in result.output


def test_images_that_are_said_to_withstand_the_opponent_are_attacked_again(board, write, falls):
    record = board.read()
    write(0)
    board.leaderboard()
    survivors = [all(bits) for bits in zip(*(board.verdicts_of(record)[name] for name in VERDICTS), strict=True)]
    falls.add(survivors.index(True))

    reason = f"leaky_bpda: the record counts image {survivors.index(True)} as robust; with each of 5 other seeds"
    assert f"opponent: {reason}" in board.refusals("56d8")


def test_images_that_are_said_to_be_broken_and_withstand_are_refused(falls):
    """Nobody may lower another's row by words: a challenge has images, checks are measured again."""
    claimed = np.arange(12) >= 5
    replay = SimpleNamespace(claim=SimpleNamespace(right=lambda name: claimed))

    assert unbroken_by_opponent(replay, print) == [
        "opponent: 5 images that the record counts as broken are robust; chance explains 2 of 5"
    ]
    falls.update(range(5))
    assert unbroken_by_opponent(replay, print) == []


def test_checks_that_broke_nothing_are_attacked_without_an_image_to_break(board, write, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr("benchmark.audit.rows.check_attacks", lambda *args: None)
    write(0)
    board.leaderboard()

    result = board.audit("56d8")

    assert "ok       broken: " in result.output and "ZeroDivision" not in result.output


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"verdicts": {"opponent": pack_verdicts([True] * 12)}}, "numbers: gradient health, hard_label: "),
        ({"verdicts": {"opponent": pack_verdicts([False] * 12)}}, "record: the checks of "),
        ({"artifact_sha256": "0" * 64}, "record: the checks of "),
        ({"test_sha256": "0" * 64}, "were measured on other test images"),
        ({"run": "digits/other/seed0-3f9a1c"}, "place: its content belongs to"),
        ({"straight_way": "See <b>this</b>."}, "texts: checks.reason: "),
        ({"more": 1}, "schema: "),
        ({"seconds": 1e12}, "times: 1e+12 seconds are not possible"),
    ],
)
def test_forged_checks_are_refused(board, write, changes, reason):
    write(1, **changes)

    refusals = board.refusals("56d8")

    assert "refused: checks/" in refusals and reason in refusals


def test_times_before_the_record_are_refused(board, write):
    machine = {"torch": "2.6.0", "device": "cpu", "threads": 1, "started": "2023-01-01T00:00:00+00:00", "seconds": 1.0}
    write(1, machine=machine)
    assert "is before the record's run" in board.refusals("56d8")


def test_checks_of_an_artifact_that_is_not_here_are_not_green(board, write):
    write(1)
    board.artifact().unlink()
    assert "not checked: checks/" in board.refusals("56d8")


def test_checks_of_no_record_are_refused(board, write):
    path = write(1)
    board.records[0].unlink()
    assert f"refused: {path.relative_to(board.folder)}: record: " in board.refusals()


def test_new_checks_are_looked_at_and_old_ones_stay(board, write):
    path = write(1)
    board.leaderboard()
    result = board.audit("--since", "HEAD")
    assert result.exit_code == 0, result.output
    assert "0 records, 0 evaluations, 0 challenges, 1 check: all pass" in result.output

    board.commit()
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"seconds": 4.5}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    board.leaderboard()
    assert "it was on the board and was changed; what is on a board stays as it is" in board.refusals("--since", "HEAD")

    path.unlink()
    board.leaderboard()
    assert "the check was removed; what is on a board must stay" in board.refusals("--since", "HEAD")


def test_a_file_that_is_none_of_them_is_foreign(board, write):
    write(1).with_name("notes.txt").write_text("x", encoding="utf-8")
    assert "it does not belong to a board" in board.refusals("--since", "HEAD")
