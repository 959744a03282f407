"""Checkpoints and networks are written completely or not at all, belong to one run, and never execute code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from benchmark.errors import UserError
from benchmark.training import checkpoint
from benchmark.training.checkpoint import (
    OtherTraining,
    TrainingKey,
    load_checkpoint,
    load_network,
    save_checkpoint,
    save_network,
)

KEY = TrainingKey("abc", "5" * 64)


@pytest.fixture
def state():
    """Return a state with every kind of value that a checkpoint may hold."""
    return {
        **vars(KEY),
        "model": {"weight": torch.arange(3.0), "mask": torch.tensor([True, False]), "extra": {"keep_count": 2}},
        "state": {"epoch": 3, "seconds": 1.5, "best": None, "digest": "d"},
        "kernels": None,
    }


def test_a_loaded_state_equals_the_saved_one(tmp_path, state):
    save_checkpoint(tmp_path / "checkpoint.pt", state)

    loaded = load_checkpoint(tmp_path / "checkpoint.pt", KEY)

    assert loaded is not None
    assert torch.equal(loaded["model"].pop("weight"), state["model"].pop("weight"))
    assert torch.equal(loaded["model"].pop("mask"), state["model"].pop("mask"))
    assert loaded == state
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("here", ["dense", "sparse 2, 16 lanes, numba 0.68.1"])
def test_a_training_goes_on_with_the_kernels_that_it_began_with_or_not_at_all(tmp_path, state, monkeypatch, here):
    path, began = tmp_path / "checkpoint.pt", "sparse 2, 8 lanes, numba 0.68.1"
    save_checkpoint(path, state | {"kernels": began})

    monkeypatch.setattr(checkpoint, "kernels_to_use", lambda: here)
    with pytest.raises(UserError, match="install numba in that version") as refusal:
        load_checkpoint(path, KEY)
    monkeypatch.setattr(checkpoint, "kernels_to_use", lambda: began)

    assert load_checkpoint(path, KEY)["kernels"] == began
    assert began in str(refusal.value) and here in str(refusal.value) and path.exists()


@pytest.mark.parametrize(("saved", "kept"), [(None, None), ("dense", "dense"), ("earlier version", "dense")])
def test_dense_passes_go_on_anywhere(tmp_path, state, monkeypatch, saved, kept):
    state["kernels"] = saved
    if saved == "earlier version":  # whose checkpoints do not say it
        del state["kernels"]
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    monkeypatch.setattr(checkpoint, "kernels_to_use", lambda: "others")

    assert load_checkpoint(tmp_path / "checkpoint.pt", KEY)["kernels"] == kept


def test_a_missing_file_means_a_fresh_start(tmp_path):
    assert load_checkpoint(tmp_path / "checkpoint.pt", KEY) is None


@pytest.mark.parametrize("broken", ["save", "fsync", "replace"])
def test_a_failure_while_writing_keeps_the_old_file(tmp_path, state, monkeypatch, broken):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, state)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(*((torch, "save") if broken == "save" else (os, broken)), fail)
        save_checkpoint(path, state | {"run_hash": "new"})

    assert path.read_bytes() == before


OTHERS = [
    (TrainingKey("xyz", KEY.train_sha256), "belongs to run abc, not xyz"),
    (TrainingKey("abc", "6" * 64), r"was trained on other images or labels \(sha256 555555555555…\) than those here"),
]


@pytest.mark.parametrize(("key", "message"), OTHERS)
def test_a_checkpoint_of_another_run_or_other_images_is_refused_and_left_in_place(tmp_path, state, key, message):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, state)

    with pytest.raises(OtherTraining, match=rf"checkpoint\.pt {message}"):
        load_checkpoint(path, key)
    assert path.exists()


def test_an_old_checkpoint_without_the_hash_of_its_images_is_refused(tmp_path, state):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {name: value for name, value in state.items() if name != "train_sha256"})

    with pytest.raises(OtherTraining, match=r"checkpoint\.pt does not say which images it was trained on"):
        load_checkpoint(path, KEY)


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_a_damaged_file_is_refused_in_a_sentence_and_left_in_place(tmp_path, state, damage):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, state)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"no checkpoint at all"}[damage])

    with pytest.raises(UserError, match=r"checkpoint\.pt cannot be read .* delete it to start over"):
        load_checkpoint(path, KEY)
    assert path.exists()


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_code_in_a_checkpoint_is_not_executed(tmp_path, state):
    path, trace = tmp_path / "checkpoint.pt", tmp_path / "executed"
    torch.save(state | {"payload": Payload(trace)}, path)

    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(path, KEY)

    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # the payload would have worked


@pytest.fixture
def network():
    """Return tensors of a network, one of them in another memory layout."""
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    return {"conv.weight": weight, "norm.num_batches_tracked": torch.tensor(7)}


def test_a_loaded_network_and_its_facts_equal_the_saved_ones(tmp_path, network):
    save_network(tmp_path / "network.safetensors", network, {"epoch": 3, "accuracy": 0.25}, KEY)

    loaded = load_network(tmp_path / "network.safetensors", KEY)

    assert loaded is not None
    tensors, facts = loaded
    assert facts == {"epoch": 3, "accuracy": 0.25}
    assert set(tensors) == set(network)
    assert all(torch.equal(tensors[name], value) for name, value in network.items())
    assert [path.name for path in tmp_path.iterdir()] == ["network.safetensors"]


def test_a_missing_network_means_that_training_has_not_finished(tmp_path):
    assert load_network(tmp_path / "network.safetensors", KEY) is None


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failure_while_writing_keeps_the_old_network(tmp_path, network, monkeypatch, broken):
    path = tmp_path / "network.safetensors"
    save_network(path, network, {}, KEY)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(os, broken, fail)
        save_network(path, network, {}, TrainingKey("new", KEY.train_sha256))

    assert path.read_bytes() == before


@pytest.mark.parametrize(("key", "message"), OTHERS)
def test_a_network_of_another_run_or_other_images_is_refused_and_left_in_place(tmp_path, network, key, message):
    path = tmp_path / "network.safetensors"
    save_network(path, network, {}, KEY)

    with pytest.raises(OtherTraining, match=rf"network\.safetensors {message}"):
        load_network(path, key)
    assert path.exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_a_damaged_network_is_refused_in_a_sentence_and_left_in_place(tmp_path, network, damage):
    path = tmp_path / "network.safetensors"
    save_network(path, network, {}, KEY)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"no network at all"}[damage])

    with pytest.raises(UserError) as refusal:
        load_network(path, KEY)
    assert "network.safetensors cannot be read" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert path.exists()
