"""A training is bound to its data and its source: results of other data are never used for the requested run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.artifact.unpack import read_artifact
from benchmark.data.load import load_training
from benchmark.errors import UserError
from benchmark.results.store import artifact_path, load_records

ROOT = Path(__file__).resolve().parents[3]
SUITE = """
name: mine
dataset: shapes
epsilon: 200/255
architecture: {name: resnet10, width: 0.0625}
grid: {weights: fp}
methods:
  - {method: at}
training: {epochs: 3, batch_size: 16, attack: {num_steps: 1}, selection_steps: 1}
evaluation: {images: 8, pgd: {steps: 5}}
"""
HYDRA = SUITE.replace("training:", "  - {method: hydra, keep_ratio: 0.5, first_phase: at}\ntraining:")


def command(*words):
    """Return exit code and output of a command, with whitespace collapsed."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, UserError):
        return 2, str(result.exception)
    return result.exit_code, " ".join(result.output.split())


def make_shapes(folder):
    """Write a data set of four classes, twelve training and three test images each, as image folders."""
    noise = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 3)):
        for label in range(4):
            class_folder = folder / part / f"class{label}"
            class_folder.mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(0, 120, (8, 8, 3), dtype=np.uint8)
                pixels[2 * label : 2 * label + 2] += 120
                Image.fromarray(pixels).save(class_folder / f"{number:02d}.png")


@pytest.fixture(scope="module")
def once(made_once):
    """Return a folder with the data, the suite, and the output of a run in `out`."""

    def run(folder):
        make_shapes(folder / "data")
        (folder / "mine.yaml").write_text(SUITE, encoding="utf-8")
        code, output = command("run", folder / "mine.yaml", "--data-dir", folder / "data", "--out", folder / "out")
        assert code == 0, output

    return made_once("bound_to_data", run)


@pytest.fixture
def shapes(tmp_path, once):
    """Return a copy of the data folder."""
    return shutil.copytree(once / "data", tmp_path / "data")


@pytest.fixture
def out(tmp_path, once):
    """Return a copy of the output folder of a finished run."""
    return shutil.copytree(once / "out", tmp_path / "out")


def swap_labels(folder, part="train"):
    """Swap one image between two classes."""
    a, b, spare = (folder / part / name for name in ("class0/00.png", "class1/00.png", "class0/spare"))
    a.rename(spare)
    b.rename(a)
    spare.rename(b)


def change_an_image(folder, part="train"):
    path = folder / part / "class2" / "01.png"
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


def drop_images(folder, part="train"):
    for number in range(6):
        (folder / part / "class3" / f"{number:02d}.png").unlink()


@pytest.fixture
def run(tmp_path, shapes):
    """Return a function that runs a command on the suite with the data and the output folder."""
    path = tmp_path / "mine.yaml"

    def do(name="run", *words, text=SUITE, to=tmp_path / "out"):
        path.write_text(text, encoding="utf-8")
        return command(name, path, *words, "--data-dir", shapes, "--out", to)

    return do


