"""A network that was trained without this project, its evaluation and submission, and what a forger does to them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from typer.testing import Result

from benchmark.data.load import load_training
from benchmark.evaluation.accuracy import as_float_images
from benchmark.foreign.onnx_artifact import onnx_artifact
from benchmark.leaderboard.render import write_pages
from benchmark.results.external import ExternalRecord, OriginElsewherePart, external_run
from benchmark.submission.sample import sample_seed
from benchmark.submission.verifying import Outcome, VerifyRequest, verify

CITATION = "title: Engines & {networks}\nauthors: [Ada Lovelace]\nyear: 2026\nlink: https://example.org/paper\n"
PROTOCOL = "digits-linf-64_255-pgd25x1-aa-standard-8"  # within so large a radius every image falls, at once
AUTHORS = ("--authors", "Ada Lovelace, Charles Babbage", "--credit", "Ada Lovelace")
ABOUT = (
    *("--method", "Plain CNN", "--architecture", "linear", "--licence", "MIT", "--link", "https://example.org/net"),
    *("--converted", "weights written into a graph by hand"),
)

MadeOnce = Callable[[str, Callable[[Path], None]], Path]


def graph_bytes(weight: torch.Tensor, bias: torch.Tensor, scale: float | None = None) -> bytes:
    """Return an ONNX file: Flatten and Gemm on digits, and the logits times a number if one is given."""
    stored = {"weight": weight, "bias": bias} | ({} if scale is None else {"scale": torch.tensor(scale)})
    last = "logits" if scale is None else "gemm"
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weight", "bias"], [last], transB=1),
    ]
    nodes += [] if scale is None else [helper.make_node("Mul", ["gemm", "scale"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value.numpy(), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def trained_weights(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias of a linear classifier of digits, trained by plain torch."""
    data = load_training("digits", None).train
    images, labels = as_float_images(data.images).flatten(1), data.labels
    generator = torch.Generator().manual_seed(seed)
    weight = (0.1 * torch.randn(10, 64, generator=generator)).requires_grad_()
    bias = torch.zeros(10, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(images @ weight.T + bias, labels).backward()
        optimizer.step()
    return weight.detach(), bias.detach()


@pytest.fixture(scope="session")
def make_onnx() -> Callable[..., bytes]:
    """Return the maker of ONNX files, see `graph_bytes`."""
    return graph_bytes


@pytest.fixture(scope="session")
def weights() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights of the honest network."""
    return trained_weights(0)


@pytest.fixture(scope="session")
def elsewhere(run: Callable[..., Result], weights: tuple[torch.Tensor, torch.Tensor], made_once: MadeOnce) -> Path:
    """Return a folder with net.onnx and newer.onnx, evaluated, and an empty board in board/; nobody writes into it."""

    def make(folder: Path) -> None:
        (folder / "board").mkdir()
        for name, content in (("net", graph_bytes(*weights)), ("newer", graph_bytes(*trained_weights(1)))):
            file = folder / f"{name}.onnx"
            file.write_bytes(content)
            result = run("evaluate", file, "--protocol", PROTOCOL, "--out", folder)
            assert result.exit_code == 0, result.output
            (made,) = (folder / "evaluations").glob(f"{hashlib.sha256(content).hexdigest()[:12]}*.json")
            made.rename(folder / f"{name}.json")

    return made_once("elsewhere", make)


@pytest.fixture(scope="session")
def submit(run: Callable[..., Result], elsewhere: Path) -> Callable[..., Result]:
    """Return what submits one of the networks to a folder; options replace those that are usual."""

    def submitted(to: Path, *options: object, network: str = "net", board: Path | None = None) -> Result:
        file, evaluation = elsewhere / f"{network}.onnx", elsewhere / f"{network}.json"
        usual = ("--external", file, "--evaluation", evaluation, "--board", board or elsewhere / "board")
        return run("submit", "--to", to, *usual, *ABOUT, *AUTHORS, *options)

    return submitted


@pytest.fixture(scope="session")
def honest(submit: Callable[..., Result], made_once: MadeOnce) -> Path:
    """Return the submission of the honest network; nobody writes into it."""

    def make(folder: Path) -> None:
        result = submit(folder / "s")
        assert result.exit_code == 0, result.output

    return made_once("honest_external", make) / "s"


@pytest.fixture
def citation() -> str:
    """Return the content of the file that the older row of `accepted` is cited by."""
    return CITATION


@pytest.fixture(scope="session")
def accepted(run: Callable[..., Result], submit: Callable[..., Result], made_once: MadeOnce) -> Path:
    """Return a board with the honest row, cited, and with the newer network in its place; nobody writes into it."""

    def make(folder: Path) -> None:
        board = folder / "board"
        board.mkdir()
        (folder / "cite.yaml").write_text(CITATION)
        for name in ("net", "newer"):
            options: list[object] = ["--cite", folder / "cite.yaml"]
            if name == "newer":
                old = json.loads((folder / "net" / "record.json").read_text())
                options = ["--supersedes", old["run_hash"][:6]]
            result = submit(folder / name, *options, network=name, board=board)
            assert result.exit_code == 0, result.output
            result = run("verify", folder / name, "--board", board, "--accept", "--seconds", "5")
            assert result.exit_code == 0, result.output
        write_pages(board)

    return made_once("external_rows", make) / "board"


@pytest.fixture
def board(accepted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that board, which a test may change, beside an empty folder that is the current one."""
    shutil.copytree(accepted, tmp_path / "board")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # a stopped audit and a stopped reproduction leave their journals there
    return tmp_path / "board"


@dataclass
class Forger:
    """A copy of the honest submission, and methods that make its hashes agree again."""

    folder: Path
    board: Path

    def read(self, name: str = "record.json") -> dict[str, Any]:
        """Return the content of a JSON file."""
        fields: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return fields

    def rehash(self, record: dict[str, Any]) -> None:
        """Write a record, give it the run of its origin, and make submission.json agree with it and with the files."""
        origin = OriginElsewherePart.model_construct(**record["origin"])
        names = external_run(record["dataset"]["name"], origin, record["artifact"]["sha256"])
        record["run"], record["run_hash"] = names
        self._write("record.json", record)
        fields = self.read("submission.json")
        fields |= {"run": record["run"], "protocol": record["protocol"]}
        fields["record_sha256"] = self._digest("record.json")
        fields["artifact"] |= record["artifact"]
        images = self.folder / "adversarial.safetensors"
        fields["sample"]["sha256"] = self._digest(images.name) if images.exists() else None
        self._write("submission.json", fields)

    def replace_network(self, content: bytes) -> None:
        """Put another ONNX file into the folder, honestly counted if it can be, with a sample of the same images."""
        record = self.read()
        (self.folder / "network.onnx").write_bytes(content)
        record["artifact"] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        try:
            artifact = onnx_artifact(content)
        except Exception:
            self.rehash(record)
            return
        record["graph"], record["weights_sha256"] = artifact.graph.model_dump(mode="json"), artifact.weights_sha256
        self.rehash(record)
        fields = self.read("submission.json")
        fields["sample"]["seed"] = sample_seed(ExternalRecord(**self.read()))
        self._write("submission.json", fields)

    def change_graph(self, change: Callable[[onnx.ModelProto], None]) -> None:
        """Edit the ONNX file."""
        model = onnx.load_from_string((self.folder / "network.onnx").read_bytes())
        change(model)
        self.replace_network(model.SerializeToString())

    def verify(self) -> Outcome:
        """Verify the folder."""
        return verify(VerifyRequest(self.folder, self.board, None, None, 1, 5.0), lambda line: None)

    def reasons(self) -> str:
        """Return why the folder is refused; fails if it is accepted."""
        outcome = self.verify()
        assert not outcome.accepted
        return "\n".join(outcome.reasons)

    def _write(self, name: str, fields: object) -> None:
        (self.folder / name).write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def _digest(self, name: str) -> str:
        return hashlib.sha256((self.folder / name).read_bytes()).hexdigest()


@pytest.fixture
def forger(honest: Path, elsewhere: Path, tmp_path: Path) -> Forger:
    """Return a forger with a copy of the honest submission."""
    shutil.copytree(honest, tmp_path / "s")
    return Forger(tmp_path / "s", elsewhere / "board")
