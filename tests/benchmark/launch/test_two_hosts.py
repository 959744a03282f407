"""Two hosts on one folder, played by two `run`s with different host names that are killed again and again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from itertools import groupby
from pathlib import Path

import pytest

from benchmark.results.store import load_records

ROOT = Path(__file__).resolve().parents[3]
JOBS = 40
SUITE = f"""
name: hosts
dataset: digits
train_images: 32
epsilon: 200/255
architecture: {{name: resnet6, width: 0.0625}}
grid: {{weights: fp, keep_ratio: 1.0, allocation: 1.0, objective: clean}}
methods: [{{method: "own.py:Own"}}]
seeds: {list(range(JOBS))}
training: {{epochs: 2, batch_size: 16, selection_steps: 1}}
evaluation: {{images: 2, pgd: {{steps: 1}}}}
"""
# The real training, evaluation and record, only that no time is spent on measuring time. Everything that a worker does
# is noted with the lease under which it is done, which is the one that guards this process's writes.
PLUGIN = """
import os

from benchmark.artifact import latency
from benchmark.files import writing
from benchmark.launch import run_order
from methods.at import AT

latency._median_seconds = lambda *_, **__: 1e-3


def note(what):
    for guard in writing._guards:
        line = f"{guard.__self__.path.parent} {os.environ['BENCHMARK_HOST']}-{os.getpid()} {what}\\n"
        handle = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, line.encode())
        os.close(handle)


def save_record(*arguments, original=run_order.save_record):
    original(*arguments)
    note("record")


if run_order.save_record.__module__ == "benchmark.results.store":
    run_order.save_record = save_record
note("begin")


class Own(AT):
    name = "own"

    def after_step(self, model, phase, step):
        note("step")
        super().after_step(model, phase, step)

    def export(self, model):
        note("export")
        return super().export(model)
"""


class Host:
    """A `run` and all its processes."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.log = folder, name, folder / f"{name}.log"
        self.start()

    def start(self) -> None:
        environment = {
            **os.environ,
            **{"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "BENCHMARK_HOST": self.name},
            "JOURNAL": str(self.folder / "journal"),
        }
        command = [sys.executable, "-m", "benchmark", "run", "suite.yaml", "--jobs", "1", "--device", "cpu"]
        command += ["--launcher-config", "local.yaml", "--out", "out"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.mark.slow
def test_two_hosts_that_are_killed_again_and_again_do_every_job_once(tmp_path):
    (tmp_path / "suite.yaml").write_text(SUITE)
    (tmp_path / "own.py").write_text(PLUGIN)
    (tmp_path / "local.yaml").write_text("lease_seconds: 1\n")
    out, journal, random_numbers = tmp_path / "out", tmp_path / "journal", random.Random(0)

    def count() -> int:
        return len(list((out / "records").rglob("*.json")))

    hosts = {name: Host(tmp_path, name) for name in ("one", "two")}
    try:
        for names in (["one"], ["two"], ["one", "two"]):
            goal = count() + 6
            while count() < goal:
                assert all(host.process.poll() in (None, 0) for host in hosts.values())
                time.sleep(0.02)
            time.sleep(random_numbers.uniform(0, 1.5))  # whatever they are doing then
            for name in names:
                hosts[name].kill()
                hosts[name].start()
        assert [host.process.wait() for host in hosts.values()] == [0, 0]
    finally:
        for host in hosts.values():
            if host.process.poll() is None:
                host.kill()

    logs = "".join(host.log.read_text() for host in hosts.values())
    assert "FAILED" not in logs and "Traceback" not in logs
    records = load_records(out)
    assert len(records) == len({record.run for record in records}) == JOBS
    assert [path for path in out.rglob("*lease-*")] == []
    workers, recorded = defaultdict(list), Counter()
    for line in journal.read_text().splitlines():
        folder, worker, what = line.split()
        workers[folder].append(worker)
        recorded[folder] += what == "record"
    assert len(workers) == JOBS and len({worker for names in workers.values() for worker in names}) > JOBS
    for folder, names in workers.items():
        turns = [worker for worker, _ in groupby(names)]
        assert len(turns) == len(set(turns)), f"workers of {folder} alternate: two were at work at once"
        assert recorded[folder] <= 1
    assert sum(recorded.values()) >= JOBS - 4  # a killed host may have written a record and not its note
    assert len({name.partition("-")[0] for names in workers.values() for name in names}) == 2
