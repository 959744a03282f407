"""Workers end in one of a few ways: done, failed, elsewhere, or stopped where another one continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.launch.exit_codes import ELSEWHERE, STOPPED, USER_MISTAKE
from benchmark.launch.lease import Lease
from benchmark.launch.lease_file import lease_path
from benchmark.launch.worker import main
from benchmark.results.store import load_records

ROOT = Path(__file__).resolve().parents[3]


def test_a_wrong_path_is_one_sentence_and_nothing_is_written(tmp_path, tiny_order, capsys):
    order = tiny_order()
    moved = tmp_path / "elsewhere" / "order.json"
    moved.parent.mkdir()
    order.save().rename(moved)
    before = sorted(tmp_path.rglob("*"))

    assert main(tmp_path / "none" / "order.json") == USER_MISTAKE
    assert main(moved) == USER_MISTAKE
    moved.write_text("{}")
    assert main(moved) == USER_MISTAKE
    assert capsys.readouterr().out.count("\n") == 3
    assert sorted(tmp_path.rglob("*")) == before


def test_a_part_that_does_not_fit_is_one_sentence_and_nothing_is_written(tmp_path, tiny_order, capsys):
    path = tiny_order(shards=4).save()
    before = sorted(tmp_path.rglob("*"))

    assert main(path, "attack 2/8") == USER_MISTAKE
    assert "'attack 2/8' is not a part of an order with shards=4" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_what_another_process_works_on_is_elsewhere_and_no_failure(tiny_order, capsys):
    order = tiny_order(lease_seconds=0.2)
    path = order.save()
    with Lease(lease_path(order.folder, "whole"), "whole", 0.2):
        assert main(path) == ELSEWHERE
    assert f"elsewhere  another process works on this, on {os.uname().nodename}" in capsys.readouterr().out
    assert not (order.folder / "failed.txt").exists() and load_records(order.out) == []


def test_vanished_data_are_one_sentence(tmp_path, tiny_order):
    order = tiny_order(dataset="cifar10", epsilon="8/255").model_copy(update={"data_dir": tmp_path / "gone"})

    assert main(order.save()) == USER_MISTAKE
    reason = (order.folder / "failed.txt").read_text()
    assert reason.count("\n") == 1 and "gone" in reason and "Traceback" not in reason
    assert not lease_path(order.folder, "whole").exists()


@pytest.mark.parametrize("way", ["signal", pytest.param("time", marks=pytest.mark.slow)])
def test_a_worker_that_is_stopped_leaves_no_lease_and_is_continued(tiny_order, way):
    order = tiny_order(training={"epochs": 100_000, "batch_size": 16, "selection_steps": 1})
    path, history = order.save(), order.folder / "history.jsonl"
    command = [sys.executable, "-m", "benchmark.launch.worker", str(path)]
    if way == "time":
        command += ["--seconds-left", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    if way == "signal":
        while not history.exists() or not history.stat().st_size:
            assert worker.poll() is None
            time.sleep(0.05)
        worker.send_signal(signal.SIGTERM)
    output, _ = worker.communicate()

    assert worker.returncode == STOPPED, output
    assert f"stopped    {'SIGTERM' if way == 'signal' else 'the time is up'}; the same job continues" in output
    assert not lease_path(order.folder, "whole").exists() and not (order.folder / "failed.txt").exists()
    if way == "signal":
        epochs = [json.loads(line)["epoch"] for line in history.read_text().splitlines()]
        assert epochs == list(range(1, len(epochs) + 1)) and (order.folder / "checkpoint.pt").exists()
