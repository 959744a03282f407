"""A real SLURM of this machine: jobs meet their time limit, are stopped and killed, and the records are the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.launch.config import LocalConfig, SlurmConfig
from benchmark.launch.engine import LaunchContext, make_engine
from benchmark.launch.job import job_graph
from benchmark.launch.lease_file import lease_path, read_holder
from benchmark.launch.order import WorkOrder
from benchmark.launch.time_limit import TimeLimit
from benchmark.results.store import load_records, make_folders
from benchmark.session import Request, resolve_request

HERE = Path(__file__).parent
SUITE = f"""
name: smoke
dataset: digits
train_images: 256
architecture: {{name: resnet6, width: 0.03125}}
grid: {{weights: fp, keep_ratio: 0.3, allocation: 1.0, objective: fast}}
methods:
  - method: {HERE / "slow.py"}:Slow
  - method: at
  - method: {HERE / "slow.py"}:SlowHydra
    first_phase: at
training: {{epochs: 8, batch_size: 32, attack: {{num_steps: 1}}}}
evaluation: {{images: 4, pgd: {{steps: 2}}}}
"""
# What two records of one experiment may differ in.
OF_THE_RUN = ("seconds", "latency_seconds", "started", "command")


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Start a SLURM with two slots and end it afterwards."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"SLURM is not installed here ({', '.join(missing)}); it is by: apt-get install slurm-wlm munge")
    with tempfile.TemporaryDirectory() as folder:  # a short path, for munged's socket
        command = [str(HERE / "slurm.sh"), "start", f"{folder}/slurm"]
        try:
            started = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            monkeypatch.setenv("SLURM_CONF", started.strip().partition("=")[2])
            yield Path(folder)
        finally:
            subprocess.run([command[0], "stop", command[2]], check=True)


def make_orders(out: Path, suite: Path) -> list[WorkOrder]:
    """Return four orders: slow, dense, slow with three shards, slow with the dense one as its first phase."""
    request = Request(str(suite), None, None, None, "0,1", (), None, out)
    chosen = {(each.method.name, each.seed): each for each in resolve_request(request)[0]}
    wanted = [("slow", 0), ("at", 0), ("slow", 1), ("slow_hydra", 0)]
    make_folders(out, "work", "records", "artifacts")
    return [
        WorkOrder(
            experiment=chosen[key],
            out=out,
            data_dir=None,
            device="cpu",
            threads=1,
            command="",
            shards=3 if key == ("slow", 1) else 1,
        )
        for key in wanted
    ]


def run(config: SlurmConfig | LocalConfig, orders: list[WorkOrder], say: Callable[[str], None]) -> Any:
    context = LaunchContext(out=orders[0].out, device="cpu", jobs=2, threads=1)
    with make_engine(config, context) as engine:
        return engine.run(job_graph(orders), limit=TimeLimit(), say=say)


def comparable(value: Any) -> Any:
    """Return a record's content without what belongs to the run that made it."""
    if isinstance(value, dict):
        return {key: comparable(each) for key, each in value.items() if key not in OF_THE_RUN}
    return [comparable(each) for each in value] if isinstance(value, list) else value


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Yield where two contents differ, and how."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from differences(one[key], other[key], f"{path}/{key}")
    elif one != other:
        yield f"{path}: {str(one)[:200]} != {str(other)[:200]}"


def contents(out: Path) -> dict[str, Any]:
    return {record.run: comparable(json.loads(record.model_dump_json())) for record in load_records(out)}


def start_requeued_jobs_now() -> None:
    """Take off the two minutes that SLURM lets a job wait that was put into the queue again."""
    command = ["squeue", "--noheader", "--array", "--format=%i %r"]
    for line in subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        number, _, reason = line.partition(" ")
        if reason == "BeginTime":
            subprocess.run(["scontrol", "update", f"JobId={number}", "StartTime=now"], check=False)


