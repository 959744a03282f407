"""What runs on a node: its worker's lines and exit code, the request to stop, and folders that are not there."""

from __future__ import annotations

import os

import pytest

from benchmark.launch.ray import place
from benchmark.launch.ray.place import Place


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a Python script as the worker of a place."""
    (tmp_path / "order.json").touch()

    def start(script, **variables):
        started = Place()
        assert started.start(["-c", script], variables, str(tmp_path), str(tmp_path / "order.json")) is None
        return started

    return start


def test_lines_and_exit_code_may_be_asked_for_more_than_once(start, tmp_path):
    worker = start("import os\nprint('in', os.getcwd())\nprint(os.environ['OF_RUN'])\nraise SystemExit(3)", OF_RUN="x")
    code, seen = None, 0
    while code is None:
        lines, code = worker.more(seen, 60)
        seen += len(lines)

    assert worker.more(0, 60) == ([f"in {tmp_path}", "x"], 3)
    assert worker.more(1, 60) == (["x"], 3)
    assert worker.start([], {}, str(tmp_path), str(tmp_path / "order.json")) is None  # asked again: no second worker
    worker.stop()


def test_a_worker_is_asked_to_stop_by_a_byte(start):
    worker = start("import os\nprint('ready', flush=True)\nprint(os.read(0, 1), flush=True)\nos.read(0, 1)")
    assert worker.more(0, 60) == (["ready"], None)
    assert worker.more(1, 0.01) == ([], None)
    worker.stop()
    assert worker.more(1, 60)[0] == ["b'.'"]
    worker.stop()

    assert worker.more(2, 60) == ([], 0)


def test_a_node_without_the_shared_disk_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(place, "APPEARS", 0.0)
    monkeypatch.setenv("BENCHMARK_HOST", "node-7")

    assert Place().host() == "node-7"
    assert "node-7 has no" in Place().start([], {}, os.sep, str(tmp_path / "order.json"))
