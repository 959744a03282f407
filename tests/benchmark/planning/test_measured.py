"""`bench.json` is read as it was written, new numbers replace old ones, and a damaged file is one sentence."""

from __future__ import annotations

import pytest

from benchmark.bench import measure
from benchmark.bench.text import measurement_lines
from benchmark.errors import UserError
from benchmark.planning.measured import (
    ConvolutionRate,
    EvaluationEntry,
    Machine,
    Measurement,
    Network,
    TrainingEntry,
    TrainingKey,
    load_measurement,
    save_measurement,
)

MACHINE = Machine(device="cpu", name="cpu (some)", threads=1, jobs=2, torch="2.13.0", commit="a" * 40)
NETWORK = Network(name="resnet18", width=0.25, channels=3, size=32, classes=10)
KEY = TrainingKey(
    method="at", objective="pgd", weights="fp", precision="fp32", attack_steps=10, batch_size=64, network=NETWORK
)
STEP = TrainingEntry(key=KEY, forward_flops=1_000_000, seconds=0.5, plain_seconds=1.5)
EVALUATED = EvaluationEntry(
    network=NETWORK,
    images=16,
    forward_flops=1_000_000,
    clean_seconds=0.001,
    pgd_seconds=0.01,
    autoattack={"apgd-ce": 0.5, "apgd-t": 4.0, "fab-t": 120.0, "square": 6.0},
)


def rate(forward, precision="fp32", channels=64):
    return ConvolutionRate(precision=precision, channels=channels, side=32, forward=forward, backward=forward / 2)


@pytest.fixture
def measured():
    empty = Measurement(machine=MACHINE, date="2026-01-31", memory=19.4)
    return empty.with_rates([rate(100.0), rate(300.0, "bf16")]).with_training(STEP).with_evaluation(EVALUATED)


def test_a_measurement_is_read_back_as_it_was_written(tmp_path, measured):
    assert load_measurement(tmp_path) is None

    save_measurement(measured, tmp_path)

    assert load_measurement(tmp_path) == measured


def test_new_numbers_replace_those_of_the_same_kind(measured):
    other = STEP.model_copy(update={"key": KEY.model_copy(update={"batch_size": 8})})

    again = measured.with_training(STEP.model_copy(update={"seconds": 0.7})).with_training(other)
    again = again.with_rates([rate(50.0), rate(80.0, channels=128)])
    again = again.with_evaluation(EVALUATED.model_copy(update={"pgd_seconds": 1.0}))

    assert [entry.seconds for entry in again.training] == [0.7, 0.5]
    assert [entry.pgd_seconds for entry in again.evaluation] == [1.0]
    assert again.peak("fp32") == 80.0 and again.peak("bf16") == 300.0


@pytest.mark.parametrize("content", ["", "[]", '{"machine": 3}', '{"surprise": 1}'])
def test_a_damaged_file_is_one_sentence_with_the_next_step(tmp_path, content):
    (tmp_path / "bench.json").write_text(content)

    with pytest.raises(UserError, match=r"bench.json: .*; delete the file and run `bench` again$"):
        load_measurement(tmp_path)


def test_bench_replaces_a_damaged_file_or_another_machine_s_and_says_so(tmp_path, measured):
    lines = []
    assert measure.begin(MACHINE, tmp_path, lines.append).training == [] and lines == []

    save_measurement(measured, tmp_path)
    assert measure.begin(MACHINE, tmp_path, lines.append) == measured and lines == []

    other = MACHINE.model_copy(update={"commit": "b" * 40})
    assert measure.begin(other, tmp_path, lines.append).training == []
    (tmp_path / "bench.json").write_text("{")
    assert measure.begin(MACHINE, tmp_path, lines.append).training == []
    assert len(lines) == 2 and "is replaced" in lines[0] and "delete the file" in lines[1]


def test_the_tables_show_units_shares_of_the_peak_and_ratios(measured):
    text = "\n".join(measurement_lines(measured))

    assert "cpu (some), 1 thread, torch 2.13.0, 2026-01-31" in text
    assert "  64 channels, 32x32           100        50           300       150" in text
    assert "memory: 19 GB/s" in text
    # 64 images of 23 forward runs in half a second are 2.944 GFLOP/s; the fastest convolution makes 100.
    assert "  at/pgd  fp       fp32       resnet18-w0.25 32x32     64  500 ms     128.0       3%  1.5 s   3.00" in text
    assert (
        "  resnet18-w0.25 32x32     16    1,000       4.8       2.0   500 ms     4 s  2 min     6 s    2.17 min" in text
    )


def test_columns_are_aligned(measured):
    tables = [line for line in measurement_lines(measured) if line.startswith("  ")]

    steps = [line for line in tables if "images/s" in line or "at/pgd" in line]
    assert steps[0].index("of peak") + len("of peak") == steps[1].index("3%") + len("3%")


def test_without_a_yardstick_there_is_no_column_for_it(measured):
    alone = measured.with_training(STEP.model_copy(update={"plain_seconds": None}))

    assert "ratio" in "\n".join(measurement_lines(measured))
    assert "ratio" not in "\n".join(measurement_lines(alone))
