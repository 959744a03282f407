"""Two rows trained once, of a built-in and of an own method, their submissions, and what a forger does to them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from benchmark.__main__ import app
from benchmark.artifact.pack import pack
from benchmark.artifact.unpack import Artifact, unpack
from benchmark.results.evaluation import OPPONENT
from benchmark.results.record import Record
from benchmark.results.verdicts import pack_verdicts
from benchmark.runtime.hashing import tensors_sha256
from benchmark.submission.sample import candidates, sample_seed
from benchmark.submission.schema import Submission
from benchmark.submission.verifying import Outcome, VerifyRequest, verify
from benchmark.suite.experiment import Experiment
from tests.short_attacks import run_in_process, short_attacks

METHOD = '''"""Adversarial training under another name."""

from dataclasses import dataclass
from typing import ClassVar

from methods.at import AT


@dataclass(frozen=True)
class Mine(AT):
    """Adversarial training, again."""

    name: ClassVar[str] = "mine"
    lr: float = 0.06
'''

SUITE = """
name: small
dataset: digits
train_images: 256
epsilon: {epsilon}
architecture: {{name: resnet6, width: 0.125}}
grid: {{weights: fp, objective: pgd}}
methods: [{{method: "{method}"}}]
training: {{epochs: 4, batch_size: 32, attack: {{num_steps: 2}}, selection_steps: 1}}
evaluation: {{images: 8, pgd: {{steps: 25}}}}
"""


def run_command(*arguments: object, rays: bool = True) -> Result:
    """Run `python -m benchmark ...` in this process, with short attacks; RayS may be left as it is."""
    with short_attacks(rays=rays):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def run() -> Callable[..., Result]:
    """Return what runs the command line in this process."""
    return run_command


@pytest.fixture(scope="session")
def rows(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Return a folder with the records and artifacts of two trained networks, and the method's file."""

    def train(folder: Path) -> None:
        (folder / "mine.py").write_text(METHOD, encoding="utf-8")
        # Of the first row one image stays right, which is what AutoAttack takes its time for; of the second, with its
        # large radius, none.
        for method, epsilon in (("at", "20/255"), (f"{folder / 'mine.py'}:Mine", "64/255")):
            (folder / "small.yaml").write_text(SUITE.format(method=method, epsilon=epsilon), encoding="utf-8")
            run_in_process(folder / "small.yaml", folder)

    return made_once("submitted_rows", train)


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a board without rows."""
    return tmp_path_factory.mktemp("board")


def _submitted(rows: Path, board: Path, to: Path, row: str, *options: object) -> Path:
    result = run_command(
        *("submit", row, "--out", rows, "--to", to, "--board", board, "--credit", "Ada Lovelace"), *options
    )
    assert result.exit_code == 0, result.output
    return to


@pytest.fixture(scope="session")
def honest_result(rows: Path, board: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the submission of a built-in method's row; nobody writes into it."""
    return _submitted(rows, board, tmp_path_factory.mktemp("result") / "s", "/at/")


