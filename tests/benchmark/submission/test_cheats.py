"""Plateaus and a sawtooth as artifacts: refused with the record that `run` makes, and with forged ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.results.evaluation import CHECKS, OPPONENT
from benchmark.results.record import Record
from benchmark.results.store import load_records
from benchmark.results.verdicts import pack_verdicts
from tests.cheats import plateau_method
from tests.short_attacks import run_in_process

METHOD = f"{plateau_method.__file__}:Plateaus"
SUITE = f"""
name: cheats
dataset: digits
architecture: {{name: resnet10, width: 0.2}}
grid: {{keep_ratio: 1.0}}
methods:
  - {{method: "{METHOD}", weights: binary, options: {{decoy: all pixels}}}}
  - {{method: "{METHOD}", weights: fp, options: {{decoy: sawtooth}}, architecture: {{width: 0.3}}}}
training: {{epochs: 6, batch_size: 128, selection_steps: 1}}
evaluation: {{images: 16, pgd: {{steps: 10}}}}
"""
KINDS = "all pixels", "sawtooth"  # the opponent's own tests have every kind
BEFORE = "files", "schema", "texts", "hashes", "method", "numbers", "artifact", "copies", "data", "clean", "sample"
FOUND = (
    "images that survived all attacks are broken by PGD through leaky ReLUs (BPDA)",
    "images that survived all attacks are broken by RayS, which sees only the predicted class",
)


@pytest.fixture(scope="session")
def cheat_rows(made_once, run) -> Path:
    """Return a folder with the records and artifacts of two cheats, and what `run` prints about them."""

    def train(folder: Path) -> None:
        suite = folder / "cheats.yaml"
        suite.write_text(SUITE, encoding="utf-8")
        run_in_process(suite, folder, rays=False)
        result = run("run", suite, "--out", folder)
        assert result.exit_code == 0, result.output
        assert "2 experiments: 2 done, 0 to run" in result.output
        (folder / "printed.txt").write_text(result.output, encoding="utf-8")

    return made_once("cheat_rows", train)


@pytest.fixture(scope="session")
def cheat_submissions(cheat_rows, made_once, board, run) -> Path:
    """Return a folder with a submission of each kind of cheat; nobody writes into it."""

    def write(folder: Path) -> None:
        for record in load_records(cheat_rows):
            to = folder / record.method.options["decoy"]
            arguments = "--out", cheat_rows, "--to", to, "--board", board, "--credit", "Eve", "--method", METHOD
            result = run("submit", record.run, *arguments, rays=False)
            assert result.exit_code == 1, result.output
            assert "refused    gradient health, " in result.output

    return made_once("cheat_submissions", write)


@pytest.fixture
def cheat(cheat_submissions, request, forger_of):
    """Return a forger with a copy of the submission of one kind of cheat."""
    return forger_of(cheat_submissions / request.param)


@pytest.mark.parametrize("cheat", KINDS, indirect=True)
def test_the_record_that_run_makes_names_what_was_found_and_is_refused(cheat, cheat_rows, run):
    record = Record(**cheat.read())
    failed = [check for check in record.evaluation.health if check.verdict == "fail"]
    assert failed and {check.name for check in failed} <= {"leaky_bpda", "hard_label"}
    assert record.evaluation.autoattack.accuracy >= record.evaluation.best_known_accuracy + 0.25
    assert cheat.read("submission.json")["sample"]["missed"] == []

    printed = " ".join((cheat_rows / "printed.txt").read_text(encoding="utf-8").split())
    result = run("verify", cheat.folder, "--board", cheat.board)

    assert result.exit_code == 1
    for check in failed:
        assert f"gradient health, {check.name}: {check.reason}" in printed
        assert f"refused  numbers: gradient health, {check.name}: {check.reason}" in result.output


def _without_checks(evaluation):
    """Make an evaluation one from before the opponent's attacks."""
    del evaluation["verdicts"][OPPONENT]
    evaluation["health"] = evaluation["health"][: len(CHECKS)]


def _with_passed_checks(evaluation):
    """Let the opponent's attacks have broken nothing."""
    evaluation["verdicts"][OPPONENT] = pack_verdicts(np.ones(evaluation["n_images"], dtype=bool))
    for check in evaluation["health"][len(CHECKS) :]:
        check |= {"verdict": "pass", "value": 0.0, "reason": "0 of 10 images fall."}


@pytest.mark.parametrize(
    ("cheat", "forge"),
    [("all pixels", _with_passed_checks), ("all pixels", _without_checks)],
    indirect=["cheat"],
)
def test_a_record_that_hides_what_was_found_is_refused_for_it_alone(cheat, forge, run):
    record = cheat.read()
    forge(record["evaluation"])
    cheat.agree(record["evaluation"])
    cheat.resample(record)

    result = run("verify", cheat.folder, "--board", cheat.board, rays=False)

    assert result.exit_code == 1
    lines = result.output.splitlines()
    passed = [line.split(":")[0].split()[1] for line in lines if line.startswith("ok ")]
    assert passed == [*BEFORE, "health", "robust", "pgd"]
    refused = [line for line in lines if line.startswith("refused  ")]
    assert all(line.startswith("refused  opponent: ") for line in refused)
    assert any(sentence in refused[0] for sentence in FOUND)
    assert lines[-1].startswith("refused: opponent: ")
