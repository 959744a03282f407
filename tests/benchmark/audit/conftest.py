"""A board with two trained rows in a git repository of its own, and what a forger writes into it by hand."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from typer.testing import CliRunner, Result

from benchmark.__main__ import app
from benchmark.artifact.unpack import read_artifact
from benchmark.results.evaluation import CHECKS, OPPONENT, VERDICTS
from benchmark.results.record import Record
from benchmark.results.store import artifact_path, record_path
from benchmark.results.verdicts import pack_verdicts
from tests.short_attacks import run_in_process, short_attacks

SUITE = """
name: small
dataset: digits
train_images: 256
seeds: [0, 1]
epsilon: 20/255
architecture: {name: resnet6, width: 0.125}
grid: {weights: fp, objective: pgd}
methods: [{method: at}]
training: {epochs: 4, batch_size: 32, attack: {num_steps: 2}, selection_steps: 1}
evaluation: {images: 12, pgd: {steps: 5}}
"""


@pytest.fixture(scope="session")
def run_command() -> Callable[..., Result]:
    """Return what runs `python -m benchmark ...` in this process, with short attacks."""

    def run(*arguments: object) -> Result:
        with short_attacks():
            return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def trained(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Return a folder with the records and artifacts of two seeds; nobody writes into it."""

    def train(folder: Path) -> None:
        (folder / "small.yaml").write_text(SUITE, encoding="utf-8")
        run_in_process(folder / "small.yaml", folder)

    return made_once("audited_rows", train)


@dataclass
class Board:
    """A board that a test may change, and its repository."""

    folder: Path
    run_command: Callable[..., Result]
    agree: Callable[[dict[str, Any]], None]

    def audit(self, *options: object) -> Result:
        """Run `audit` on the board."""
        return self.run_command("audit", "--out", self.folder, *options)

    def refusals(self, *options: object) -> str:
        """Return the last lines of an audit that must not pass."""
        result = self.audit(*options)
        assert result.exit_code == 1, result.output
        return result.output.partition(": see below\n")[2]

    def leaderboard(self) -> Result:
        """Bring the pages up to date."""
        return self.run_command("leaderboard", "--out", self.folder)

    def commit(self) -> None:
        """Commit everything."""
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "-m", "x")

    def git(self, *arguments: str) -> str:
        """Run git in the board's folder."""
        return git(self.folder, *arguments)

    @property
    def records(self) -> list[Path]:
        """The files of the records, by seed."""
        return sorted((self.folder / "records").rglob("*.json"))

    def read(self, number: int = 0) -> dict[str, Any]:
        """Return the fields of a record."""
        fields: dict[str, Any] = json.loads(self.records[number].read_text(encoding="utf-8"))
        return fields

    def write(self, fields: Mapping[str, Any]) -> Path:
        """Write a record where its names say, as the benchmark does."""
        path = record_path(self.folder, fields["protocol"], fields["run"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return path

    def artifact(self, number: int = 0) -> Path:
        """Return the file of a record's artifact."""
        return artifact_path(self.folder, self.read(number)["run"])

    def challenge(self, tensors: Mapping[str, torch.Tensor], broken: Collection[int], **changes: Any) -> Path:
        """Write a challenge to the first record by hand, every hash in order."""
        record = Record(**self.read())
        images = save({name: value.contiguous() for name, value in tensors.items()})
        fields = {
            "schema_version": 1,
            "run": record.run,
            "protocol": record.protocol,
            "artifact_sha256": record.artifact.sha256,
            "images_sha256": hashlib.sha256(images).hexdigest(),
            "credit": "Mallory",
            "date": record.provenance.started[:10],
            "broken": sorted(broken),
        } | changes
        stem = f"{fields['date']}-{fields['images_sha256'][:8]}"
        path = self.folder / "challenges" / record.protocol / self.records[0].stem / f"{stem}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".safetensors").write_bytes(images)
        path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return path

    def with_verdicts(self, fields: dict[str, Any], right: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
        """Return a record with other verdicts, and every number that follows from them."""
        evaluation, survivors = fields["evaluation"], np.logical_and.reduce([right[name] for name in VERDICTS])
        opponent = Record(**fields).evaluation.right(OPPONENT) | ~survivors  # it met the survivors alone
        evaluation["verdicts"] = {name: pack_verdicts(right[name]) for name in VERDICTS}
        evaluation["verdicts"][OPPONENT] = pack_verdicts(opponent)
        self.agree(evaluation)
        return fields

    def make_older(self) -> None:
        """Take from the first record what records from before the opponent's attacks lack, and commit that."""
        fields = self.read()
        evaluation = fields["evaluation"]
        del evaluation["verdicts"][OPPONENT]
        evaluation["health"] = [check for check in evaluation["health"] if check["name"] in CHECKS]
        self.agree(evaluation)
        self.write(fields)
        assert self.leaderboard().exit_code == 0
        self.commit()

    def verdicts_of(self, fields: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """Return a record's verdicts, to be changed."""
        evaluation = Record(**fields).evaluation
        return {name: evaluation.right(name).copy() for name in VERDICTS}

    @property
    def network(self) -> torch.nn.Module:
        """The first record's network."""
        return read_artifact(self.artifact()).network.eval()


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, with a name for commits."""
    name = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    ran = subprocess.run(["git", "-C", str(folder), *name, *arguments], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.fixture
def board(
    trained: Path,
    run_command: Callable[..., Result],
    agree: Callable[[dict[str, Any]], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Board:
    """Return a committed board with both rows and its pages; the current folder is another one."""
    folder = tmp_path / "repository" / "leaderboards"
    for part in ("records", "artifacts"):
        shutil.copytree(trained / part, folder / part)
    made = Board(folder, run_command, agree)
    assert made.leaderboard().exit_code == 0
    git(folder.parent, "init", "-q", "-b", "main")
    made.commit()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return made
