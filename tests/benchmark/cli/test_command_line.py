"""Commands from the suite to the board on tiny networks, with an epsilon that leaves AutoAttack no work.

They run in the test's process where the process is not what is tested; their workers are processes of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.data import identity
from benchmark.launch.lease_file import read_holder
from methods.sparse.support import kernel_name

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
training: {epochs: 5, batch_size: 16, attack: {num_steps: 2}, selection_steps: 2}
evaluation: {images: 8, pgd: {steps: 5}}
"""


@pytest.fixture(scope="module")
def once(made_once):
    """Return a folder with the suite, the output of its run in `out`, and what the run printed."""

    def run(folder):
        (folder / "tiny.yaml").write_text(SUITE)
        finished = CliRunner().invoke(app, ["run", str(folder / "tiny.yaml"), "--out", str(folder / "out")])
        assert finished.exit_code == 0, finished.output
        (folder / "printed.txt").write_text(finished.output)

    return made_once("tiny_suite", run)


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture
def out(tmp_path, once):
    """Return a copy of the output folder of the suite's run."""
    return Path(shutil.copytree(once / "out", tmp_path / "out"))


def records(out):
    return {
        f"{path.parent.name}/{path.stem}": json.loads(path.read_text())
        for path in sorted((out / "records").rglob("*.json"))
    }


def test_a_suite_runs_to_a_board_and_a_second_run_has_nothing_to_do(suite, once, out, command_here):
    assert "digits-linf-200_255-pgd5x1-aa-standard-8" in (once / "printed.txt").read_text()
    assert len(records(out)) == 2
    assert "2 done, 0 to run" in command_here("run", suite, "--out", out)[1]
    assert command_here("leaderboard", "--check", "--out", out)[0] == 0
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


def test_other_evaluation_settings_measure_the_network_already_trained(suite, out, command_here):
    _, again, _ = command_here("run", suite, "--methods", "at", "--out", out, "--set", "evaluation.images=4")

    assert "train      not again: this network already has a record on" in again
    assert "loss" not in again
    at_records = [record for record in records(out).values() if record["method"]["name"] == "at"]
    assert len(at_records) == len(list((out / "records").iterdir())) == 2
    assert len({record["weights_sha256"] for record in at_records}) == 1