@pytest.mark.slow
@pytest.mark.hangs_after(600)
def test_jobs_survive_time_limit_signal_and_kill_and_give_the_records_of_the_local_engine(
    slurm: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    suite, slow_while = tmp_path / "smoke.yaml", tmp_path / "slow"
    suite.write_text(SUITE, encoding="utf-8")
    slow_while.touch()
    monkeypatch.setenv("SLOW_WHILE", str(slow_while))
    orders = make_orders(tmp_path / "slurm", suite)
    limited, _, sharded, with_first_phase = orders
    lines: list[str] = []
    outcomes: list[Any] = []
    # SLURM looks at the time every 30 s: of its minute, the first job has 20 to 50 s.
    configs = (
        SlurmConfig(time="1", signal_delay=10, timeouts=50, cpus_per_job=1),
        SlurmConfig(time="30", cpus_per_job=1, array_limit=2),
    )
    engines = [
        threading.Thread(target=lambda: outcomes.append(run(configs[0], [limited], lines.append)), daemon=True),
        threading.Thread(target=lambda: outcomes.append(run(configs[1], orders, lines.append)), daemon=True),
    ]
    folder = orders[0].out / "work" / ".slurm"

    def wait(what: Callable[[], Any]) -> None:
        while not what():
            assert any(engine.is_alive() for engine in engines), "\n".join(lines)
            start_requeued_jobs_now()
            time.sleep(0.5)

    def number_of(order: WorkOrder) -> str:
        files = [json.loads(path.read_text())["ids"] for path in folder.glob("queued-*")]
        return str(next((ids[order.experiment.run] for ids in files if order.experiment.run in ids), ""))

    def was_queued_again(order: WorkOrder) -> bool:
        return "Requeued job" in (folder / f"{number_of(order)}_0_log.out").read_text()

    def trains(order: WorkOrder) -> bool:
        return (order.folder / "checkpoint.pt").exists()

    engines[0].start()
    wait(lambda: number_of(limited))
    engines[1].start()
    wait(lambda: trains(sharded))
    holder = read_holder(lease_path(sharded.folder, "network"))
    assert holder is not None
    os.kill(holder.process.pid, signal.SIGKILL)
    # Its minute ends, and a slot becomes free, in which the network with a first phase is trained next.
    wait(lambda: was_queued_again(limited))
    # Once is enough: on a busy machine a worker needs most of a minute to start.
    subprocess.run(["scontrol", "update", f"JobId={number_of(limited)}", "TimeLimit=30"], check=True)
    wait(lambda: trains(with_first_phase))
    subprocess.run(["scancel", "--signal=TERM", number_of(with_first_phase)], check=True)
    wait(lambda: was_queued_again(with_first_phase))
    slow_while.unlink()
    wait(lambda: len(outcomes) == 2)

    assert [(outcome.failed, outcome.left) for outcome in outcomes] == [((), ())] * 2, "\n".join(lines)
    queued = [re.sub(r" [0-9]+:.*", "", line) for line in lines if re.match(r"queued [0-9]", line)]
    single, pair = "queued 1 job as job", "queued 2 jobs as array"
    assert queued == [single, pair, pair, single, single, single]  # the attack's three shards are cut at two
    assert f"queued {limited.experiment.run} by another run, as job {number_of(limited)}" in lines
    assert "this job is timed-out" in (folder / f"{number_of(limited)}_0_log.out").read_text()
    assert "stopped    SIGTERM" in (with_first_phase.folder / "log.txt").read_text()
    assert any("the worker was killed; it is started once more" in path.read_text() for path in folder.glob("*.out"))
    assert list((orders[0].out / "work").rglob("*lease-*")) == []

    local = make_orders(tmp_path / "local", suite)
    run(LocalConfig(), local, lines.append)
    assert len(contents(tmp_path / "local")) == 4
    assert list(differences(contents(tmp_path / "slurm"), contents(tmp_path / "local"))) == []
