"""A job that several processes do together ends like its first process."""

from __future__ import annotations

import os
import sys

import pytest

from benchmark.launch import group
from benchmark.launch.exit_codes import FAILED, STOPPED, USER_MISTAKE
from benchmark.launch.group import in_group, note_exit_code, run_group
from benchmark.launch.worker import main

NOTE = f"open(os.environ['BENCHMARK_EXIT_CODE_FILE'], 'w').write('{STOPPED}')"


@pytest.mark.parametrize(
    ("code", "expected"),
    [(f"{NOTE}; sys.exit(1)", STOPPED), ("sys.exit(9)", 9), ("sys.exit(0)", FAILED)],
    ids=["noted", "died", "nothing noted"],
)
def test_the_first_process_says_how_the_job_ended(tmp_path, monkeypatch, code, expected):
    command = [sys.executable, "-c", f"import os, sys; {code}"]
    monkeypatch.setattr(group, "module_command", lambda module: command)

    assert run_group(tmp_path / "order.json", "whole", 2) == expected


def test_only_the_first_process_notes_its_code(tmp_path, monkeypatch):
    path = tmp_path / "code"
    monkeypatch.setenv("BENCHMARK_EXIT_CODE_FILE", str(path))
    assert in_group() is None and note_exit_code(3) == 3 and not path.exists()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    for rank in (1, 0):
        monkeypatch.setenv("RANK", str(rank))
        assert in_group() == rank and note_exit_code(rank + 3) == rank + 3
    assert path.read_text() == "3"


@pytest.mark.slow
def test_a_worker_starts_its_group_and_passes_its_mistake_on(tmp_path, tiny_order, capfd):
    order = tiny_order(dataset="cifar10", epsilon="8/255")
    order = order.model_copy(update={"data_dir": tmp_path / "gone", "processes": 2})

    assert main(order.save()) == USER_MISTAKE
    assert (order.folder / "failed.txt").read_text().count("\n") == 1
    assert [name for name in os.listdir(order.folder) if "lease" in name] == []
