"""Checkpoints are written during training: from a copy, one at a time, and no failure is lost."""

from __future__ import annotations

import threading

import pytest
import torch

from benchmark.errors import UserError
from benchmark.files.writing import writing
from benchmark.training import saving
from benchmark.training.checkpoint import TrainingKey, load_checkpoint
from benchmark.training.saving import Saver, snapshot

KEY = TrainingKey("abc", "5" * 64)


@pytest.fixture
def gate(monkeypatch):
    """Return an event that every write waits for."""
    event = threading.Event()

    def save(path, state, write=saving.save_checkpoint):
        assert event.wait(timeout=600)
        write(path, state)

    monkeypatch.setattr(saving, "save_checkpoint", save)
    return event


def test_changes_after_the_call_do_not_reach_the_file(tmp_path, gate):
    path = tmp_path / "checkpoint.pt"
    weights, momentum = torch.zeros(3), torch.zeros(2)
    changing = {**vars(KEY), "model": {"weight": weights}, "optimizer": {"state": {0: [momentum]}}, "epoch": [1]}

    with Saver(path) as saver:
        saver.save(changing, {"best": {"weight": torch.ones(1)}})
        weights += 1
        momentum += 1
        changing["epoch"][0] = 2
        assert not path.exists()
        gate.set()

    loaded = load_checkpoint(path, KEY)
    assert loaded["model"]["weight"].sum() == 0
    assert loaded["optimizer"]["state"][0][0].sum() == 0
    assert loaded["epoch"] == [1]
    assert loaded["best"]["weight"] == 1


def test_only_one_write_runs_at_a_time(tmp_path, monkeypatch):
    running, most = [], []

    def save(path, state):
        running.append(state["number"])
        most.append(len(running))
        threading.Event().wait(0.02)
        running.remove(state["number"])

    monkeypatch.setattr(saving, "save_checkpoint", save)
    with Saver(tmp_path / "checkpoint.pt") as saver:
        for number in range(4):
            saver.save({"number": number}, {})

    assert most == [1, 1, 1, 1]
    assert running == []


def fail(path, _):
    with writing(path):
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_reported_in_a_sentence_when_the_next_state_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "save_checkpoint", fail)
    sentence = r"checkpoint\.pt cannot be written \(No space left on device\); free some space there, then run the same"

    with Saver(tmp_path / "checkpoint.pt") as saver:
        saver.save({"number": 0}, {})
        with pytest.raises(UserError, match=sentence):
            saver.save({"number": 1}, {})


def test_a_full_disk_is_reported_at_the_end_at_the_latest(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "save_checkpoint", fail)

    with pytest.raises(UserError, match="cannot be written"), Saver(tmp_path / "checkpoint.pt") as saver:
        saver.save({"number": 0}, {})


def test_a_training_failure_waits_for_the_write_and_is_not_hidden_by_a_failed_write(tmp_path, monkeypatch, gate):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(ZeroDivisionError), Saver(path) as saver:
        saver.save(vars(KEY), {})
        gate.set()
        raise ZeroDivisionError
    assert load_checkpoint(path, KEY) is not None

    monkeypatch.setattr(saving, "save_checkpoint", fail)
    with pytest.raises(ZeroDivisionError), Saver(path) as saver:
        saver.save({"run_hash": "new"}, {})
        raise ZeroDivisionError


def test_a_snapshot_has_the_layout_of_what_it_copies_and_no_more(tmp_path):
    image = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)

    copied = snapshot({"image": image, "part": (image[0],), "none": None})

    assert torch.equal(copied["image"], image) and copied["image"].stride() == image.stride()
    assert copied["part"][0].untyped_storage().nbytes() == image[0].numel() * 4
    assert copied["none"] is None
