"""What is carried home from a GPU: few small files, nothing lost without a word, nothing unpacked outside."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from benchmark.session import Request, resolve_request

SPEC = importlib.util.spec_from_file_location("carry", Path(__file__).with_name("carry.py"))
carry = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(carry)
MEGABYTE = 2**20


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def work(tmp_path):
    """Return a work folder with a finished run, one that is trained, and one with a checkpoint too large to carry."""
    runs = tmp_path / "work" / "runs"
    put(tmp_path / "work" / "stages" / "tests", b"done")
    put(runs / "records" / "protocol" / "set__net__done.json", b"{}")
    put(runs / "artifacts" / "set__net__done.safetensors", os.urandom(MEGABYTE))
    for run in ("done", "trained", "training"):
        put(runs / "work" / "set" / "net" / run / "order.json", b"{}")
        put(runs / "work" / "set" / "net" / run / "lease-whole.json", b"{}")
        put(runs / "work" / "set" / "net" / run / "network.safetensors", bytes(40 * MEGABYTE))
    put(runs / "work" / "set" / "net" / "trained" / "history.jsonl", b'{"epoch": 1}\n')
    (runs / "work" / "set" / "net" / "training" / "network.safetensors").unlink()
    put(runs / "work" / "set" / "net" / "training" / "checkpoint.pt", os.urandom(20 * MEGABYTE))
    return tmp_path / "work"


def test_what_is_packed_and_unpacked_lets_a_run_go_on(work, tmp_path):
    left = carry.pack(work, tmp_path / "out")
    carry.unpack(tmp_path / "out", tmp_path / "again")

    assert left == ["not carried: resume-2.tar.gz, with training"]
    again = {str(path.relative_to(tmp_path / "again")) for path in (tmp_path / "again").rglob("*") if path.is_file()}
    assert again == {
        "stages/tests",
        "runs/records/protocol/set__net__done.json",
        "runs/artifacts/set__net__done.safetensors",
        "runs/work/set/net/trained/history.jsonl",
        "runs/work/set/net/trained/network.safetensors",
        *(f"runs/work/set/net/{run}/order.json" for run in ("done", "trained", "training")),
    }
    artifact = Path("runs", "artifacts", "set__net__done.safetensors")
    assert (tmp_path / "again" / artifact).read_bytes() == (work / artifact).read_bytes()


def test_packs_are_few_and_small_and_what_does_not_fit_is_named(work, tmp_path):
    artifacts = work / "runs" / "artifacts"
    for number in range(5):
        put(artifacts / f"row{number}.safetensors", os.urandom(9 * MEGABYTE))
    put(artifacts / "dense.safetensors", bytes(17 * MEGABYTE))

    left = carry.pack(work, tmp_path / "out")

    packs = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert set(packs) == {"records.tar.gz", "artifacts-1.tar", "artifacts-2.tar", "artifacts-3.tar", "resume-1.tar.gz"}
    assert max(packs.values()) <= 16 * MEGABYTE
    assert sum(packs.values()) < 60_000_000
    assert "not carried: dense.safetensors (18 MB)" in left
    assert sum(line.startswith("not carried: row") for line in left) == 2


def test_packing_again_leaves_no_pack_of_before(work, tmp_path):
    carry.pack(work, tmp_path / "out")
    (work / "runs" / "artifacts" / "set__net__done.safetensors").unlink()
    put(work / "runs" / "records" / "protocol" / "set__net__trained.json", b"{}")

    carry.pack(work, tmp_path / "out")

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["records.tar.gz"]


def test_a_pack_cannot_write_outside(tmp_path):
    with tarfile.open(tmp_path / "records.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../outside"), io.BytesIO())

    with pytest.raises(tarfile.OutsideDestinationError):
        carry.unpack(tmp_path, tmp_path / "below" / "work")
    assert not (tmp_path / "below" / "outside").exists()


def test_the_entries_given_one_by_one_are_the_rows_of_the_suite_in_their_order():
    def runs(*overrides):
        experiments, _ = resolve_request(Request("gpu-first", None, None, None, None, overrides, None, Path("runs")))
        return [each.run for each in experiments]

    entries = carry.entries("gpu-first")

    one_by_one = dict.fromkeys(run for entry in entries for run in runs(f"methods=[{entry}]"))
    assert list(one_by_one) == runs()
    assert len(one_by_one) == 28 + 1
    assert json.loads(entries[4]) == {**json.loads(entries[0]), "training": {"precision": "fp32"}}
