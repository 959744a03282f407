"""A record is on disk as a whole or not at all, lies where its content says, and never outside its folder."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from benchmark.errors import UserError
from benchmark.results.store import artifact_path, artifact_problem, load_records, record_path, save_record

PROTOCOL = "cifar10-linf-8_255-aa-standard-100"


def test_a_saved_record_comes_back_equal(make_record, tmp_path):
    record = make_record()
    path = save_record(record, tmp_path)
    assert path.parent == tmp_path / "records" / PROTOCOL
    assert path.name == "cifar10__resnet34-lbn__edge_popup__binary-keep0.01-p0.1-pgd__seed0-3f9a1c.json"
    assert load_records(tmp_path) == [record]


def test_the_file_is_sorted_readable_json_with_a_final_newline(make_record, tmp_path):
    text = save_record(make_record(), tmp_path).read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"


def test_records_come_in_one_order_whatever_the_order_of_saving(make_record, tmp_path):
    records = [make_record(method=name, dataset=data) for data in ("cifar10", "svhn") for name in ("at", "hydra")]
    for folder, order in (("one", records), ("two", records[::-1])):
        for record in order:
            save_record(record, tmp_path / folder)
    assert load_records(tmp_path / "one") == load_records(tmp_path / "two") == records


def test_a_folder_without_records_holds_none(tmp_path):
    assert load_records(tmp_path / "absent") == []


def test_a_crash_while_writing_leaves_neither_a_record_nor_a_temporary_file(make_record, tmp_path, monkeypatch):
    def crash(source, target):
        raise OSError("power cut")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="power cut"):
        save_record(make_record(), tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_crash_while_rewriting_keeps_the_old_record(make_record, tmp_path, monkeypatch):
    old = make_record()
    save_record(old, tmp_path)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_record(make_record(suite="other"), tmp_path)
    assert load_records(tmp_path) == [old]


@pytest.mark.parametrize(
    ("protocol", "run"),
    [
        ("..", "a/seed0"),
        ("a/b", "a/seed0"),
        ("", "a/seed0"),
        ("/etc", "a/seed0"),
        (PROTOCOL, "../seed0"),
        (PROTOCOL, "/etc/passwd"),
        (PROTOCOL, "a//b"),
        (PROTOCOL, "a\\..\\b"),
        (PROTOCOL, "a__b"),
        (PROTOCOL, "a\nb"),
        (PROTOCOL, "a/.hidden"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, protocol, run):
    with pytest.raises(UserError, match="cannot be a file name"):
        record_path(tmp_path, protocol, run)


def test_a_link_out_of_the_folder_is_refused(make_record, tmp_path):
    (tmp_path / "board" / "records").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "board" / "records" / PROTOCOL).symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match=f"{PROTOCOL} is a symbolic link, which is not allowed below"):
        save_record(make_record(), tmp_path / "board")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "Invalid JSON"),
        ("{}", "schema_version: Field required"),
        ("[]", "must be an object"),
    ],
)
def test_a_broken_record_is_named_with_its_first_problem(tmp_path, text, problem):
    path = tmp_path / "records" / PROTOCOL / "broken.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.json") as error:
        load_records(tmp_path)
    assert problem in str(error.value)


def test_a_nested_problem_is_named_with_its_path(make_record, tmp_path):
    path = save_record(make_record(), tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace('"accuracy": 0.5,', '"accuracy": 50,'), encoding="utf-8")
    with pytest.raises(UserError, match=r"evaluation\.pgd\.accuracy"):
        load_records(tmp_path)


def test_a_record_in_the_wrong_place_is_refused(make_record, tmp_path):
    path = save_record(make_record(), tmp_path)
    path.rename(path.with_name("renamed.json"))
    with pytest.raises(UserError, match="its content belongs to"):
        load_records(tmp_path)


def test_a_record_with_an_impossible_run_name_is_named_by_its_file(make_record, tmp_path):
    path = tmp_path / "records" / PROTOCOL / "evil.json"
    path.parent.mkdir(parents=True)
    path.write_text(make_record(run="../seed0-3f9a1c").model_dump_json(), encoding="utf-8")
    with pytest.raises(UserError, match=r"evil\.json.*cannot be a file name"):
        load_records(tmp_path)


def test_an_artifact_is_the_file_of_its_record_or_absent(make_record, tmp_path):
    content = b"a network"
    record = make_record(artifact__size_bytes=len(content), artifact__sha256=hashlib.sha256(content).hexdigest())
    path = artifact_path(tmp_path, record.run)
    assert artifact_problem(tmp_path, record) == ""
    path.parent.mkdir()
    path.write_bytes(content)
    assert artifact_problem(tmp_path, record) == ""
    path.write_bytes(content[:-1] + b"K")
    assert "is not the file that" in artifact_problem(tmp_path, record)
    path.write_bytes(content[:-1])
    assert "has 8 bytes, the record was measured on one of 9" in artifact_problem(tmp_path, record)
