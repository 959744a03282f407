"""`bench` from the command line on tiny networks, and the hours that `plan` computes from it."""

from __future__ import annotations

import re
import sys

import pytest
import torch

from benchmark import __main__
from benchmark.bench import attack_times, cases, measure, peak
from benchmark.planning.measured import load_measurement
from benchmark.runtime import devices
from benchmark.runtime.provenance import device_name

SUITE = """
name: tiny
dataset: digits
train_images: 48
architecture: {name: resnet6, width: 0.0625}
grid: {weights: binary, keep_ratio: 0.3, allocation: 1.0}
methods:
  - method: edge_popup
  - {method: at, objective: fast}
training: {epochs: 3, batch_size: 16, attack: {num_steps: 1}}
evaluation: {images: 8, pgd: {steps: 5}}
"""


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Return a function that runs a command of the project and returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(SUITE, encoding="utf-8")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
        code = 0
        try:
            __main__.main()
        except SystemExit as stop:
            code = stop.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """Measure as little as possible."""
    monkeypatch.setattr(peak, "BUDGET", 0.0)
    monkeypatch.setattr(peak, "BATCH", {"cpu": 1})
    monkeypatch.setattr(peak, "COPIED", {"cpu": 4096})
    monkeypatch.setattr(cases, "STAGES", ((8, 8),))
    monkeypatch.setattr(cases, "MOST_SECONDS", 0.3)
    monkeypatch.setattr(cases, "USUAL_SHARE", 1000.0)  # the speed of a tiny convolution means nothing
    monkeypatch.setattr(attack_times, "FEWEST_PASSES", 2)
    monkeypatch.setattr(devices.os, "cpu_count", lambda: 2)  # hence one thread, as in all tests
    monkeypatch.setattr(measure.os, "getloadavg", lambda: (0.0, 0.0, 0.0))


def test_bench_measures_a_suite_and_plan_shows_hours_from_it(command, tmp_path):
    _, before, _ = command("plan", "tiny.yaml")
    code, out, err = command("bench", "tiny.yaml")
    measured = load_measurement(tmp_path / "runs")
    _, after, _ = command("plan", "tiny.yaml")

    assert "`python -m benchmark bench`, with this suite, methods and settings, measures what it takes here" in before
    assert (code, err) == (0, "")
    assert "at/fast binary on resnet6-w0.0625 8x8" in out
    assert {(entry.key.method, entry.key.objective) for entry in measured.training} == {
        ("edge_popup", "pgd"),
        ("at", "fast"),
    }
    assert (measured.machine.threads, measured.machine.jobs) == (1, 2)
    assert re.search(r"FLOPs +[\d.,]+(s| min| h)   reported: n/a", after)  # of any speed
    assert "time of all: " in after and ", 2 experiments side by side" in after
    assert "~" not in after  # everything was measured
    assert "AutoAttack: 45% of the test images survive, assumed" in after


def test_other_sizes_are_scaled_and_marked(command):
    command("bench", "tiny.yaml", "--methods", "at")

    _, out, _ = command("plan", "tiny.yaml", "--set", "architecture.width=0.25")

    assert "~: scaled by FLOPs from another step, network or batch; `bench` with this suite measures" in out
    assert "time of all: ~" in out


def test_bench_without_a_suite_compares_with_the_yardstick(command, monkeypatch, tmp_path):
    tiny = ("architecture.name=resnet10", "architecture.width=0.0625", "training.attack.num_steps=1")
    few = ("training.batch_size=2", "evaluation.autoattack.batch_size=2")
    monkeypatch.setitem(cases.VARIANTS, "cpu", ((*tiny, *few),))

    code, out, _ = command("bench", "--out", "there")

    assert code == 0
    assert "ratio: its time over that of the step" in out and "PGD ratio" in out
    assert "kept in there/bench.json" in out
    assert load_measurement(tmp_path / "there").training[0].plain_seconds > 0


def test_ctrl_c_ends_with_130_and_keeps_what_was_measured(command, monkeypatch, tmp_path):
    def stop(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(cases, "experiment_step", stop)

    code, _, err = command("bench", "tiny.yaml")

    assert code == 130
    assert err == "stopped; the measurements so far are in runs\n"
    assert load_measurement(tmp_path / "runs").convolutions


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "tinny.yaml"], "there is no suite tinny.yaml"),
        (["bench", "--methods", "at"], "name the suite"),
        (["bench", "--device", "tpu"], "--device takes auto, cpu or cuda; got 'tpu'"),
        (["bench", "tiny.yaml", "--set", "grid.keep_ratio=1", "--methods", "edge_popup"], "nothing of this suite can"),
        (["bench", "tiny.yaml", "--dataset", "my-images", "--set", "epsilon=8/255"], "nothing of this suite can"),
    ],
)
def test_a_mistake_is_reported_in_one_sentence(command, arguments, message):
    code, _, err = command(*arguments)

    assert code == 2
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


def test_plan_reports_a_damaged_measurement_in_one_sentence(command, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "bench.json").write_text("{", encoding="utf-8")

    code, _, err = command("plan", "tiny.yaml")

    assert code == 2 and err.startswith("error: runs/bench.json: ") and err.count("\n") == 1


def test_a_measurement_of_another_machine_is_reported_as_such(command, tmp_path):
    command("bench", "tiny.yaml")
    path = tmp_path / "runs" / "bench.json"
    path.write_text(path.read_text().replace(device_name(torch.device("cpu")), "cpu (of a friend)"))

    _, out, _ = command("plan", "tiny.yaml")

    assert "measured on another machine, cpu (of a friend)" in out
