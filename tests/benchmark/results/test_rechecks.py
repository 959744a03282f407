"""Checks kept beside a record complete it and lower its best-known accuracy; others than the record's are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.results.challenges import best_known_records
from benchmark.results.evaluation import OPPONENT_CHECKS
from benchmark.results.invariants import violations
from benchmark.results.rechecks import Rechecked, load_rechecks, rechecked, save_rechecked
from benchmark.results.store import save_record
from benchmark.results.verdicts import pack_verdicts


def test_checks_beside_a_record_complete_it_and_lower_its_best_known_accuracy(make_record, make_rechecked, tmp_path):
    record = make_record(right=(80, 50, 45))
    path = save_record(record, tmp_path)
    before = path.read_bytes()
    save_rechecked(make_rechecked(record, [0, 44]), tmp_path)

    (after,) = best_known_records(tmp_path)

    assert not record.evaluation.opposed
    assert after.evaluation.opposed
    assert after.evaluation.best_known_accuracy == 0.43
    assert np.flatnonzero(~after.evaluation.right("opponent")).tolist() == [0, 44]
    assert [check.name for check in after.evaluation.health][10:] == list(OPPONENT_CHECKS)
    assert after.evaluation.autoattack == record.evaluation.autoattack
    assert path.read_bytes() == before


def test_a_failed_check_takes_the_rank(make_record, make_rechecked):
    record = make_record()

    (after,) = rechecked([record], [make_rechecked(record, [0], hard_label="fail")])

    assert violations(record) == []
    assert violations(after) == ["gradient health, hard_label: Nothing was found."]


def test_other_records_stay_as_they_are(make_record, make_rechecked):
    record, other = make_record(), make_record(seed=1)
    assert rechecked([record, other], [make_rechecked(other, [0])])[0] == record


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"artifact_sha256": "0" * 64}, "another artifact; delete the file, and measure them with"),
        ({"test_sha256": "0" * 64}, "other test images; delete the file, and measure them with"),
        ({"broken": [45]}, "opponent counts images as broken that other attacks had already broken"),
        ({"run": "other/seed0-3f9a1c"}, "which has no record; add the record, or delete the file"),
    ],
)
def test_checks_that_do_not_belong_to_the_record_are_refused(make_record, make_rechecked, changes, message):
    record = make_record(right=(80, 50, 45))
    checks = make_rechecked(record, changes.pop("broken", [0]), **changes)
    with pytest.raises(UserError, match=message):
        rechecked([record], [checks])


def test_checks_of_a_record_that_has_them_itself_are_refused(make_record, make_rechecked):
    record = make_record()
    (opposed,) = rechecked([record], [make_rechecked(record, [])])
    with pytest.raises(UserError, match=r"the record already contains these checks; delete the file$"):
        rechecked([opposed], [make_rechecked(record, [])])


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda path: path.write_text("{}", encoding="utf-8"), "Field required; delete the file, and measure"),
        (lambda path: edited(path, checks=[]), "checks are .*, must be"),
        (lambda path: edited(path, verdicts={}), "must be of opponent alone"),
        (lambda path: edited(path, verdicts={"opponent": pack_verdicts([True] * 96)}), "one bit for each"),
        (lambda path: edited(path, verdicts={"opponent": "%"}), "not base64"),
        (lambda path: edited(path, run="other/seed0-3f9a1c"), "its content belongs to .*; move the file back"),
        (lambda path: edited(path, run="../../x"), "cannot be a file name"),
        (lambda path: edited(path, protocol="../x"), "is not a protocol id"),
        (lambda path: edited(path, more=1), "Extra inputs"),
        (lambda path: path.rename(path.with_name("x.json")), "its content belongs to"),
    ],
)
def test_a_tampered_file_is_refused(make_record, make_rechecked, tmp_path: Path, tamper, message):
    tamper(save_rechecked(make_rechecked(make_record(), [3]), tmp_path))
    with pytest.raises(UserError, match=message):
        load_rechecks(tmp_path)


def test_a_link_in_place_of_a_file_is_refused(make_record, make_rechecked, tmp_path: Path):
    path = save_rechecked(make_rechecked(make_record(), [3]), tmp_path / "board")
    path.symlink_to(path.rename(tmp_path / "elsewhere.json"))
    with pytest.raises(UserError, match="link"):
        load_rechecks(tmp_path / "board")


def test_checks_survive_their_file(make_record, make_rechecked, tmp_path: Path):
    checks: Rechecked = make_rechecked(make_record(), [3])
    path = save_rechecked(checks, tmp_path)
    assert load_rechecks(tmp_path) == [checks]
    assert path == tmp_path / "checks" / checks.protocol / f"{checks.run.replace('/', '__')}.json"
