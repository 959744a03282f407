"""A folder with one measured network, made once, and the command line in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from benchmark.__main__ import app
from benchmark.results.evaluation import CHECKS, OPPONENT, VERDICTS
from benchmark.results.record import Record
from benchmark.results.store import load_records, write_model
from benchmark.results.verdicts import pack_verdicts, unpack_common
from tests.short_attacks import run_in_process, short_attacks

SUITE = """
name: small
dataset: digits
train_images: 384
epsilon: 16/255
architecture: {name: resnet6, width: 0.125}
grid: {weights: fp, objective: pgd}
methods: [{method: at}]
training: {epochs: 4, batch_size: 32, attack: {num_steps: 2}, selection_steps: 1}
evaluation: {images: 16, pgd: {steps: 5}}
"""

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def run_command() -> Run:
    """Return what runs `python -m benchmark ...` in this process, with short attacks."""

    def run(*arguments: object) -> Result:
        with short_attacks():
            return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def measured(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Return a folder with the record and the artifact of one trained network; nobody writes into it."""

    def train(folder: Path) -> None:
        (folder / "small.yaml").write_text(SUITE, encoding="utf-8")
        run_in_process(folder / "small.yaml", folder)

    return made_once("measured_row", train)


@pytest.fixture
def out(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of `measured` that a test may change, its record from before the opponent's attacks.

    It is also the current folder.
    """
    monkeypatch.chdir(tmp_path)
    for part in ("records", "artifacts"):
        shutil.copytree(measured / part, tmp_path / part)
    (path,) = (tmp_path / "records").rglob("*.json")
    fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    evaluation = fields["evaluation"]
    evaluation["verdicts"].pop(OPPONENT)
    evaluation["health"] = evaluation["health"][: len(CHECKS)]
    right = unpack_common(evaluation["verdicts"].values(), evaluation["n_images"])
    evaluation["best_known_accuracy"] = float(np.mean(right))
    write_model(path, Record.model_validate(fields))
    return tmp_path


@pytest.fixture
def record(out: Path) -> Record:
    """Return the one record in `out`."""
    (trained,) = load_records(out)
    return trained


@pytest.fixture
def boast(out: Path, record: Record) -> Callable[[], Record]:
    """Return what replaces the record by one that claims every image right on sight to be robust."""

    def make() -> Record:
        (path,) = (out / "records").rglob("*.json")
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        clean = record.evaluation.right("clean")
        share = float(np.mean(clean))
        evaluation = fields["evaluation"]
        evaluation["verdicts"] = dict.fromkeys(VERDICTS, pack_verdicts(clean))
        evaluation["pgd"]["accuracy"] = evaluation["autoattack"]["accuracy"] = evaluation["best_known_accuracy"] = share
        evaluation["autoattack"]["attacks"] = dict.fromkeys(evaluation["autoattack"]["attacks"], share)
        path.write_text(json.dumps(fields), encoding="utf-8")
        (edited,) = load_records(out)
        return edited

    return make
