"""`reproduce` agrees with an honest record and not with one that boasts; it needs the very file and images."""

from __future__ import annotations

import json

import pytest

from benchmark.errors import UserError
from benchmark.results.store import artifact_path


def test_an_honest_record_is_consistent(out, record, run_command):
    result = run_command("reproduce", record.run_hash, "--quick", "--out", out)
    assert result.exit_code == 0, result.output
    assert "consistent: every difference" in result.output
    told = [line.split() for line in result.output.splitlines() if line.startswith("autoattack ")][-1]
    assert told[1] == told[2] == f"{100 * record.evaluation.autoattack.accuracy:.2f}"
    assert told[3:5] == ["0", "0"]


def test_a_record_that_boasts_is_not_consistent(out, boast, run_command):
    record = boast()
    result = run_command("reproduce", record.run, "--out", out)
    assert result.exit_code == 1
    assert "not consistent: autoattack" in result.output


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
