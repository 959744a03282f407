"""`recheck` adds the later checks beside a record, keeps the adversarial images, and continues where it was stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmark.errors import UserError
from benchmark.evaluation.health.verdict import Check
from benchmark.evaluation.opponent.checks import OpponentResult
from benchmark.results.challenges import best_known_records, load_challenges
from benchmark.results.rechecks import load_rechecks
from benchmark.results.store import record_path, save_record
from benchmark.review import rechecking


@pytest.fixture
def breaks(monkeypatch):
    """Return what makes the attack break the first survivors by images of one colour."""

    def make(count: int) -> None:
        def attack(network, data, verdicts, *, epsilon, report, **_: object) -> OpponentResult:
            survivors = torch.stack(list(verdicts.values())).all(0).nonzero().flatten()
            broken, right = survivors[:count].flip(0), torch.ones(len(data), dtype=torch.bool)
            right[broken] = False
            adversarial = (data.images[broken].float() / 255 + epsilon).clamp(0, 1)
            report(f"attacked with {sorted(verdicts)}, {network.training=}")
            checks = [
                Check("leaky_bpda", 0.0, "pass", "It was attacked."),
                Check("hard_label", count / len(survivors), "fail" if count else "pass", "It was attacked."),
                Check("straight_way", 0.1, "pass", "Nothing."),
            ]
            return OpponentResult(checks, right, adversarial, broken)

        monkeypatch.setattr(rechecking, "opponent_checks", attack)

    return make


def test_all_rows_without_the_checks_get_them_beside_their_records(out: Path, record, breaks, run_command):
    breaks(2)
    path = record_path(out, record.protocol, record.run)
    before = path.read_bytes()

    result = run_command("recheck", "--out", out)

    assert result.exit_code == 0, result.output
    assert "row 1 of 1" in result.output
    assert "hard_label fail" in result.output
    assert "rows: 1 checked; run `python -m benchmark leaderboard`" in result.output
    assert path.read_bytes() == before
    (checks,) = load_rechecks(out)
    assert (checks.run, checks.artifact_sha256) == (record.run, record.artifact.sha256)
    (after,) = best_known_records(out)
    lost = record.evaluation.right("robust") & ~after.evaluation.right("robust")
    assert lost.sum() == 2


def test_rows_that_have_the_checks_are_only_reported(out: Path, record, breaks, run_command):
    breaks(0)
    assert run_command("recheck", record.run_hash, "--out", out).exit_code == 0
    (path,) = (out / "checks").rglob("*.json")
    before = path.read_bytes()

    again = run_command("recheck", "--out", out)

    assert again.exit_code == 0
    assert f"already checked, beside its record: {record.run}" in again.output
    assert "rows: 0 checked, 1 checked before" in again.output
    assert path.read_bytes() == before


def test_the_images_found_are_kept_in_the_order_of_the_test_images(out: Path, boast, breaks, run_command):
    record = boast()
    survivors = int(record.evaluation.right("robust").sum())
    breaks(survivors)

    result = run_command("recheck", record.run_hash, "--out", out, "--keep", out / "kept.safetensors")

    assert result.exit_code == 0, result.output
    assert f"kept {survivors} adversarial images" in result.output
    kept = load_file(out / "kept.safetensors")
    assert kept["index"].tolist() == np.flatnonzero(record.evaluation.right("robust")).tolist()


def test_kept_images_become_a_challenge_though_the_checks_count_them_already(
    out: Path, boast, breaks, run_command, monkeypatch
):
    record = boast()
    breaks(3)
    monkeypatch.setattr(
        "benchmark.review.adversarial.misclassified", lambda logits, labels: torch.ones_like(labels) > 0
    )
    assert run_command("recheck", record.run_hash, "--out", out, "--keep", out / "kept.safetensors").exit_code == 0
    (before,) = best_known_records(out)

    result = run_command("challenge", record.run, out / "kept.safetensors", "--credit", "Ada", "--out", out)

    assert result.exit_code == 0, result.output
    accuracy = 100 * before.evaluation.best_known_accuracy
    assert (
        f"best-known accuracy stays {accuracy:.2f}: the opponent's attacks had already broken these images"
        in result.output
    )
    (challenge,) = load_challenges(out)
    assert len(challenge.broken) == 3
    again = run_command("challenge", record.run, out / "kept.safetensors", "--credit", "Ada", "--out", out)
    assert "nothing was stored" in again.output


def test_nothing_is_kept_where_nothing_was_broken(out: Path, record, breaks, run_command):
    breaks(0)
    result = run_command("recheck", record.run_hash, "--out", out, "--keep", out / "kept.safetensors")
    assert "broke no image" in result.output
    assert not (out / "kept.safetensors").exists()


def test_images_of_a_row_that_has_the_checks_can_be_kept_later(out: Path, record, breaks, run_command):
    breaks(1)
    assert run_command("recheck", "--out", out).exit_code == 0
    (path,) = (out / "checks").rglob("*.json")
    before = path.read_bytes()
    result = run_command("recheck", record.run_hash, "--out", out, "--keep", out / "kept.safetensors")
    assert result.exit_code == 0, result.output
    assert len(load_file(out / "kept.safetensors")["index"]) == 1
    assert path.read_bytes() == before


def test_the_attack_itself_leaves_a_valid_file(out: Path, record, run_command):
    result = run_command("recheck", record.run_hash, "--out", out)
    assert result.exit_code == 0, result.output
    (after,) = best_known_records(out)
    assert after.evaluation.opposed


def refused(result) -> str:
    assert isinstance(result.exception, UserError), result.output
    return str(result.exception)


def test_a_row_whose_artifact_is_missing_does_not_stop_the_others(out: Path, record, breaks, run_command):
    breaks(0)
    other = json.loads(record.model_dump_json())
    other |= {"run": record.run.replace("seed0", "seed1"), "seed": 1}
    save_record(type(record).model_validate(other), out)

    result = run_command("recheck", "--out", out)

    assert "has no artifact at" in refused(result)
    assert "rows: 1 checked, 1 not checked" in result.output
    assert len(load_rechecks(out)) == 1


def test_images_of_a_row_on_two_boards_are_kept_by_its_protocol(out: Path, record, breaks, run_command):
    breaks(1)
    fields = json.loads(record.model_dump_json())
    fields["evaluation"]["pgd"]["steps"] = 7
    fields["protocol"] = record.protocol.replace("pgd5", "pgd7")
    save_record(type(record).model_validate(fields), out)
    keep = ("--keep", out / "kept.safetensors", "--out", out)

    assert "but 2 match; give its hash and its --protocol" in refused(run_command("recheck", record.run_hash, *keep))
    result = run_command("recheck", record.run_hash, "--protocol", record.protocol, *keep)

    assert result.exit_code == 0, result.output
    assert [checks.protocol for checks in load_rechecks(out)] == [record.protocol]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no record is called 'nothing'"),
        (["--keep", "kept.safetensors"], "--keep takes the images of one record, but none is named; give its hash"),
        (["--protocol", "cifar10-linf-8_255-aa-standard-10000"], "there is no protocol 'cifar10-linf"),
        (["HASH", "--keep", "."], "--keep . is a folder"),
        (["HASH", "--keep", "small.txt"], "--keep small.txt is a text file, which would be lost"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_measured(out: Path, record, run_command, arguments, message):
    (out / "small.txt").write_text("mine", encoding="utf-8")
    words = [record.run_hash if word == "HASH" else word for word in arguments]
    assert message in refused(run_command("recheck", *words, "--out", out))
    assert load_rechecks(out) == []


def test_checks_of_another_artifact_are_reported_first(out: Path, record, breaks, run_command):
    breaks(0)
    assert run_command("recheck", "--out", out).exit_code == 0
    (path,) = (out / "checks").rglob("*.json")
    path.write_text(path.read_text(encoding="utf-8").replace(record.artifact.sha256, "0" * 64), encoding="utf-8")
    message = refused(run_command("recheck", "--out", out))
    assert "were measured on another artifact; delete the file" in message


def test_a_folder_without_records_is_refused(tmp_path: Path, run_command):
    (tmp_path / "records").mkdir()
    assert "there are no records in" in refused(run_command("recheck", "--out", tmp_path))


def test_reproduce_refuses_checks_that_do_not_belong_to_the_row(out: Path, record, breaks, run_command):
    breaks(0)
    assert run_command("recheck", "--out", out).exit_code == 0
    shutil.move(next((out / "checks").rglob("*.json")), out / "checks" / "lost.json")
    assert "its content belongs to" in refused(run_command("reproduce", record.run, "--quick", "--out", out))
