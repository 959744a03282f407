"""`speed` on one trained row: it measures once, continues, measures a changed artifact again, keeps to one machine."""

from __future__ import annotations

import sys

import pytest

from benchmark.results.speed import FILE, MemoryPart, load_speed, save_speed
from benchmark.results.store import artifact_path
from benchmark.review import memory, speeds
from methods.sparse.support import kernels


@pytest.fixture
def weighed(monkeypatch):
    """Replace the processes; note what they would have computed."""
    calls = []

    def process_memory(runtime, path, shape):
        calls.append((runtime, path.exists(), tuple(shape)))
        return MemoryPart(libraries=100, peak=200)

    monkeypatch.setattr(speeds, "process_memory", process_memory)
    monkeypatch.setattr(speeds, "can_weigh", lambda: True)
    monkeypatch.setattr(speeds, "BUDGET", 0.001)
    return calls


@pytest.fixture
def without_onnx(monkeypatch):
    monkeypatch.setattr(speeds, "_onnxruntime", lambda: None)


@pytest.mark.usefixtures("without_onnx")
def test_a_row_is_measured_once_and_stays_measured(out, record, weighed, run_command):
    result = run_command("speed", "--out", out)

    assert result.exit_code == 0, result.output
    speed = load_speed(out)
    (row,) = speed.rows
    assert (row.run, row.artifact_sha256) == (record.run, record.artifact.sha256)
    runtimes = {"torch", "sparse"} if kernels() else {"torch"}
    assert row.seconds.keys() == row.memory.keys() == runtimes
    assert speed.machine.threads == 1
    assert sorted(weighed) == sorted((name, True, (1, 8, 8)) for name in runtimes)
    assert not (out / speeds.WORK).exists()

    content = (out / FILE).read_bytes()
    assert run_command("speed", record.run_hash[:6], "--out", out).exit_code == 0
    assert (out / FILE).read_bytes() == content


@pytest.mark.usefixtures("without_onnx")
def test_a_stopped_measurement_continues_with_the_memory(out, weighed, run_command, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(speeds, "process_memory", stop)
        assert run_command("speed", "--out", out).exit_code == 130
    (before,) = load_speed(out).rows
    assert before.memory == {}

    run_command("speed", "--out", out)

    (after,) = load_speed(out).rows
    assert after.seconds == before.seconds and after.memory


@pytest.mark.usefixtures("without_onnx", "weighed")
def test_times_of_another_artifact_are_replaced_and_those_without_a_record_dropped(out, record, run_command):
    run_command("speed", "--out", out)
    speed = load_speed(out)
    (row,) = speed.rows
    old = row.model_copy(update={"artifact_sha256": "d" * 64})
    orphan = row.model_copy(update={"run": "digits/gone/seed0-000000"})
    save_speed(speed.model_copy(update={"rows": [orphan, old]}), out)

    result = run_command("speed", "--out", out)

    assert result.exit_code == 0, result.output
    (again,) = load_speed(out).rows
    assert (again.run, again.artifact_sha256) == (record.run, record.artifact.sha256)


@pytest.mark.usefixtures("without_onnx", "weighed")
def test_times_of_two_machines_are_never_in_one_file(out, run_command):
    run_command("speed", "--out", out)
    speed = load_speed(out)
    elsewhere = speed.machine.model_copy(update={"device": "cpu (another)"})
    save_speed(speed.model_copy(update={"machine": elsewhere}), out)
    content = (out / FILE).read_bytes()

    result = run_command("speed", "--out", out)

    assert isinstance(result.exception, Exception) and "cpu (another)" in str(result.exception)
    assert (out / FILE).read_bytes() == content


@pytest.mark.usefixtures("without_onnx", "weighed")
def test_a_row_without_its_artifact_is_named(out, record, run_command):
    artifact_path(out, record.run).unlink()

    result = run_command("speed", "--out", out)

    assert "has no artifact" in str(result.exception)
    assert load_speed(out) is None


def test_quartiles_are_those_of_the_runs():
    spread = speeds.spread_of([5.0, 1.0, 3.0, 2.0, 4.0])

    assert (spread.lower, spread.median, spread.upper, spread.runs) == (2.0, 3.0, 4.0, 5)


@pytest.mark.skipif(not memory.can_weigh(), reason="needs Linux")
def test_a_process_reports_its_memory(out, record):
    taken = memory.process_memory("torch", artifact_path(out, record.run), (1, 8, 8))

    assert 50_000_000 < taken.libraries < taken.peak < 2_000_000_000


@pytest.mark.skipif(not memory.can_weigh(), reason="needs Linux")
def test_a_process_that_fails_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "module_command", lambda name: [sys.executable, "-c", "raise SystemExit('no')"])

    with pytest.raises(Exception, match=r"failed \(no\)"):
        memory.process_memory("torch", tmp_path / "x", (1, 8, 8))