def test_kill_nine_in_training_then_the_same_command_gives_the_same_record(tmp_path, suite, once, command_here):
    broken = tmp_path / "broken"
    arguments = ["run", str(suite), "--methods", "edge_popup", "--out", str(broken)]

    process = subprocess.Popen([sys.executable, "-m", "benchmark", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
    _wait_for(lambda: any(len(path.read_text().splitlines()) >= 2 for path in broken.rglob("history.jsonl")))
    assert _worker_is_alive(broken)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _wait_for(lambda: not _worker_is_alive(broken))
    assert not records(broken)
    checkpoint = torch.load(next(broken.rglob("checkpoint.pt")), weights_only=True)
    assert checkpoint["kernels"] == (kernel_name() or "dense")  # passes of this network are sparse, if they can be
    _, again, _ = command_here(*arguments)

    assert "resumed after epoch" in again
    ((name, got),) = records(broken).items()
    expected = records(once / "out")[name]
    assert got["weights_sha256"] == expected["weights_sha256"]
    for part in (got, expected):
        del part["evaluation"]["autoattack"]["seconds"]
    assert got["evaluation"] == expected["evaluation"]


def _wait_for(condition):
    while not condition():
        time.sleep(0.05)


def _worker_is_alive(out):
    """Return whether a living process holds the lease of a run."""
    holders = [read_holder(path) for path in out.rglob("lease-*.json")]
    return any(holder is not None and not holder.process.is_dead for holder in holders)


def test_one_failing_experiment_does_not_affect_the_others_and_is_retried(tmp_path, suite, command_here):
    out = tmp_path / "out"
    settings = ["--set", "methods.0.weights=fp", "--set", "methods.0.options.lr=1e30", "--set", "training.epochs=1"]

    code, failed, _ = command_here("run", suite, "--out", out, *settings)
    _, plan, _ = command_here("plan", suite, "--out", out, *settings)

    assert code == 1
    assert "FAILED digits/resnet10-w0.0625-lbn/at" in failed
    assert len(records(out)) == 1
    assert "failed  digits/resnet10-w0.0625-lbn/at" in plan
    assert "lower the learning rate" in plan
    assert "Traceback" in next(out.rglob("failed.txt")).read_text()


def test_plan_runs_nothing_and_names_refused_experiments(tmp_path, suite, command_here):
    code, plan, _ = command_here("plan", suite, "--set", "methods.0.keep_ratio=0.5", "--out", tmp_path / "out")

    assert code == 0
    assert "refused digits/resnet10-w0.0625-lbn/at" in plan
    assert "at trains dense networks: keep_ratio must be 1, got 0.5" in plan
    assert "2 experiments: 1 refused, 1 todo" in plan
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
def test_waiting_threads_do_not_spin_unless_the_user_sets_it():
    """A command that needs torch, and ends right after importing it."""

    def shown(**environment):
        environment = {
            **{name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"},
            **environment,
        }
        plan = [sys.executable, "-m", "benchmark", "plan", "no-such-suite"]
        return subprocess.run(plan, cwd=ROOT, env=environment, capture_output=True, text=True).stderr

    assert "GOMP_SPINCOUNT = '0'" in shown(OMP_DISPLAY_ENV="verbose")
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in shown(OMP_DISPLAY_ENV="verbose", OMP_WAIT_POLICY="active")


def test_a_class_from_a_file_and_one_of_an_installed_package_are_listed_and_run(tmp_path, suite, command, monkeypatch):
    """The package is a folder on the path, for this process and the workers, with its metadata."""
    site = tmp_path / "site"
    metadata = site / "packaged-1.0.dist-info"
    metadata.mkdir(parents=True)
    (tmp_path / "mine.py").write_text(PLUGIN)
    (site / "packaged.py").write_text(PLUGIN.replace("mine", "packaged"))
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: packaged\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[robust_compression.methods]\npackaged = packaged:Mine\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))

    listed = command("list")[1]
    settings = ("--set", "training.epochs=1", "--out", "out")
    code, printed, _ = command("run", suite, "--methods", "mine.py:Mine,packaged", *settings)

    assert re.search(r"packaged +A method of my own\.", listed)
    assert code == 0, printed
    written = records(tmp_path / "out")
    assert {record["method"]["name"] for record in written.values()} == {"mine", "packaged"}
    ((name, record),) = ((name, record) for name, record in written.items() if record["method"]["name"] == "mine")
    assert "__mine__" in name
    assert record["method"]["target"] == "mine.py:Mine"
    assert str(tmp_path) not in json.dumps(record["provenance"]["config"])


@pytest.fixture
def cifar100(tmp_path):
    """Write a small set of random images in CIFAR-100's own file format.

    Training and test images have different classes, so that hardly any is classified correctly: AutoAttack's thousands
    of queries for a single image would take longer than everything else.
    """
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for part, count, classes in (("train", 32, (0, 50)), ("test", 20, (50, 100))):
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
def small_sets(tmp_path, monkeypatch):
    """Empty the table of published data sets, here and in workers, so that a small one may use such a name."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("from benchmark.data import identity\nidentity.PUBLISHED = {}\n")
    paths = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    monkeypatch.setattr(identity, "PUBLISHED", {})


@pytest.mark.slow
@pytest.mark.usefixtures("small_sets")
def test_the_whole_cifar100_grid_runs_at_four_over_255_on_files_in_its_format(tmp_path, cifar100, command_here):
    """The paper's 28 cells, and both precisions of the baselines: RST without LBN, the others with it and without.

    All of them are planned. What is run is without LBN, but for edge-popup, which the paper has only with it: both
    kinds of networks, and every method with every precision and allocation of the grid.
    """
    out = tmp_path / "out"
    grid = ("--methods", "all", "--dataset", "cifar100", "--preset", "smoke", "--data-dir", cifar100, "--out", out)

    _, planned, _ = command_here("plan", *grid)
    code, printed, _ = command_here("run", *grid, "--set", "grid.last_norm=false", "--set", "evaluation.images=2")

    lines = re.findall(r"^(\w+) +cifar100/resnet34-w0\.125(-lbn)?/(\w+)/\S+", planned, flags=re.MULTILINE)
    assert {state for state, _, _ in lines} <= {"todo", "refused"}
    cells = Counter((method, norm) for state, norm, method in lines if state == "todo")
    one_norm = {"at": 2, "hydra": 4, "atmc": 6, "lwm": 2, "random_pruning": 2, "small_dense": 2}
    both = {(method, norm): count for method, count in one_norm.items() for norm in ("", "-lbn")}
    assert cells == {**both, ("edge_popup", "-lbn"): 4, ("rst", ""): 2}
    assert code == 0, printed
    results = records(out).values()
    assert {record["protocol"] for record in results} == {"cifar100-linf-4_255-aa-standard-2"}
    assert {record["preset"] for record in results} == {"smoke"}
    assert Counter(record["method"]["name"] for record in results) == {**one_norm, "edge_popup": 4, "rst": 2}
    assert {record["architecture"]["last_norm"] for record in results} == {True, False}
    assert all(record["compression"]["kept_weights"] <= record["compression"]["budget"] for record in results)


def test_cifar100_without_data_or_network_reports_in_one_sentence_what_to_do(tmp_path, command, monkeypatch):
    monkeypatch.setattr("benchmark.launch.engines.local.ForkServer", lambda device: nullcontext())  # nothing is started

    code, out, err = command("run", "--methods", "all", "--dataset", "cifar100")

    assert code == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    assert "cifar-100-python" in err and "--data-dir" in err
    assert "Traceback" not in err + out
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
