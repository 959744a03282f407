"""File types are recognised by content, not by name, and nothing is executed."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save as save_tensors
from torch import nn

from benchmark.artifact.unpack import read_artifact
from benchmark.errors import UserError
from benchmark.files.kinds import kind_of_content

LEADERBOARDS = Path(__file__).resolve().parents[3] / "leaderboards"


class Dangerous:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).eval()


def written(write):
    """Return the bytes that a function writes into a file object."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def onnx_network():
    node = onnx.helper.make_node("Relu", ["images"], ["logits"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("images", "logits")]
    graph = onnx.helper.make_graph([node], "network", ends[:1], ends[1:])
    return onnx.helper.make_model(graph, producer_name="somebody").SerializeToString()


def tar_archive():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights"))
    return file.getvalue()


def zip_archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weights", b"")
    return file.getvalue()


def exported_program():
    program = torch.export.export(network(), (torch.zeros(1, 3, 2, 2),))
    return written(lambda file: torch.export.save(program, file))


def old_checkpoint():
    return written(lambda file: torch.save(network().state_dict(), file, _use_new_zipfile_serialization=False))


def some_record():
    return next((LEADERBOARDS / "records").rglob("*.json")).read_bytes()


KINDS = {
    "ONNX": (onnx_network, "an ONNX network", "`evaluate FILE --dataset NAME` measures it"),
    "TorchScript": (
        lambda: written(lambda file: torch.jit.save(torch.jit.trace(network(), torch.zeros(1, 3, 2, 2)), file)),
        "a TorchScript network",
        "`evaluate FILE --dataset NAME` measures it",
    ),
    "exported": (exported_program, "a torch.export program", "`evaluate FILE --dataset NAME` measures it"),
    "checkpoint": (
        lambda: written(lambda file: torch.save(network().state_dict(), file)),
        "a PyTorch checkpoint",
        "--arch ARCHITECTURE` measures it",
    ),
    "old checkpoint": (old_checkpoint, "a pickle of an old PyTorch version", "--arch ARCHITECTURE"),
    "pickle": (lambda: pickle.dumps({}), "a pickle", "only from files you trust"),
    "safetensors": (
        lambda: save_tensors(network().state_dict()),
        "a safetensors file of 2 tensors",
        "--arch ARCHITECTURE",
    ),
    "adversarial images": (lambda: save_tensors({"x_adv": torch.zeros(1)}), "a file of adversarial", "`challenge`"),
    "npz": (lambda: written(lambda file: np.savez(file, weight=np.zeros(3))), "a numpy archive", "benchmark.evaluate"),
    "npy": (lambda: written(lambda file: np.save(file, np.zeros(3))), "a numpy file", "give another file"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file", "build the network in PyTorch"),
    "TensorFlow Lite": (lambda: b"\x1c\0\0\0TFL3" + bytes(99), "a TensorFlow Lite network", "build the network in"),
    "record": (some_record, "a record", "its artifact is artifacts/"),
    "JSON": (lambda: b" {}", "a JSON file", "give another file"),
    "text": (lambda: b"epochs: 3\n", "a text file", "give another file"),
    "web page": (lambda: b"<!DOCTYPE html><html></html>", "a web page", "fetch the file itself"),
    "Git LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer", "git lfs pull"),
    "gzip": (lambda: b"\x1f\x8b\x08" + bytes(99), "a gzip archive", "unpack it first"),
    "tar": (tar_archive, "a tar archive", "unpack it first"),
    "zip": (zip_archive, "a zip archive", "unpack it first"),
    "cut zip": (lambda: zip_archive()[:40], "a damaged zip archive", "fetch or write it again"),
    "empty": (lambda: b"", "an empty file", "fetch or write it again"),
}


@pytest.mark.parametrize(("content", "name", "action"), KINDS.values(), ids=KINDS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore::FutureWarning")
def test_a_file_that_is_no_artifact_is_reported_with_its_type_and_what_to_do(tmp_path, content, name, action):
    path = tmp_path / "network.safetensors"
    path.write_bytes(content())

    with pytest.raises(UserError) as refusal:
        read_artifact(path)

    assert str(refusal.value).startswith(f"{path} is {name}")
    assert action in str(refusal.value) and "\n" not in str(refusal.value)


def test_nothing_is_unpickled(tmp_path):
    path, trap = tmp_path / "network.pt", tmp_path / "trap"
    for content in (pickle.dumps(Dangerous(trap)), written(lambda file: torch.save(Dangerous(trap), file))):
        path.write_bytes(content)
        with pytest.raises(UserError, match="pickle"):
            read_artifact(path)

    assert not trap.exists()


@pytest.mark.parametrize("cut", [1, 7, 50])
def test_a_truncated_onnx_file_is_not_recognised(tmp_path, cut):
    path = tmp_path / "network.onnx"
    path.write_bytes(onnx_network()[:-cut])

    assert kind_of_content(path) is None


def test_a_path_that_is_no_file_gets_a_suggestion(tmp_path):
    (tmp_path / "artifacts").mkdir()
    artifact = tmp_path / "artifacts" / "network.safetensors"
    artifact.touch()

    with pytest.raises(UserError, match=r"networks\.safetensors is not a file: .*, perhaps network\.safetensors\."):
        read_artifact(artifact.with_name("networks.safetensors"))
    with pytest.raises(UserError, match=rf"{tmp_path} is a folder, not a file: .*, such as {artifact}\."):
        read_artifact(tmp_path)


def test_untrusted_json_may_be_anything(tmp_path):
    path = tmp_path / "file"
    for content in ("[" * 100_000, json.dumps([1]), '{"run": 3, "artifact": 1, "evaluation": 1, "provenance": 1}'):
        path.write_text(content, encoding="utf-8")
        kind = kind_of_content(path)
        assert kind is not None and kind.name in ("a JSON file", "a text file")


def test_a_truncated_safetensors_file_is_reported(tmp_path):
    whole = save_tensors({"weight": torch.zeros(8)})
    (tmp_path / "cut").write_bytes(whole[:-4])

    with pytest.raises(UserError, match="is a truncated safetensors file, not an artifact"):
        read_artifact(tmp_path / "cut")


def test_a_broken_link_is_reported(tmp_path):
    (tmp_path / "net.pt").symlink_to("nowhere")

    with pytest.raises(UserError, match=r"net\.pt is a broken link: nowhere does not exist"):
        read_artifact(tmp_path / "net.pt")