def contents(folder):
    """Return the content of all files below a folder."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def delete(out, *kinds):
    """Delete records, as if the command had been killed between training and the end of the evaluation."""
    for kind in kinds:
        shutil.rmtree(out / kind)


LONG = SUITE.replace("epochs: 3", "epochs: 2000")


@pytest.fixture
def started(tmp_path, shapes):
    """Return a function that starts a long training in a subprocess."""
    (tmp_path / "mine.yaml").write_text(LONG, encoding="utf-8")
    words = ["run", tmp_path / "mine.yaml", "--data-dir", shapes, "--out", tmp_path / "out"]
    command = [sys.executable, "-m", "benchmark", *map(str, words)]
    return lambda: subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def lines_until_killed(process, *, seen):
    """Return the output lines of a process, which is killed after the first line that contains `seen`."""
    lines = []
    guard = threading.Timer(600, process.kill)  # much longer than needed, so that a missing line does not hang the test
    guard.start()
    with process, process.stdout:
        for line in process.stdout:
            lines.append(line)
            if seen in line or "FAILED" in line:
                process.kill()
    guard.cancel()
    return lines


def test_a_stopped_run_is_not_resumed_when_there_are_fewer_images(tmp_path, shapes, started):
    lines_until_killed(started(), seen=" 3/2000")
    (checkpoint,) = (tmp_path / "out").rglob("checkpoint.pt")
    old = checkpoint.read_bytes()
    drop_images(shapes)

    lines = lines_until_killed(started(), seen="set aside")

    assert "checkpoint.pt was trained on other images or labels" in lines[-1]
    assert "and training starts over" in lines[-1]
    assert (checkpoint.parent / "set-aside-1" / "checkpoint.pt").read_bytes() == old
    assert (checkpoint.parent / "set-aside-1" / "history.jsonl").exists()


@pytest.mark.parametrize("change", [swap_labels, change_an_image])
def test_a_finished_training_without_a_record_is_not_used_for_other_data(run, shapes, out, tmp_path, change):
    (before,) = load_records(out)
    delete(out, "records", "artifacts")
    (network,) = (out / "work").rglob("network.safetensors")
    old = network.read_bytes()
    change(shapes)

    code, output = run()

    assert code == 0, output
    assert "set aside: " in output and "was trained on other images or labels" in output
    (kept,) = (out / "work").rglob("set-aside-1/network.safetensors")
    assert kept.read_bytes() == old
    assert run(to=tmp_path / "anew")[0] == 0
    (record,), (expected,) = load_records(out), load_records(tmp_path / "anew")
    assert record.dataset.train_sha256 == load_training("shapes", shapes).sha256 != before.dataset.train_sha256
    assert record.weights_sha256 == expected.weights_sha256
    assert read_artifact(artifact_path(out, record.run)).sha256 == record.artifact.sha256


def test_a_run_resumes_on_the_same_data_in_another_encoding(run, shapes, out):
    (before,) = load_records(out)
    delete(out, "records", "artifacts")
    for path in shapes.rglob("*.png"):
        Image.open(path).save(path, compress_level=1)

    code, output = run()

    assert code == 0 and "training is already finished" in output and "set aside" not in output
    assert load_records(out)[0].weights_sha256 == before.weights_sha256


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("change", [swap_labels, change_an_image])
def test_a_record_of_other_data_is_refused_and_no_file_changes(run, shapes, out, part, change):
    before = contents(out)
    change(shapes, part)

    code, output = run()
    planned_code, planned = run("plan")

    kind = {"train": "training", "test": "test"}[part]
    assert code == 2
    assert f"was made from other {kind} images or labels of shapes" in output
    assert "pass the folder of the record's data as --data-dir, or another --out" in output
    assert planned_code == 0 and planned.startswith("refused ") and f"other {kind} images or labels" in planned
    assert contents(out) == before


def test_a_record_of_other_data_is_refused_under_another_protocol_too(run, shapes, out):
    swap_labels(shapes)

    code, output = run("run", "--set", "evaluation.images=10")

    assert code == 2 and "was made from other training images" in output
    assert len(load_records(out)) == 1


def test_other_runs_of_the_suite_continue_beside_a_refused_one_and_share_no_row(run, shapes, out):
    swap_labels(shapes)

    code, output = run("run", "--seeds", "0,1")

    assert code == 1, output
    assert "skip " in output and "was made from other training images" in output
    assert "seed1" in output.partition("1 of 1 records there were made from other data of this name")[0]
    assert len(load_records(out)) == 2
    assert "the training data differ from those of the other records of this board" in output


def test_plan_and_run_without_the_data_report_them_as_unchecked(run, shapes, out):
    shutil.rmtree(shapes)
    shapes.mkdir()

    for name in ("plan", "run"):
        code, output = run(name)
        assert code == 0, output
        assert "1 experiment: 1 done" in output
        assert "unchecked: the data of 1 finished experiment, as the files of shapes are not here" in output


def test_a_plan_before_any_run_also_reports_missing_data(run, shapes):
    shutil.rmtree(shapes)

    code, output = run("plan")

    assert code == 0 and "unchecked: the data, as their files are not here" in output


def test_a_plan_with_the_data_does_not_report_them_as_unchecked(run, out):
    code, output = run("plan")

    assert code == 0 and "unchecked" not in output
    assert "1 experiment: 1 done" in output


def test_a_method_does_not_start_from_a_network_of_other_data(run, shapes, out, tmp_path):
    delete(out, "records", "artifacts")
    swap_labels(shapes)

    refused, reason = run("run", "--methods", "hydra", text=HYDRA)
    code, output = run(text=HYDRA)

    assert refused == 2 and "that was trained on these images; run that method too" in reason
    assert code == 0, output
    assert output.count("set aside: ") == 1
    records = {record.method.name: record for record in load_records(out)}
    assert run(text=HYDRA, to=tmp_path / "anew")[0] == 0
    for record in load_records(tmp_path / "anew"):
        assert records[record.method.name].weights_sha256 == record.weights_sha256
        assert records[record.method.name].training.first_phase == record.training.first_phase


def test_a_dense_run_of_other_data_is_not_overwritten_while_its_record_exists(run, shapes, out):
    before = contents(out)
    swap_labels(shapes)

    code, output = run(text=HYDRA)

    assert code == 2 and "all 2 experiments are refused" in output
    assert contents(out) == before


def test_a_test_part_that_is_the_training_part_is_refused(run, shapes):
    shutil.rmtree(shapes / "test")
    shutil.copytree(shapes / "train", shapes / "test")

    code, output = run()

    assert code == 2 and "the training and the test part of shapes hold the same images" in output


METHOD = """
from dataclasses import dataclass

from methods.at import AT
from own_rates import RATE


@dataclass(frozen=True)
class Own(AT):
    name = "own"
    lr: float = RATE
"""


def test_an_edited_helper_of_a_method_s_file_is_another_run(run, tmp_path, monkeypatch):
    folder = tmp_path / "method"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{ROOT}")  # for the workers
    (folder / "own.py").write_text(METHOD, encoding="utf-8")
    (folder / "own_rates.py").write_text("RATE = 0.1\n", encoding="utf-8")
    words = ("--methods", f"{folder / 'own.py'}:Own")
    assert run("run", *words)[0] == 0
    assert "1 experiment: 1 done" in run("plan", *words)[1]

    (folder / "own_rates.py").write_text("RATE = 0.1  # per update\n", encoding="utf-8")

    assert "1 experiment: 1 todo" in run("plan", *words)[1]
    assert run("run", *words)[0] == 0
    assert len({record.method.source_sha256 for record in load_records(tmp_path / "out")}) == 2
