"""A real Ray cluster of this machine: nodes die in training and in AutoAttack, and the records are the same."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.launch.lease_file import lease_path, read_holder
from benchmark.launch.order import load_order
from benchmark.results.store import load_records
from benchmark.runtime.interpreters import module_environment

HERE = Path(__file__).parent
HEAD = "127.0.0.2"  # Ray takes the machine's outer address for 127.0.0.1
SUITE = f"""
name: held
dataset: digits
train_images: 192
architecture: {{name: resnet6, width: 0.0625}}
seeds: [0, 1]
epsilon: 4/255
grid: {{weights: fp, keep_ratio: 0.3, allocation: 1.0, objective: fast}}
methods:
  - method: {HERE / "held.py"}:Held
training: {{epochs: 4, batch_size: 64, attack: {{num_steps: 1}}}}
evaluation: {{images: 8, pgd: {{steps: 2}}}}
"""
OF_THE_RUN = ("seconds", "started", "command", "latency_seconds")  # what two records of one experiment may differ in
RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def descendants(process: int) -> list[int]:
    """Return a process and all that come from it, parents first."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    family = [process]
    for each in family:
        family += children.get(each, [])
    return family


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Cluster:
    """A head without CPUs and nodes with one each, as processes of this machine, by name."""

    def __init__(self, folder: Path, hold: Path) -> None:
        self.folder, self.nodes = folder, dict[str, subprocess.Popen[bytes]]()
        with socket.create_server((HEAD, 0)) as server:
            self.address = f"{HEAD}:{server.getsockname()[1]}"
        # Nobody else may run anything here; a lost node is noticed within a few seconds.
        self.variables = {
            **{name: value for name, value in module_environment().items() if not name.startswith("RAY_")},
            **{"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"},
            **{"RAY_health_check_period_ms": "1000", "RAY_memory_monitor_refresh_ms": "0", "HOLD": str(hold)},
        }
        port = self.address.partition(":")[2]
        self.start("head", HEAD, "--head", "--port", port, "--num-cpus=0", "--include-dashboard=false")
        assert self.is_up("head"), (folder / "head.log").read_text()

    def start(self, name: str, ip: str, *options: str) -> None:
        own = [f"--temp-dir={self.folder / name}", f"--node-ip-address={ip}", "--object-store-memory=80000000"]
        command = [*RAY, "start", "--block", "--disable-usage-stats", *own, *options]
        with open(self.folder / f"{name}.log", "wb") as log:
            variables = {**self.variables, "BENCHMARK_HOST": name}
            self.nodes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=variables
            )

    def join(self, name: str) -> None:
        """Start a node and wait until it has joined; Ray gives it 30 s, too little on a busy machine."""
        for _ in range(5):
            self.start(name, f"127.0.0.{10 + len(self.nodes)}", "--address", self.address, "--num-cpus=1")
            if self.is_up(name):
                return
        raise AssertionError((self.folder / f"{name}.log").read_text())

    def is_up(self, name: str) -> bool:
        """Wait until a node runs or has given up."""
        while self.nodes[name].poll() is None:
            if "Ray runtime started" in (self.folder / f"{name}.log").read_text():
                return True
            time.sleep(0.2)
        return False

    def kill(self, name: str) -> None:
        """Kill all of Ray's own processes of a node, and none of those that it was made to start."""
        for process in descendants(self.nodes[name].pid):
            try:
                if b"benchmark.launch.worker" not in Path(f"/proc/{process}/cmdline").read_bytes():
                    os.kill(process, signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                pass
        self.nodes.pop(name).wait()


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Cluster]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed here; it is by: pip install -e '.[ray]'")
    if sys.platform != "linux":
        pytest.skip("nodes need addresses such as 127.0.0.2, which only Linux has by default")
    import tempfile

    with tempfile.TemporaryDirectory() as folder:  # a short path, for Ray's sockets
        cluster = Cluster(Path(folder), tmp_path / "hold")
        try:
            yield cluster
        finally:
            for name in list(cluster.nodes):
                cluster.kill(name)


def run(out: Path, suite: Path, variables: dict[str, str], *options: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-P",
        "-m",
        "benchmark",
        "run",
        str(suite),
        "--out",
        str(out),
        "--device",
        "cpu",
        *options,
    ]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(command, text=True, env=variables, **output)  # type: ignore[call-overload,no-any-return]


def comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: comparable(each) for key, each in value.items() if key not in OF_THE_RUN}
    return [comparable(each) for each in value] if isinstance(value, list) else value


def contents(out: Path) -> dict[str, Any]:
    return {record.run: comparable(json.loads(record.model_dump_json())) for record in load_records(out)}


@pytest.mark.slow
@pytest.mark.hangs_after(900)
def test_lost_nodes_cost_no_job_and_the_records_are_those_of_the_local_engine(cluster: Cluster, tmp_path: Path) -> None:
    suite, config, out = tmp_path / "held.yaml", tmp_path / "ray.yaml", tmp_path / "ray"
    suite.write_text(SUITE, encoding="utf-8")
    config.write_text(f"address: {cluster.address}\ncpus_per_job: 1\nlease_seconds: 4\n", encoding="utf-8")
    hold = tmp_path / "hold"
    hold.mkdir()
    (hold / "training").touch()
    (hold / "attack").touch()
    for name in ("node-a", "node-b"):
        cluster.join(name)
    lines, hosts, killed = list[str](), dict[str, str](), dict[str, str]()

    def kill_host_of(seed: str, stage: str) -> None:
        """Kill the node on which the run of a seed is, whose worker ends with it."""
        host = hosts[seed]
        (path,) = (out / "work").glob(f"**/seed{seed}-*/order.json")
        holder = read_holder(lease_path(load_order(path).folder, "whole"))
        assert holder is not None and holder.process.host == host and runs(holder.process.pid)
        cluster.kill(host)
        while runs(holder.process.pid):
            time.sleep(0.1)
        killed[stage] = host
        (hold / stage).unlink()

    variables = {**cluster.variables, "BENCHMARK_HOST": "submitting"}
    with run(out, suite, variables, "--launcher", "ray", "--launcher-config", str(config)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if start := re.match(r"start .*/seed(\d)-\w+ +on (\S+)", line):
                hosts[start[1]] = start[2]
            elif (step := re.search(r"/seed(\d)-\w+ +train +2/4", line)) and "training" not in killed:
                cluster.join("node-c")
                kill_host_of(step[1], "training")
            elif (step := re.search(r"/seed(\d)-\w+ +autoattack +apgd-ce .* [1-8]/8", line)) and "attack" not in killed:
                kill_host_of(step[1], "attack")
    printed = "".join(lines)

    assert process.returncode == 0, printed
    assert killed.keys() == {"training", "attack"} and len(set(killed.values())) == 2, printed
    again = re.findall(r"again .*?: (\S+) was lost", printed)
    assert set(again) == set(killed.values()), printed
    assert "FAILED" not in printed and "elsewhere" in printed  # until the lease of the dead has expired
    assert not list(out.glob("work/**/lease-*"))
    with run(tmp_path / "local", suite, {**module_environment(), "HOLD": str(hold)}, "--jobs", "2") as local:
        assert local.stdout is not None
        assert local.wait() == 0, local.stdout.read()
    assert len(contents(out)) == 2
    assert contents(out) == contents(tmp_path / "local")
