"""The local engine with workers that only say what they would do: order, GPUs, other hosts, time, failures."""

from __future__ import annotations

import queue
import threading
from contextlib import nullcontext

import pytest

from benchmark.errors import UserError
from benchmark.launch.config import LocalConfig
from benchmark.launch.engine import LaunchContext
from benchmark.launch.engines.local import LocalEngine
from benchmark.launch.exit_codes import DONE, ELSEWHERE, FAILED, STOPPED
from benchmark.launch.gpus import Gpus
from benchmark.launch.job import job_graph
from benchmark.launch.lease import Lease
from benchmark.launch.time_limit import TimeLimit


class Output:
    """A worker's output, which ends when it is closed by `end`."""

    def __init__(self):
        self.lines = queue.Queue()

    def __iter__(self):
        return iter(self.lines.get, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class FakeWorker:
    """Ends with a code at once, or when it is asked to stop."""

    def __init__(self, code):
        self.output, self.code = Output(), code
        if code is not None:
            self.output.lines.put(None)

    def request_stop(self):
        self.code = STOPPED
        self.output.lines.put(None)

    def exit_code(self):
        return self.code

    def stop(self):
        pass


class FakeServer:
    """Starts such workers and notes with which GPUs; `codes` are the exit codes by job, in turn, DONE by default."""

    def __init__(self, codes):
        self.codes, self.started = codes, []

    def start(self, job, *, gpus=None):
        job.order.issue()
        self.started.append((job.name, gpus))
        codes = self.codes.get(job.name, [DONE])
        return FakeWorker(codes.pop(0) if len(codes) > 1 else codes[0])


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs orders and returns the outcome, what was started, and the lines."""

    def run(orders, codes=None, *, gpus="", config=None, jobs=2, limit=None):
        server, lines = FakeServer(codes or {}), []
        monkeypatch.setattr("benchmark.launch.engines.local.ForkServer", lambda device: nullcontext(server))
        monkeypatch.setattr("benchmark.launch.engines.local.visible_gpus", lambda: gpus.split(","))
        context = LaunchContext(tmp_path / "out", "cuda" if gpus else "cpu", jobs, 1)
        with LocalEngine(config or LocalConfig(), context) as engine:
            outcome = engine.run(job_graph(orders), limit=limit or TimeLimit(), say=lines.append)
        return outcome, server.started, lines

    return run


def test_what_needs_a_failure_is_not_run_and_counts_as_failed(run, tiny_order):
    dense, other = tiny_order(shards=2), tiny_order(seed=1)
    name = dense.experiment.run
    later = tiny_order(seed=2, first_phase={"run": name, "run_hash": dense.experiment.run_hash})

    outcome, started, lines = run([dense, other, later], {f"{name} network": [FAILED]})

    assert [job for job, _ in started] == [f"{name} network", other.experiment.run]
    assert outcome.failed == (name, later.experiment.run) and outcome.left == ()
    assert f"not run  {later.experiment.run}: it needs {name} network, which failed" in lines
    assert sum(line.startswith(f"FAILED {name} network: the process ended with code 1") for line in lines) == 1
    assert lines[-1].startswith("done") or lines[-1].startswith("not run")


def test_attacks_run_side_by_side_on_single_gpus_and_a_training_has_its_group(run, tiny_order):
    order = tiny_order(shards=4).model_copy(update={"processes": 2, "device": "cuda"})
    single = tiny_order(seed=1).model_copy(update={"device": "cuda", "processes": 2})

    outcome, started, _ = run([order, single], gpus="3,5,GPU-a,7", config=LocalConfig(gpus_per_job=2))

    gpus = dict(started)
    run_name = order.experiment.run
    assert outcome.failed == outcome.left == ()
    assert sorted([*gpus[f"{run_name} network"], *gpus[single.experiment.run]]) == ["3", "5", "7", "GPU-a"]
    assert all(len(gpus[f"{run_name} attack {number}/4"]) == 1 for number in range(1, 5))
    assert len(gpus[f"{run_name} record"]) == 1


def test_gpus_are_handed_out_once_unless_more_jobs_are_wanted():
    gpus = Gpus(["0", "1", "2", "3"], group=2, jobs=2)
    assert [gpus.take(2), gpus.take(1), gpus.take(2), gpus.take(1), gpus.take(1)] == [
        *(("0", "1"), ("2",), None, ("3",), None)
    ]
    gpus.give_back(("0", "1"))
    assert gpus.take(2) == ("0", "1")
    shared = Gpus(["0"], group=1, jobs=2)
    assert [shared.take(1), shared.take(1), shared.take(1)] == [("0",), ("0",), None]
    fewer = Gpus(["0", "1", "2"], group=1, jobs=2)
    assert [fewer.take(1), fewer.take(1), fewer.take(1)] == [("0",), ("1",), None]
    cpu = Gpus([], group=4, jobs=1)
    assert [cpu.take(4), cpu.take(1)] == [(), None]
    with pytest.raises(UserError, match="gpus_per_job is 4, but this machine has 1 GPU for"):
        Gpus(["0"], group=4, jobs=1)


def test_what_another_process_works_on_is_waited_for(run, tiny_order):
    order, other = tiny_order(), tiny_order(seed=1)
    order.save()
    lease = Lease(order.folder / "lease-run.json", "whole", 60)
    threading.Timer(0.8, lease.release).start()

    outcome, started, lines = run([order, other], {other.experiment.run: [ELSEWHERE, DONE]})

    assert outcome.failed == outcome.left == ()
    assert [job for job, _ in started][-1] == order.experiment.run
    assert [job for job, _ in started][:2] == [other.experiment.run] * 2  # it lost a race, and ran then
    assert sum(line.startswith(f"elsewhere  {order.experiment.run}: on ") for line in lines) == 1
    assert not any(line.startswith("FAILED") for line in lines)


def test_when_the_time_is_up_what_runs_stops_and_the_rest_is_left(run, tiny_order):
    orders = [tiny_order(seed=seed) for seed in range(4)]
    names = tuple(order.experiment.run for order in orders)

    outcome, started, lines = run(orders, {name: [None] for name in names}, limit=TimeLimit(0.7))

    assert [job for job, _ in started] == list(names[:2])
    assert sorted(outcome.left) == sorted(names) and outcome.failed == ()
    assert {line for line in lines if line.startswith("stopped")} == {f"stopped {name}" for name in names[:2]}


def test_what_cannot_end_in_time_is_not_started(run, tiny_order):
    short, long = tiny_order(), tiny_order(shards=2, seed=1)
    limit = TimeLimit(1000)
    limit.predict({short.experiment.run: 900, f"{long.experiment.run} network": 7200})

    outcome, started, lines = run([long, short], limit=limit)

    assert [job for job, _ in started] == [short.experiment.run]
    assert outcome.left == (long.experiment.run,) and outcome.failed == ()
    (line,) = (line for line in lines if line.startswith("left"))
    assert line.startswith(f"left   {long.experiment.run} network: it takes about 2.0 h, and 17 min are left")
