"""The command line in real processes, on tiny networks, with an epsilon that leaves AutoAttack no work."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]

SUITE = """
name: tiny
dataset: digits
train_images: 48
epsilon: 200/255
architecture: {name: resnet10, width: 0.0625}
grid: {weights: [binary], keep_ratio: 0.3, allocation: 1.0}
methods:
  - method: at
  - method: edge_popup
training: {epochs: 3, batch_size: 16, attack: {num_steps: 2}, selection_steps: 2}
evaluation: {images: 8, pgd: {steps: 5}}
"""


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *arguments],
        cwd=options.pop("cwd", ROOT),
        capture_output=True,
        text=True,
        **options,
    )


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(SUITE)
    return path


def records(out):
    return {
        f"{path.parent.name}/{path.stem}": json.loads(path.read_text())
        for path in sorted((out / "records").rglob("*.json"))
    }


def test_a_suite_runs_to_a_board_and_a_second_run_has_nothing_to_do(tmp_path, suite):
    out = tmp_path / "out"

    first = command("run", str(suite), "--out", str(out))
    second = command("run", str(suite), "--out", str(out))

    assert first.returncode == 0, first.stdout + first.stderr
    assert "digits-linf-200_255-pgd5x1-aa-standard-8" in first.stdout
    assert len(records(out)) == 2
    assert "2 done, 0 to run" in second.stdout
    assert command("leaderboard", "--check", "--out", str(out)).returncode == 0
    for record in records(out).values():
        evaluation = record["evaluation"]
        assert evaluation["autoattack"]["accuracy"] <= evaluation["pgd"]["accuracy"] <= evaluation["clean_accuracy"]
        file = out / "artifacts" / f"{record['run'].replace('/', '__')}.safetensors"
        assert file.stat().st_size == record["artifact"]["size_bytes"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == record["artifact"]["sha256"]
        assert f"| {file.stat().st_size:,} |" in (out / f"{record['protocol']}.md").read_text(encoding="utf-8")
        assert not (out / "work" / record["run"] / "autoattack").exists()  # the journal is no longer needed
    edge_popup = next(record for name, record in records(out).items() if "edge_popup" in name)
    assert edge_popup["training"]["frozen_parts_unchanged"] is True
    assert edge_popup["compression"]["kept_weights"] == edge_popup["compression"]["budget"]


def test_other_evaluation_settings_measure_the_network_already_trained(tmp_path, suite):
    arguments = ["run", str(suite), "--methods", "at", "--out", str(tmp_path / "out")]
    command(*arguments)

    again = command(*arguments, "--set", "evaluation.images=4")

    assert "train      not again: this network already has a record on" in again.stdout
    assert "loss" not in again.stdout
    weights = {record["weights_sha256"] for record in records(tmp_path / "out").values()}
    assert len(list((tmp_path / "out" / "records").iterdir())) == 2 and len(weights) == 1


def test_kill_nine_in_training_then_the_same_command_gives_the_same_record(tmp_path, suite):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    arguments = ["run", str(suite), "--methods", "edge_popup", "--set", "training.epochs=6", "--out"]
    assert command(*arguments, str(whole)).returncode == 0

    process = subprocess.Popen(
        [sys.executable, "-m", "benchmark", *arguments, str(broken)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    _wait_for(lambda: any(len(path.read_text().splitlines()) >= 2 for path in broken.rglob("history.jsonl")))
    assert _worker_is_alive(broken)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _wait_for(lambda: not _worker_is_alive(broken))
    assert not records(broken)
    again = command(*arguments, str(broken))

    assert "resumed after epoch" in again.stdout
    ((_, expected),), ((_, got),) = records(whole).items(), records(broken).items()
    assert got["weights_sha256"] == expected["weights_sha256"]
    for part in (got, expected):
        del part["evaluation"]["autoattack"]["seconds"]
    assert got["evaluation"] == expected["evaluation"]


def _wait_for(condition):
    while not condition():
        time.sleep(0.05)


def _worker_is_alive(out):
    """Return whether a process holds the lock of a work folder, which the system releases when the process ends."""
    for path in out.rglob("lock"):
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def test_one_failing_experiment_does_not_affect_the_others_and_is_retried(tmp_path, suite):
    out = tmp_path / "out"
    spoiled = ["--set", "methods.0.weights=fp", "--set", "methods.0.options.lr=1e30"]

    failed = command("run", str(suite), "--out", str(out), *spoiled)
    plan = command("plan", str(suite), "--out", str(out), *spoiled)

    assert failed.returncode == 1
    assert "FAILED digits/resnet10-w0.0625-lbn/at" in failed.stdout
    assert len(records(out)) == 1
    assert "failed  digits/resnet10-w0.0625-lbn/at" in plan.stdout
    assert "lower the learning rate" in plan.stdout
    assert "Traceback" in next(out.rglob("failed.txt")).read_text()


def test_plan_runs_nothing_and_names_refused_experiments(tmp_path, suite):
    plan = command("plan", str(suite), "--set", "methods.0.keep_ratio=0.5", "--out", str(tmp_path / "out"))

    assert plan.returncode == 0
    assert "refused digits/resnet10-w0.0625-lbn/at" in plan.stdout
    assert "at trains dense networks: keep_ratio must be 1, got 0.5" in plan.stdout
    assert "2 experiments: 1 refused, 1 todo" in plan.stdout
    assert not (tmp_path / "out").exists()


PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar
from methods.edge_popup import EdgePopup


@dataclass(frozen=True)
class Mine(EdgePopup):
    \"\"\"A method of my own.\"\"\"

    name: ClassVar[str] = "mine"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="checks the output of GNU's OpenMP")
def test_waiting_threads_do_not_spin_unless_the_user_sets_it(suite):
    shown = {**os.environ, "OMP_DISPLAY_ENV": "verbose"}
    shown.pop("OMP_WAIT_POLICY", None)
    assert "GOMP_SPINCOUNT = '0'" in command("plan", suite, env=shown).stderr
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in command("plan", suite, env={**shown, "OMP_WAIT_POLICY": "active"}).stderr


def test_a_class_from_a_file_runs_like_a_built_in_method(tmp_path, suite):
    (tmp_path / "mine.py").write_text(PLUGIN)

    finished = command("run", str(suite), "--methods", "mine.py:Mine", "--out", "out", cwd=tmp_path)

    assert finished.returncode == 0, finished.stdout + finished.stderr
    ((name, record),) = records(tmp_path / "out").items()
    assert "__mine__" in name
    assert record["method"]["target"] == "mine.py:Mine"
    assert str(tmp_path) not in json.dumps(record["provenance"]["config"])


def test_a_method_of_an_installed_package_is_listed_and_runs(tmp_path, suite):
    """The package is a folder on the path with its metadata."""
    (tmp_path / "mine.py").write_text(PLUGIN)
    metadata = tmp_path / "mine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[robust_compression.methods]\nmine = mine:Mine\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    listed = command("list", env=environment)
    finished = command("run", str(suite), "--methods", "mine", "--out", str(tmp_path / "out"), env=environment)

    assert re.search(r"mine +A method of my own\.", listed.stdout)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert len(records(tmp_path / "out")) == 1


@pytest.fixture
def cifar100(tmp_path):
    """Write a small set of random images in CIFAR-100's own file format.

    Training and test images have different classes, so that hardly any is classified correctly: AutoAttack's thousands
    of queries for a single image would take longer than everything else.
    """
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for part, count, classes in (("train", 64, (0, 50)), ("test", 20, (50, 100))):
        content = {
            "data": generator.integers(0, 256, (count, 3072), dtype=np.uint8),
            "fine_labels": [int(label) for label in generator.integers(*classes, count)],
            "coarse_labels": [0] * count,
        }
        (folder / part).write_bytes(pickle.dumps(content))
    names = {"fine_label_names": [f"class {number}" for number in range(100)]}
    (folder / "meta").write_bytes(pickle.dumps(names))
    return folder.parent


@pytest.fixture
def small_sets(tmp_path):
    """Return an environment with an empty table of published data sets, so that a small one may use such a name."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("from benchmark.data import identity\nidentity.PUBLISHED = {}\n")
    paths = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