@pytest.fixture(scope="session")
def honest_method(rows: Path, board: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the submission of an own method's row; nobody writes into it."""
    to = tmp_path_factory.mktemp("method") / "s"
    return _submitted(rows, board, to, "/mine/", "--method", f"{rows / 'mine.py'}:Mine")


@pytest.fixture(scope="session")
def accepted(honest_result: Path, board: Path) -> Outcome:
    """Return the outcome of `verify` for the honest result, in little time."""
    with short_attacks():
        outcome = verify(VerifyRequest(honest_result, board, None, None, 1, 1.0), lambda line: None)
    assert outcome.accepted, outcome.reasons
    return outcome


@dataclass
class Forger:
    """A copy of an honest submission, and methods that make its hashes agree again."""

    folder: Path
    board: Path
    agree: Callable[[dict[str, Any]], None]

    def read(self, name: str = "record.json") -> dict[str, Any]:
        """Return the content of a JSON file."""
        fields: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return fields

    def write(self, name: str, fields: object) -> None:
        """Write JSON as the benchmark does."""
        text = json.dumps(fields, indent=2, sort_keys=True) + "\n"
        (self.folder / name).write_text(text, encoding="utf-8")

    @property
    def artifact(self) -> Artifact:
        """The network in the folder."""
        return unpack((self.folder / "artifact.safetensors").read_bytes())

    def digest(self, name: str) -> str:
        """Return the sha256 of a file."""
        return hashlib.sha256((self.folder / name).read_bytes()).hexdigest()

    def rehash(self, record: dict[str, Any], **changes: Any) -> None:
        """Write a record and make submission.json agree with it and with the files."""
        self.write("record.json", record)
        fields = self.read("submission.json")
        fields |= {"run": record["run"], "protocol": record["protocol"], "record_sha256": self.digest("record.json")}
        fields["artifact"] |= {
            "sha256": record["artifact"]["sha256"],
            "size_bytes": record["artifact"]["size_bytes"],
        }
        is_present = (self.folder / "adversarial.safetensors").exists()
        fields["sample"]["sha256"] = self.digest("adversarial.safetensors") if is_present else None
        self.write("submission.json", fields | changes)

    def rename(self, record: dict[str, Any]) -> dict[str, Any]:
        """Give a record the run and hash of its changed config."""
        experiment = Experiment.model_validate(record["provenance"]["config"])
        record |= {"run": experiment.run, "run_hash": experiment.run_hash, "seed": experiment.seed}
        return record

    def resample(self, record: dict[str, Any]) -> None:
        """Make the sample fit a changed record: with the images it has, and the others listed as missed."""
        parsed = Record(**record)
        path = self.folder / "adversarial.safetensors"
        tensors = load_file(path)
        order = candidates(parsed)
        kept = [row for row, place in enumerate(tensors["index"].tolist()) if place in order]
        tensors = {name: value[kept].contiguous() for name, value in tensors.items()}
        if kept:
            save_file(tensors, path)
        else:
            path.unlink()
        fields = self.read("submission.json")
        missed = sorted(set(order) - set(tensors["index"].tolist()))
        fields["sample"] |= {"seed": sample_seed(parsed), "count": len(kept), "missed": missed}
        self.write("submission.json", fields)
        self.rehash(record)

    def flip(self, record: dict[str, Any], place: int, *, right: bool) -> None:
        """Give one image another verdict under every attack, and make all accuracies agree."""
        evaluation = record["evaluation"]
        whole = Record(**record).evaluation
        for name in whole.verdicts:
            bits = whole.right(name).copy()
            if name != "clean":
                bits[place] = right or name == OPPONENT  # which met survivors alone
            evaluation["verdicts"][name] = pack_verdicts(bits)
        self.agree(evaluation)

    def repack(self, record: dict[str, Any], change: Callable[[torch.nn.Module], None]) -> None:
        """Change the network, pack it again, and make the record name the new file."""
        old = self.artifact
        with torch.no_grad():
            change(old.network)
        content = pack(old.network, old.plan, dataset=old.dataset, image_size=old.image_size, statistics=old.statistics)
        (self.folder / "artifact.safetensors").write_bytes(content)
        record["artifact"] |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        record["weights_sha256"] = tensors_sha256(unpack(content).network.state_dict())

    def verify(self, *, seconds: float = 60.0, board: Path | None = None) -> Outcome:
        """Verify the folder."""
        request = VerifyRequest(self.folder, board or self.board, None, None, 1, seconds)
        with short_attacks():
            return verify(request, lambda line: None)

    def reasons(self) -> str:
        """Return why the folder is refused; fails if it is accepted."""
        outcome = self.verify()
        assert not outcome.accepted
        return "\n".join(outcome.reasons)


@pytest.fixture
def forger_of(board: Path, agree: Callable[[dict[str, Any]], None], tmp_path: Path) -> Callable[[Path], Forger]:
    """Return what makes a forger with a copy of a submission."""

    def copied(submission: Path) -> Forger:
        shutil.copytree(submission, tmp_path / "s")
        return Forger(tmp_path / "s", board, agree)

    return copied


@pytest.fixture
def forger(honest_result: Path, forger_of: Callable[[Path], Forger]) -> Forger:
    """Return a forger with a copy of the honest result."""
    return forger_of(honest_result)


@pytest.fixture
def method_forger(honest_method: Path, forger_of: Callable[[Path], Forger]) -> Forger:
    """Return a forger with a copy of the honest method."""
    return forger_of(honest_method)


@pytest.fixture
def full_board(rows: Path, tmp_path: Path) -> Path:
    """Return a board with both rows, which a test may change."""
    for part in ("records", "artifacts"):
        shutil.copytree(rows / part, tmp_path / "full" / part)
    return tmp_path / "full"


@pytest.fixture
def submission(forger: Forger) -> Submission:
    """Return what the honest result's submission.json says."""
    return Submission(**forger.read("submission.json"))
