"""`bench` of the compressed form: the numbers it keeps, what it prints, and files from before there were any."""

from __future__ import annotations

import json

import pytest

from benchmark.bench import runtimes
from benchmark.bench.text import measurement_lines
from benchmark.planning.measured import FILE, Machine, Measurement, load_measurement, save_measurement
from methods.sparse.support import kernels

EMPTY = Measurement(
    machine=Machine(device="cpu", name="cpu (some)", threads=1, jobs=1, torch="2.13.0", commit=None), date="2026-01-31"
)


@pytest.fixture
def measured(make_plan, monkeypatch):
    """Return a measurement of a tiny network and mask."""
    monkeypatch.setattr(runtimes, "BUDGET", 0.0)
    monkeypatch.setattr(runtimes, "CODED", 4096)
    entries = runtimes.inference_times(make_plan(), 8)
    return EMPTY.model_copy(update={"inference": entries, "coder": runtimes.coder_rate()})


def test_both_batches_are_timed_and_read_back(measured, tmp_path):
    assert [entry.images for entry in measured.inference] == [1, 64]
    assert all((entry.sparse_seconds is not None) == (kernels() is not None) for entry in measured.inference)

    save_measurement(measured, tmp_path)

    assert load_measurement(tmp_path) == measured


def test_without_numba_only_torch_is_timed(make_plan, monkeypatch):
    monkeypatch.setattr(runtimes, "BUDGET", 0.0)
    monkeypatch.setattr(runtimes, "kernels", lambda: None)

    entries = runtimes.inference_times(make_plan(), 8)

    assert [entry.sparse_seconds for entry in entries] == [None, None]
    lines = list(measurement_lines(EMPTY.model_copy(update={"inference": entries})))
    assert [line.split()[-2:] for line in lines].count(["-", "-"]) == 2


def test_a_ratio_is_torch_over_sparse(measured):
    entry = measured.inference[0].model_copy(update={"seconds": 0.006, "sparse_seconds": 0.002})

    lines = list(measurement_lines(measured.model_copy(update={"inference": [entry]})))

    assert any(line.split()[-5:] == ["6", "ms", "2", "ms", "3.00"] for line in lines)
    assert any(line.startswith("coder of masks: ") for line in lines)


def test_a_file_from_before_is_still_read(tmp_path):
    path = save_measurement(EMPTY, tmp_path)
    content = json.loads(path.read_text())
    del content["inference"], content["coder"]
    (tmp_path / FILE).write_text(json.dumps(content))

    assert load_measurement(tmp_path) == EMPTY
