"""`run` with shards, in a limited time, and stopped by a scheduler's signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.results.store import load_records

ROOT = Path(__file__).resolve().parents[2]
SUITE = """
name: tiny
dataset: digits
train_images: 32
epsilon: 200/255
architecture: {name: resnet6, width: 0.0625}
grid: {weights: fp, keep_ratio: 1.0, allocation: 1.0, objective: clean}
methods: [{method: at}]
seeds: [0, 1]
training: {epochs: EPOCHS, batch_size: 16, selection_steps: 1}
evaluation: {images: 4, pgd: {steps: 1}}
"""


@pytest.fixture
def suite(tmp_path):
    """Return a function that writes a tiny suite of two runs and returns its path."""

    def write(epochs):
        path = tmp_path / "suite.yaml"
        path.write_text(SUITE.replace("EPOCHS", str(epochs)))
        return path

    return write


def test_mistakes_in_the_new_options_are_one_sentence_each(command, suite, tmp_path):
    path = suite(1)
    (tmp_path / "slurm.yaml").write_text("partition: x\n")
    (tmp_path / "two.yaml").write_text("gpus_per_job: 2\n")
    for words, sentence in (
        (["--shards", 5], "--shards 5: digits/"),
        (["--time-limit", "nan"], "--time-limit takes a time above zero"),
        (["--launcher", "slrum"], "unknown launcher 'slrum'. Did you mean slurm?"),
        (["--launcher-config", "slurm.yaml"], "'partition' is a setting of --launcher slurm, not of local"),
        (["--launcher", "commands", "--jobs", 2], "--jobs is for workers on this machine"),
        (["--launcher-config", "two.yaml", "--device", "cpu"], "gpus_per_job is 2, but this run computes on CPUs"),
    ):
        code, out, err = command("run", path, *words)
        assert code == 2 and sentence in err and err.count("\n") == 1, err
        assert out == "" and not list(tmp_path.glob("runs"))


def test_shards_and_a_time_limit(command, suite, tmp_path):
    path = suite(1)

    code, out, _ = command("run", path, "--seeds", 0, "--shards", 2, "--device", "cpu", "--time-limit", "1:00:00")

    assert code == 0 and out.count("\nstart  ") == out.count("\ndone   ") == 4
    (record,) = load_records(tmp_path / "runs")
    assert record.evaluation.autoattack.shards == 2
    assert "--shards 2" in record.provenance.command and "--time-limit" not in record.provenance.command
    code, out, _ = command("run", path, "--time-limit", "0.001s", "--device", "cpu")
    assert code == 0 and "left: 1 experiment; run the same command again to continue\n  digits/" in out
    assert len(load_records(tmp_path / "runs")) == 1


@pytest.mark.slow
def test_a_schedulers_signal_ends_run_with_0_says_what_is_left_and_keeps_what_it_had(suite, tmp_path):
    command = [sys.executable, "-m", "benchmark", "run", str(suite(10_000)), "--jobs", "1", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    while not any(path.stat().st_size for path in tmp_path.rglob("history.jsonl")):
        assert run.poll() is None
        time.sleep(0.05)
    run.send_signal(signal.SIGUSR1)
    output, _ = run.communicate()

    assert run.returncode == 0, output
    assert "\nstopped digits/" in output and "FAILED" not in output
    assert "left: 2 experiments; run the same command again to continue\n  digits/" in output
    assert list(tmp_path.rglob("lease-*")) == [] and list(tmp_path.rglob("failed.txt")) == []
    assert len(list(tmp_path.rglob("checkpoint.pt"))) == 1
