"""The file of measured times: what it refuses, and which rows it belongs to."""

from __future__ import annotations

import json

import pytest

from benchmark.errors import UserError
from benchmark.results.speed import FILE, load_speed, save_speed


def test_times_are_read_back_as_they_were_written(make_record, make_speed, tmp_path):
    assert load_speed(tmp_path) is None
    speed = make_speed(make_record(seed=0), make_record(seed=1))

    save_speed(speed, tmp_path)

    assert load_speed(tmp_path) == speed


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda row: row["seconds"]["torch"]["1"].update(median=0.0), "greater than 0"),
        (lambda row: row["seconds"]["torch"]["1"].update(median=1e400), "finite"),
        (lambda row: row["seconds"]["torch"]["1"].update(lower=1.0), "not a median between its quartiles"),
        (lambda row: row["seconds"]["sparse"].pop("64"), "not of batch 1 and 64"),
        (lambda row: row["seconds"].pop("torch"), "no torch"),
        (lambda row: row["memory"].pop("sparse"), "memory is of"),
        (lambda row: row["memory"]["sparse"].update(peak=1), "exceed the peak"),
        (lambda row: row.update(artifact_sha256="no"), "pattern"),
        (lambda row: row.update(ratio=8.0), "Extra inputs"),
    ],
)
def test_what_cannot_be_a_measurement_is_refused(make_record, make_speed, tmp_path, change, reason):
    path = save_speed(make_speed(make_record()), tmp_path)
    content = json.loads(path.read_text())
    change(content["rows"][0])
    path.write_text(json.dumps(content).replace("Infinity", "1e400"))

    with pytest.raises(UserError, match=reason) as raised:
        load_speed(tmp_path)
    assert f"{FILE}" in str(raised.value) and "python -m benchmark speed" in str(raised.value)


def test_a_run_has_one_row(make_record, make_speed, tmp_path):
    path = save_speed(make_speed(make_record()), tmp_path)
    content = json.loads(path.read_text())
    content["rows"] *= 2
    path.write_text(json.dumps(content))

    with pytest.raises(UserError, match="each once"):
        load_speed(tmp_path)


def test_a_link_is_not_followed(make_record, make_speed, tmp_path):
    save_speed(make_speed(make_record()), tmp_path / "elsewhere")
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere" / FILE)

    with pytest.raises(UserError, match="link"):
        load_speed(tmp_path)


def test_times_belong_to_the_artifact_that_was_measured(make_record, make_speed):
    first, second, absent = make_record(seed=0), make_record(seed=1), make_record(seed=2)
    changed = second.model_copy(update={"artifact": second.artifact.model_copy(update={"sha256": "d" * 64})})
    speed = make_speed(first, second, absent)

    assert list(speed.of([first, changed])) == [first.run]
    stale = speed.problems([first, changed])
    assert len(stale) == 2
    assert second.run in stale[0] and "another artifact" in stale[0]
    assert absent.run in stale[1] and "no record" in stale[1]


def test_a_row_replaces_that_of_its_run(make_record, make_speed):
    first, second = make_record(seed=0), make_record(seed=1)
    (new,) = make_speed(first, torch=1.0).rows

    speed = make_speed(second).with_row(new).with_row(new)

    assert [row.run for row in speed.rows] == sorted([first.run, second.run])
    assert speed.of([first])[first.run].seconds.keys() == {"torch"}
