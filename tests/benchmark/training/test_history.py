"""Histories of earlier versions still load, and the share of validation is reported."""

from __future__ import annotations

import json

import pytest

from benchmark.training.history import EpochLine, append, read, truncate
from benchmark.training.progress import report_seconds
from benchmark.training.state import State

OLD = {
    "epoch": 1,
    "phase": "train",
    "lr": 0.1,
    "loss": 2.0,
    "validation_clean_accuracy": 0.5,
    "validation_robust_accuracy": 0.25,
    "kept_weights": 7,
    "seconds": 3.5,
}


def test_a_history_without_the_time_of_validation_loads(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps(OLD) + "\n")
    append(path, EpochLine(**OLD | {"epoch": 2, "validation_seconds": 1.25}))

    assert [line.validation_seconds for line in read(path)] == [0.0, 1.25]
    truncate(path, 1)
    assert read(path) == (EpochLine(**OLD),)


def test_a_state_without_the_time_of_validation_loads():
    old = {name: value for name, value in vars(State()).items() if name != "validation_seconds"}

    assert State(**old).validation_seconds == 0.0


@pytest.mark.parametrize(
    ("seconds", "validation", "noted"),
    [(200.0, 61.0, True), (200.0, 59.0, False), (500.0, 61.0, False), (0.0, 0.0, False)],
)
def test_only_long_validation_is_worth_a_note(seconds, validation, noted):
    lines = []

    report_seconds(seconds, validation, lines.append)

    assert (len(lines) == 2) is noted
    assert f"validation {validation:.0f}s" in lines[0]
    assert not noted or "training.selection_images" in lines[1]
