"""`reproduce` agrees with an honest record and not with one that boasts; it needs the very file and images."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from benchmark.artifact.unpack import read_artifact
from benchmark.data.load import load_test
from benchmark.errors import UserError
from benchmark.results.challenges import Challenge, save_challenge
from benchmark.results.record import Record
from benchmark.results.store import artifact_path
from benchmark.review.recount import recount


def test_an_honest_record_is_consistent(out, record, run_command):
    before = sorted(out.rglob("*"))
    result = run_command("reproduce", record.run_hash, "--quick", "--out", out)
    assert result.exit_code == 0, result.output
    assert "consistent: counts are exact" in result.output
    columns = [line.split() for line in result.output.splitlines() if line.startswith("autoattack ")][-1]
    assert columns[1] == columns[2] == f"{100 * record.evaluation.autoattack.accuracy:.2f}"
    assert columns[3:5] == ["0", "0"]
    # The attack was run, in a journal of the reader's own: what lies beside the record may be somebody else's.
    assert "square" in result.output
    assert sorted(path for path in out.rglob("*") if "runs" not in path.relative_to(out).parts) == before
    assert not list(Path("runs").rglob("*.safetensors"))


def test_a_record_that_boasts_and_a_challenge_that_breaks_nothing_are_not_consistent(out, boast, run_command):
    """Anyone can write a JSON with a hash; only images that the artifact gets wrong may lower a row."""
    record = boast()
    data = load_test("digits", None, limit=1)
    assert record.evaluation.right("clean")[0]
    images = save({"x_adv": data.test.images.float() / 255, "index": torch.zeros(1, dtype=torch.int64)})
    harmless = Challenge(
        schema_version=1,
        run=record.run,
        protocol=record.protocol,
        artifact_sha256=record.artifact.sha256,
        images_sha256=hashlib.sha256(images).hexdigest(),
        credit="Mallory",
        date=date(2026, 1, 2),
        broken=[0],
    )
    save_challenge(harmless, images, out)
    result = run_command("reproduce", record.run, "--out", out)
    assert result.exit_code == 1
    assert "not consistent: autoattack" in result.output
    assert "challenge by Mallory of 2026-01-02: the artifact classifies 1 of its 1 images correctly" in result.output


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"artifact.size_bytes": 7}, "file size: the record says 7"),
        ({"cost.sparse_macs": 7}, "sparse MACs: the record says 7"),
        ({"cost.bit_operations": 7}, "bit-operations: the record says 7"),
        ({"compression.entropy_bound_bytes": 12}, "entropy bound: the record says 12"),
        ({"weights_sha256": "0" * 64}, "hash of the weights"),
        ({"architecture.last_norm": False}, "LBN: the record says False"),
    ],
    ids=str,
)
def test_every_count_of_a_record_is_counted_again(out, record, changes, reason):
    artifact = read_artifact(artifact_path(out, record.run))
    assert recount(record, artifact) == []
    fields = record.model_dump()
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        part = fields
        for name in parents:
            part = part[name]
        part[last] = value
    (sentence,) = recount(Record(**fields), artifact)
    assert reason in sentence


def test_another_file_than_the_record_names_is_refused(out, record, run_command):
    path = artifact_path(out, record.run)
    path.write_bytes(path.read_bytes()[:-1])
    assert isinstance(run_command("reproduce", record.run, "--out", out).exception, UserError)
    path.unlink()
    result = run_command("reproduce", record.run, "--out", out)
    assert "has no artifact at" in str(result.exception)


def test_a_record_of_other_images_is_refused(out, record, run_command):
    (path,) = (out / "records").rglob("*.json")
    fields = json.loads(path.read_text(encoding="utf-8"))
    fields["dataset"]["test_sha256"] = "0" * 64
    path.write_text(json.dumps(fields), encoding="utf-8")
    result = run_command("reproduce", record.run, "--out", out)
    assert isinstance(result.exception, UserError)
    assert "are not those of the record" in str(result.exception)


@pytest.mark.parametrize("row", ["nonsense", "zzzz", ""])
def test_an_unknown_row_is_refused(out, record, run_command, row):
    assert isinstance(run_command("reproduce", row, "--out", out).exception, UserError)
