"""A job of several processes: it ends like the first one; a lost one is replaced; a stop changes no bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.launch import group
from benchmark.launch.exit_codes import DONE, FAILED, STOPPED, USER_MISTAKE
from benchmark.launch.group import in_group, note_exit_code, run_group
from benchmark.launch.worker import main
from benchmark.runtime.interpreters import module_command, module_environment

TRAINING = {"epochs": 6, "batch_size": 16, "attack": {"num_steps": 2}, "selection_steps": 1}
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
        assert in_group() == rank and note_exit_code(rank + 2) == rank + 2
    assert path.read_text() == "2"


@pytest.mark.slow
def test_a_worker_starts_its_group_and_passes_its_mistake_on(tmp_path, tiny_order, capfd):
    order = tiny_order(dataset="cifar10", epsilon="8/255")
    order = order.model_copy(update={"data_dir": tmp_path / "gone", "processes": 2})

    assert main(order.save()) == USER_MISTAKE
    assert (order.folder / "failed.txt").read_text().count("\n") == 1
    assert [name for name in os.listdir(order.folder) if "lease" in name] == []


def worker(order, log):
    path = order.save()
    with log.open("a") as output:
        return subprocess.Popen(
            [*module_command("benchmark.launch.worker"), str(path), "--part", "network"],
            env={**module_environment(), "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def process_of_rank(rank: int, below: int) -> int | None:
    """Return the id of the descendant of a process that torchrun gave a rank."""
    for child in Path(f"/proc/{below}/task/{below}/children").read_text().split():
        try:
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            if f"RANK={rank}".encode() in variables:
                return int(child)
            if (grandchild := process_of_rank(rank, int(child))) is not None:
                return grandchild
        except FileNotFoundError:  # it has just ended
            continue
    return None


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, "the worker has ended too soon"
        time.sleep(0.02)


def artifact_of(order) -> bytes:
    (path,) = (order.out / "artifacts").rglob("*.safetensors")
    return path.read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_a_lost_process_and_a_stop_change_no_bit(tiny_order, tmp_path):
    settings = {"processes": 2, "shards": 2, "objective": "fast", "train_images": 96, "training": TRAINING}
    order, whole, log = tiny_order(**settings), tiny_order(**settings, out="whole"), tmp_path / "log"
    undisturbed = worker(whole, tmp_path / "log of the whole")
    process = worker(order, log)
    wait_for((order.folder / "checkpoint.pt").exists, process)
    os.kill(process_of_rank(1, process.pid), signal.SIGKILL)
    wait_for(lambda: "resumed" in log.read_text(), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == STOPPED, log.read_text()
    assert (order.folder / "checkpoint.pt").exists() and not (order.folder / "failed.txt").exists()
    assert list(order.folder.glob("lease*")) == []

    assert worker(order, log).wait() == DONE, log.read_text()
    assert log.read_text().count("resumed") == 2
    assert undisturbed.wait() == DONE
    assert artifact_of(order) == artifact_of(whole)


def test_a_process_that_stopped_has_not_failed_and_the_first_ones_exit_code_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHMARK_EXIT_CODE_FILE", str(tmp_path / "code"))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a group")
    monkeypatch.setenv("RANK", "0")
    assert group.note_exit_code(STOPPED) == DONE
    assert (tmp_path / "code").read_text() == str(STOPPED)
    monkeypatch.setenv("RANK", "1")
    assert group.note_exit_code(USER_MISTAKE) == USER_MISTAKE
    assert (tmp_path / "code").read_text() == str(STOPPED)
