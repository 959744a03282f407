"""Workers are processes of their own: one that dies ends no other, and all of them end with the parent."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from benchmark.errors import UserError
from benchmark.files.writing import writing
from benchmark.launch import relay
from benchmark.launch.config import LocalConfig
from benchmark.launch.engine import LaunchContext
from benchmark.launch.engines.local import LocalEngine
from benchmark.launch.forking import ForkServer
from benchmark.launch.job import Job, job_graph
from benchmark.launch.order import WorkOrder, load_order, started_threads
from benchmark.launch.prepare import set_threads
from benchmark.launch.time_limit import TimeLimit
from benchmark.runtime.devices import threads_for
from benchmark.suite.experiment import Experiment

ROOT = Path(__file__).resolve().parents[3]
HEAD = "import os, signal, sys, threading, time\nfrom methods.at import AT\n"


@pytest.fixture(scope="module")
def server():
    """Return a server as for runs on the CPU: it forks on Linux."""
    with ForkServer("cpu") as started:
        yield started


@pytest.fixture
def run_local(tmp_path, server, monkeypatch):
    """Return a function that runs orders by the local engine, with the server, and returns the runs that failed."""

    def run(orders, *, jobs=1, say=lambda line: None, start=lambda device: nullcontext(server)):
        monkeypatch.setattr("benchmark.launch.engines.local.ForkServer", start)
        context = LaunchContext(tmp_path / "out", orders[0].device, jobs, 1)
        with LocalEngine(LocalConfig(), context) as engine:
            outcome = engine.run(job_graph(orders), limit=TimeLimit(), say=say)
        assert outcome.left == ()
        return list(outcome.failed)

    return run


def whole(order):
    """Return the one job of an order."""
    return Job(order, "whole")


@pytest.fixture
def make_order(tmp_path):
    """Return the maker of orders for a tiny run of a method whose file begins with some lines of code."""

    def make(name, code="", *, threads=1):
        plugin = tmp_path / f"{name}.py"
        plugin.write_text(HEAD + textwrap.dedent(code) + f"class Own(AT):\n    name = {name!r}\n")
        experiment = Experiment.model_validate(
            {
                "suite": "test",
                "preset": "own",
                "dataset": "digits",
                "train_images": 32,
                "epsilon": "200/255",
                "architecture": {"name": "resnet6", "width": 0.0625},
                "method": {"name": name, "target": f"{plugin}:Own"},
                "weights": "fp",
                "keep_ratio": 1.0,
                "allocation": 1.0,
                "objective": "clean",
                "training": {"epochs": 2, "batch_size": 16, "selection_steps": 1},
                "evaluation": {"images": 4, "pgd": {"steps": 1}},
                "seed": 0,
            }
        )
        return WorkOrder(
            experiment=experiment, out=tmp_path / "out", data_dir=None, device="cpu", threads=threads, command="test"
        )

    return make


def test_a_worker_that_dies_ends_no_other(tmp_path, run_local, make_order):
    orders = [
        make_order("good"),
        make_order("killed", "os.kill(os.getpid(), signal.SIGKILL)\n"),
        make_order("leaving", "print('bye', flush=True)\nos._exit(7)\n"),
        make_order("mistaken", "raise ImportError('gone')\n"),
    ]
    lines = []

    runs = run_local(orders, jobs=4, say=lines.append)

    failed = [order for order in orders if order.experiment.run in runs]
    assert len(runs) == 3
    assert sorted(order.experiment.method.name for order in failed) == ["killed", "leaving", "mistaken"]
    assert len(list((tmp_path / "out" / "records").rglob("*.json"))) == 1
    reasons = {order.experiment.method.name: (order.folder / "failed.txt").read_text() for order in failed}
    assert "ended with code -9 without a message" in reasons["killed"]
    assert "ended with code 7 without a message" in reasons["leaving"]
    assert "gone" in reasons["mistaken"]
    assert any(line.endswith("bye") for line in lines)
    (log,) = (tmp_path / "out" / "work").rglob("leaving/**/log.txt")
    assert log.read_text() == "bye\n"


def ended(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


SLEEPER = "print(os.getpid(), flush=True)\ntime.sleep(60)\n"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_worker_ends_when_the_parents_pipe_closes(server, make_order, device):
    """On a GPU workers are new interpreters; starting one needs none."""
    with ForkServer("cuda") if device == "cuda" else nullcontext(server) as chosen:
        worker, other = (chosen.start(whole(make_order(name, SLEEPER))) for name in ("sleeper", "other"))
        process, second = int(worker.output.readline()), int(other.output.readline())

        worker.stop()

        assert worker.exit_code() == 1 and ended(process)
        assert not ended(second)
        other.stop()
        assert other.exit_code() == 1
    for pipe in (worker.output, other.output):
        pipe.close()


def test_the_parent_learns_that_the_server_has_ended_and_the_worker_continues_alone(make_order):
    with ForkServer("cuda") as server:
        worker = server.start(whole(make_order("sleeper", SLEEPER)))
        process = int(worker.output.readline())
        server._process.send_signal(signal.SIGKILL)
        server._process.wait()
        with pytest.raises(
            UserError, match=r"the process that starts the workers was killed.*run the same command again"
        ):
            server.start(whole(make_order("late")))
    assert not ended(process)
    assert worker.stop() is None and worker.output.read() == ""
    assert worker.exit_code() is None
    worker.output.close()


def test_forked_workers_import_nothing_heavy_and_share_no_state(server, make_order):
    code = """
        print("torch._dynamo" in sys.modules, threading.active_count(), "worker" in vars(sys), flush=True)
        sys.worker = True
        os._exit(0)
    """
    seen = []
    for name in ("first", "second"):
        worker = server.start(whole(make_order(name, code)))
        seen.append(worker.output.read().split())
        worker.output.close()
        assert worker.exit_code() == 0
        worker.stop()

    # Three threads: the second one waits for the parent's end, the third one keeps the lease.
    assert seen == [[str(server.forks), "3", "False"]] * 2


@pytest.mark.parametrize("left", ["checkpoint.pt", "network.safetensors"])
def test_a_fresh_run_sets_its_threads_and_a_started_one_keeps_them(make_order, left):
    assert threads_for(99_000_000, 4) == 1 and threads_for(100_000_000, 4) == 4
    order = make_order("at", threads=3)
    order.save()
    before = torch.get_num_threads()
    try:
        fresh = set_threads(order, 1_000)
        assert fresh.threads == torch.get_num_threads() == 1
        assert load_order(order.folder / "order.json").threads == 1
        assert started_threads(order.out, order.experiment) is None
        (order.folder / left).touch()
        assert started_threads(order.out, order.experiment) == 1
        kept = set_threads(order.model_copy(update={"threads": 2}), 1_000_000_000)
        assert kept.threads == torch.get_num_threads() == 1
        sharded = order.model_copy(update={"threads": 2, "shards": 3}).issue()
        assert sharded.threads == load_order(sharded.path).threads == 1
    finally:
        torch.set_num_threads(before)


def test_the_record_has_the_threads_that_were_used(tmp_path, run_local, make_order):
    assert not run_local([make_order("at", threads=2)])

    (path,) = (tmp_path / "out" / "records").rglob("*.json")
    assert json.loads(path.read_text())["provenance"]["threads"] == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_worker_reaches_the_gpu(run_local, make_order):
    assert not run_local([make_order("at").model_copy(update={"device": "cuda"})], start=ForkServer)


INTERRUPTED = "os.kill(os.getpid(), signal.SIGINT)\nprint('still here', flush=True)\nos._exit(0)\n"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_ctrl_c_reaches_neither_the_server_nor_a_worker_which_end_with_the_parent_instead(make_order, device):
    with ForkServer(device) as server:
        server._process.send_signal(signal.SIGINT)  # while it imports what workers need
        worker = server.start(whole(make_order("interrupted", INTERRUPTED)))

        assert worker.output.read() == "still here\n" and worker.exit_code() == 0
        worker.stop()
        worker.output.close()
        assert server._process.poll() is None


@pytest.mark.parametrize("limit", [2_000, 0])
def test_a_full_disk_is_one_sentence_in_a_workers_lines_even_without_failed_txt(run_local, make_order, limit):
    full = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    order, lines = make_order("full", full), []

    assert run_local([order], say=lines.append) == [order.experiment.run]

    file = "checkpoint.pt" if limit else "history.jsonl"
    sentence = f"{order.folder / file} cannot be written (File too large); allow larger files there"
    (failed,) = (line for line in lines if line.startswith("FAILED "))
    assert failed.startswith(f"FAILED {order.experiment.run}: {sentence}")
    assert "Traceback" not in "\n".join(lines)
    if limit:
        assert (order.folder / "failed.txt").read_text().startswith(sentence)
    assert [path.name for path in order.out.rglob(".*")] == []


def test_a_full_disk_of_the_parent_too_leaves_the_reason_in_its_lines(run_local, make_order, monkeypatch):
    order, lines = make_order("gone", "os._exit(7)\n"), []

    def refuse(path, content):
        with writing(path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(relay, "write_atomic", refuse)
    assert run_local([order], say=lines.append) == [order.experiment.run]

    assert "ended with code 7 without a message" in lines[-1] and "cannot be written (No space left" in lines[-1]


def test_a_worker_whose_parent_no_longer_reads_ends_without_a_message(server, make_order):
    order = make_order("talking", "print('here', flush=True)\nwhile True: print('again', flush=True)\n")
    worker = server.start(whole(order))
    assert worker.output.readline() == "here\n"

    worker.output.close()

    assert worker.exit_code() == 1
    assert [path.name for path in order.folder.glob("failed.txt")] == []
    worker.stop()


@pytest.mark.parametrize("answered", [False, True], ids=["before the answer", "with the answer unread"])
def test_the_server_ends_without_a_message_when_its_parent_is_killed(tmp_path, answered):
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "benchmark.launch.forking", str(theirs.fileno())]
    pipes = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "pass_fds": [theirs.fileno()]}
    with (
        open(os.devnull, "r+b") as nothing,
        subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, **pipes) as server,
    ):
        theirs.close()
        message = json.dumps({"arguments": [str(tmp_path / "order.json")], "environment": {}}).encode()
        socket.send_fds(ours, [message], [nothing.fileno()] * 3)
        if answered:
            select.select([ours], [], [])
        ours.close()  # as the system does at a kill
        assert server.stderr.read() == b"" and server.wait() == 0