@pytest.mark.slow
def test_the_whole_cifar100_grid_runs_at_four_over_255_on_files_in_its_format(tmp_path, cifar100, small_sets):
    """The paper's 28 cells, and both precisions of the baselines: RST without LBN, the others with it and without."""
    out = tmp_path / "out"

    finished = command(
        *("run", "--methods", "all", "--dataset", "cifar100", "--preset", "smoke"),
        *("--data-dir", str(cifar100), "--out", str(out)),
        env=small_sets,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    results = records(out).values()
    assert {record["protocol"] for record in results} == {"cifar100-linf-4_255-aa-standard-8"}
    assert {record["preset"] for record in results} == {"smoke"}
    cells = Counter(record["method"]["name"] for record in results)
    paper = {"at": 4, "hydra": 8, "atmc": 12, "edge_popup": 4}
    assert cells == {**paper, "lwm": 4, "random_pruning": 4, "small_dense": 4, "rst": 2}
    assert all(record["compression"]["kept_weights"] <= record["compression"]["budget"] for record in results)


def test_cifar100_without_data_or_network_reports_in_one_sentence_what_to_do(tmp_path):
    refused = command("run", "--methods", "all", "--dataset", "cifar100", cwd=tmp_path)

    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ") and refused.stderr.count("\n") == 1
    assert "cifar-100-python" in refused.stderr and "--data-dir" in refused.stderr
    assert "Traceback" not in refused.stderr + refused.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["run", "--help"]], ids=" ".join)
def test_help_and_list_answer_without_importing_torch(arguments):
    """Torch takes seconds to import."""
    script = textwrap.dedent(f"""
        import sys
        from benchmark.cli.main import app
        try:
            app({arguments!r})
        except SystemExit as end:
            assert not end.code
        assert "torch" not in sys.modules and "scipy" not in sys.modules
    """)
    finished = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
