"""`load_model` returns the very network of a row, or refuses in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import benchmark
from benchmark.api import fetching
from benchmark.api.loading import class_names
from benchmark.attacks import pgd
from benchmark.data.cache import cache_folder
from benchmark.data.load import load_test
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.arguments import checked_network
from benchmark.files.places import ROOT
from benchmark.results.addresses import ArtifactAddress, address_path
from benchmark.results.store import artifact_path, load_records, write_model

URL = "https://example.org/network.safetensors"

# What a user would write, in a process that has imported nothing else.
FRESH = """
import json, sys, torch, benchmark
from benchmark.data.load import load_test
from benchmark.results.store import load_records

folder, verdicts = sys.argv[1], {}
for record in load_records(__import__("pathlib").Path(folder)):
    model = benchmark.load_model(record.run_hash[:6], board=folder)
    data = load_test("digits", None, limit=record.evaluation.n_images).test
    with torch.no_grad():
        answers = model(data.images / 255).argmax(1)
    verdicts[model.record.run] = (answers == data.labels).tolist()
print(json.dumps(verdicts))
"""


def test_every_demonstration_row_gives_the_clean_verdicts_of_its_record_in_a_fresh_process(tmp_path):
    folder = ROOT / "docs" / "demo"
    command = [sys.executable, "-c", FRESH, folder]
    finished = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    verdicts = json.loads(finished.stdout)

    records = load_records(folder)
    assert {record.run for record in records} == verdicts.keys() and len(records) == 3
    for record in records:
        assert np.array_equal(verdicts[record.run], record.evaluation.right("clean")), record.run
    assert not all(all(each) for each in verdicts.values())  # no constant answer would pass


def test_a_model_is_ready_to_be_attacked(demo):
    model = benchmark.load_model("at/fp", board=demo)
    data = load_test("digits", None, limit=24).test
    images = as_float_images(data.images).requires_grad_()
    model(images).sum().backward()

    assert not model.training and not any(module.training for module in model.modules())
    assert images.grad is not None and images.grad.abs().sum() > 0
    tensors = [*model.parameters(), *model.buffers()]
    assert all(each.dtype in (torch.float32, torch.int64) and each.is_contiguous() for each in tensors)
    assert not any(each.requires_grad for each in model.parameters())
    assert model.classes == tuple("0123456789") and model.record.method.name == "at"
    attacked = pgd(
        model, images.detach(), data.labels, epsilon=0.3, step_size=0.1, num_steps=5, random_start=False, generator=None
    )
    right = [int((model(inputs).argmax(1) == data.labels).sum()) for inputs in (images, attacked)]
    assert right[1] < right[0]
    assert checked_network(model) is model.network  # measured like the artifact, by the same fast copy


def test_a_run_a_hash_and_a_path_lead_to_the_same_row(demo, tmp_path):
    record = next(record for record in load_records(demo) if record.method.name == "hydra")
    path, copied = artifact_path(demo, record.run), tmp_path / "copied.safetensors"
    copied.write_bytes(path.read_bytes())
    ways = [
        benchmark.load_model(record.run, board=demo),
        benchmark.load_model(record.run_hash[:4], board=str(demo)),
        benchmark.load_model(record.run, board=demo, protocol=record.protocol),
        benchmark.load_model(path),
        benchmark.load_model(str(copied), board=demo),
        benchmark.load_model(copied),
    ]

    assert [model.record for model in ways] == [record] * 5 + [None]
    (first, *others) = [torch.cat([value.flatten() for value in model.state_dict().values()]) for model in ways]
    assert all(torch.equal(first, other) for other in others)


def test_the_projects_own_boards_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = benchmark.load_model("1b4b03")

    assert model.record.run_hash.startswith("1b4b03") and model.classes[0] == "airplane"


def test_classes_are_numbers_where_nobody_named_them():
    assert class_names("my-images", 3) == ("0", "1", "2")
    assert class_names("cifar10", 2) == ("0", "1")
    assert class_names("cifar100", 100)[99] == "worm"


def test_another_file_in_the_artifacts_place_is_refused(demo):
    at, hydra = (next(r for r in load_records(demo) if r.method.name == name) for name in ("at", "hydra"))
    path = artifact_path(demo, at.run)
    path.write_bytes(artifact_path(demo, hydra.run).read_bytes())
    for row in (at.run_hash, path):
        with pytest.raises(UserError, match=r"the record was measured on .*; fetch the record's file$"):
            benchmark.load_model(row, board=None if row == path else demo)


@pytest.mark.parametrize(
    ("row", "options", "reason"),
    [
        ("nothing", {}, "no record is called 'nothing'"),
        ("digits", {}, "means 3 rows, give the cell or the hashes"),
        ("at/fp", {"protocol": "digits-linf-8_255-aa-standard-8"}, "there is no protocol 'digits-linf-8"),
        ("at/fp", {"protocol": 3}, "protocol must be the id of a board"),
        ("at/fp", {"board": "lacking"}, "there is no folder lacking; give board the folder"),
        ("at/fp", {"board": ""}, "board must be a path"),
        (3, {}, "row must be the name of a row, such as '1b4b03'; got 3"),
        ("lacking.safetensors", {}, "lacking.safetensors is not a file"),
    ],
)
def test_a_mistake_ends_in_one_sentence(demo, row, options, reason):
    with pytest.raises(UserError) as caught:
        benchmark.load_model(row, **{"board": demo} | options)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_of_a_network_on_two_boards_the_record_of_most_images_is_taken_unless_a_protocol_is_given(demo):
    (path,) = (demo / "records").glob("*/*__at__*.json")
    fields = json.loads(path.read_text(encoding="utf-8"))
    fields["evaluation"]["pgd"]["steps"] = 7
    first, other = fields["protocol"], fields["protocol"].replace("pgd20", "pgd7")
    fields["protocol"] = other
    place = demo / "records" / other / path.name
    place.parent.mkdir()
    place.write_text(json.dumps(fields), encoding="utf-8")
    artifact = demo / "artifacts" / f"{path.stem}.safetensors"

    for row, folder in (("at/fp", demo), (artifact, None)):
        assert benchmark.load_model(row, board=folder).record.protocol == other  # as many images: the last by name
        for protocol in (first, other):
            assert benchmark.load_model(row, board=folder, protocol=protocol).record.protocol == protocol
    assert benchmark.load_model("4e0c80").record.evaluation.n_images == 1024  # also on a board of 256


@pytest.fixture
def elsewhere(demo, monkeypatch, tmp_path):
    """Move an artifact to an address; return its record, its content and what was asked of the network."""
    monkeypatch.setenv("ROBUST_COMPRESSION_CACHE", str(tmp_path / "cache"))
    record = next(record for record in load_records(demo) if record.method.name == "at")
    path = artifact_path(demo, record.run)
    content = [path.read_bytes()]
    path.unlink()
    write_model(address_path(demo, record.run), ArtifactAddress(schema_version=1, url=URL))
    asked: list[tuple[str, int]] = []

    def download(url: str, size: int) -> bytes:
        asked.append((url, size))
        return content[0]

    monkeypatch.setattr(fetching, "download", download)
    return record, content, asked


def test_an_artifact_at_an_address_is_fetched_once_in_its_size_and_kept(demo, elsewhere, capfd):
    record, _, asked = elsewhere
    first, second = (benchmark.load_model("at/fp", board=demo) for _ in range(2))

    assert first.record == second.record == record
    assert asked == [(URL, record.artifact.size_bytes)]
    assert [path.name for path in (cache_folder() / "artifacts").iterdir()] == [f"{record.artifact.sha256}.safetensors"]
    assert capfd.readouterr() == ("", "")


def test_a_cached_file_that_changed_is_fetched_again(demo, elsewhere):
    record, _, asked = elsewhere
    kept = cache_folder() / "artifacts" / f"{record.artifact.sha256}.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"another")

    assert benchmark.load_model("at/fp", board=demo).record == record
    assert len(asked) == 1


def test_another_file_at_the_address_is_refused_and_not_kept(demo, elsewhere):
    _, content, _ = elsewhere
    content[0] = content[0][:-1] + bytes([content[0][-1] ^ 1])
    with pytest.raises(UserError, match=r"is not the artifact that was measured for .*: its sha256 is not"):
        benchmark.load_model("at/fp", board=demo)
    assert list((cache_folder() / "artifacts").iterdir()) == []


@pytest.mark.parametrize("url", ["http://example.org/a", "file:///etc/passwd", "https://user@example.org/a", "a"])
def test_only_https_addresses_are_read(demo, elsewhere, url):
    record, _, asked = elsewhere
    address_path(demo, record.run).write_text(json.dumps({"schema_version": 1, "url": url}), encoding="utf-8")
    with pytest.raises(UserError, match="url"):
        benchmark.load_model("at/fp", board=demo)
    assert not asked


def test_an_address_on_this_machine_is_refused(demo, elsewhere, monkeypatch):
    monkeypatch.undo()
    record, _, _ = elsewhere
    write_model(address_path(demo, record.run), ArtifactAddress(schema_version=1, url="https://127.0.0.1/a"))
    with pytest.raises(UserError, match=r"is not on a public host; fetch https://127\.0\.0\.1/a by hand"):
        benchmark.load_model("at/fp", board=demo)


def test_an_address_is_no_link(demo, elsewhere, tmp_path):
    record, _, asked = elsewhere
    path = address_path(demo, record.run)
    path.rename(tmp_path / "address.json")
    path.symlink_to(tmp_path / "address.json")
    with pytest.raises(UserError, match="is a symbolic link"):
        benchmark.load_model("at/fp", board=demo)
    assert not asked


def test_an_artifact_that_is_nowhere_is_named(demo, elsewhere):
    record, _, _ = elsewhere
    address_path(demo, record.run).unlink()
    with pytest.raises(UserError, match=r"has no artifact at .*; fetch the file there"):
        benchmark.load_model("at/fp", board=demo)


def test_the_sparse_runtime_gives_the_logits_of_the_row_or_says_what_is_missing(demo, monkeypatch):
    pytest.importorskip("numba")
    images = torch.rand(3, 1, 8, 8)

    model, sparse = (benchmark.load_model("at/fp", board=demo, runtime=name) for name in ("torch", "sparse"))

    assert torch.allclose(sparse(images), model(images), atol=1e-5)
    assert (sparse.record, sparse.classes) == (model.record, model.classes)
    monkeypatch.setattr("benchmark.evaluation.fast.sparse.kernels", lambda: None)
    for name, message in (("sparse", "needs numba"), ("onnx", "runtime takes 'torch' or 'sparse'; got 'onnx'")):
        with pytest.raises(UserError, match=message):
            benchmark.load_model("at/fp", board=demo, runtime=name)
