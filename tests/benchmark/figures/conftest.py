"""A folder of results with a figure of every kind, drawn once."""

from __future__ import annotations

import hashlib
import json
import runpy
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark.artifact.pack import pack
from benchmark.figures.draw import draw_figures
from benchmark.leaderboard.board.tables import boards
from benchmark.networks.resnet import NetworkPlan, convolutions, plain_conv
from benchmark.results.evaluated import Evaluated
from benchmark.results.record import Record
from benchmark.results.store import artifact_path, save_record, write_model
from methods import BUILT_IN

ROOT = Path(__file__).resolve().parents[3]
_shared = runpy.run_path(str(Path(__file__).parents[1] / "results" / "conftest.py"))
record_fields, health = _shared["record_fields"], _shared["health"]
RADII = (0.0, 4 / 255, 8 / 255, 16 / 255)


def short_record(number=0, *, method="edge_popup", weights="binary", seed=0, keep=0.01, p=0.1, **changes):
    """Return a valid record of three epochs with a run of its own for every number."""
    digits = f"{number:06x}{hashlib.sha256(str(number).encode()).hexdigest()[:6]}"
    cell = f"cifar10/resnet34-lbn/{method}/{weights}-keep{keep}-p{p}-pgd"
    fields = {
        "run": f"{cell}/seed{seed}-{digits[:6]}",
        "run_hash": digits,
        "compression__weights": weights,
        "compression__keep_ratio": keep,
        "compression__allocation": p,
        "artifact__sha256": hashlib.sha256(f"artifact {number}".encode()).hexdigest(),
        "training__epochs": 3,
        "training__selected_epoch": 2,
    }
    return Record(**record_fields(method=method, seed=seed, **{**fields, **changes}))


def curve_of(record, accuracies=(0.8, 0.6, 0.5, 0.1), **changes):
    """Return what `evaluate --curve` would write about a record's artifact."""
    points = [{"epsilon": radius, "accuracy": accuracy} for radius, accuracy in zip(RADII, accuracies, strict=True)]
    fields = {
        "schema_version": 1,
        "artifact": record.artifact.model_dump(),
        "protocol": record.protocol,
        "test_sha256": record.dataset.test_sha256,
        "shard": None,
        "evaluation": record.evaluation.model_dump(),
        "curve": points,
        "curve_area": 0.5,
        "machine": {
            "torch": "2.6.0",
            "device": "cpu",
            "threads": 1,
            "started": "2025-01-01T00:00:00+00:00",
            "seconds": 1.0,
        },
    }
    return Evaluated(**{**fields, **changes})


def small_artifact(seed=0):
    """Return the bytes of a random network of one percent density, and its layers as a record holds them."""
    torch.manual_seed(seed)
    plan = NetworkPlan("resnet6", 10, (0.5,), (0.5,), width=0.125)
    network = plan(conv=plain_conv, norm=nn.BatchNorm2d).requires_grad_(False).eval()
    layers = []
    for name, conv in convolutions(network).items():
        conv.weight.mul_(torch.rand(conv.weight.shape) < 0.05)
        layers.append({"name": name, "weights": conv.weight.numel(), "kept": int(torch.count_nonzero(conv.weight))})
    return pack(network, plan, dataset="digits", image_size=(8, 8)), layers


def fill(folder: Path) -> None:
    """Put results into a folder that allow one figure of every kind, and two of masks."""
    content, layers = small_artifact()
    weights, kept = sum(layer["weights"] for layer in layers), sum(layer["kept"] for layer in layers)
    pruned = short_record(
        1,
        right=(80, 50, 44),
        architecture__name="resnet6",
        architecture__prunable_weights=weights,
        architecture__all_parameters=weights + 100,
        compression__layers=layers,
        compression__kept_weights=kept,
        compression__budget=kept,
        compression__density=kept / weights,
        artifact__sha256=hashlib.sha256(content).hexdigest(),
        artifact__size_bytes=len(content),
    )
    dense = {"compression__kept_weights": 10_000, "compression__budget": 10_000, "compression__density": 1.0}
    many = {
        "artifact__size_bytes": 90_000,
        "compression__layers": [{"name": "linear", "weights": 10_000, "kept": 10_000}],
    }
    records = [
        pruned,
        short_record(2, right=(80, 50, 40), keep=0.1),
        short_record(3, right=(80, 52, 41), keep=0.01, p=1.0),
        short_record(4, right=(82, 54, 46), keep=0.1, p=1.0),
        short_record(5, right=(82, 54, 50), method="at", weights="fp", keep=1.0, **dense, **many),
        short_record(6, right=(82, 54, 48), method="at", weights="fp", keep=1.0, seed=1, **dense, **many),
        *(
            short_record(
                number,
                right=(82, 52, 36),
                method__target=BUILT_IN["edge_popup"],
                method__options={"score_scale": scale},
            )
            for number, scale in ((7, 0.1), (8, 1.0))
        ),
    ]
    for record in records:
        save_record(record, folder)
    path = artifact_path(folder, pruned.run)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for record in records[1:]:
        write_model(folder / "evaluations" / f"{record.run_hash}.json", curve_of(record))
    (folder / "reference").mkdir()
    shutil.copy(ROOT / "leaderboards" / "reference" / "reported_ablations.csv", folder / "reference")


@pytest.fixture
def make_short():
    """Return the maker of records of three epochs."""
    return short_record


@pytest.fixture
def make_curve():
    """Return the maker of results of `evaluate --curve`."""
    return curve_of


@pytest.fixture
def board_of():
    """Return what makes the one board of some records."""

    def make(*records):
        (board,) = boards(records).values()
        return board

    return make


@pytest.fixture(scope="session")
def fill_folder():
    """Return what fills a folder with results."""
    return fill


@pytest.fixture(scope="session")
def drawn_once(made_once):
    """Return a folder with figures of every kind; nobody writes into it."""

    def draw(folder):
        fill(folder)
        draw_figures(folder, lambda line: None)

    return made_once("drawn", draw)


@pytest.fixture
def drawn(drawn_once, tmp_path):
    """Return a copy of a folder with figures, which a test may change."""
    return Path(shutil.copytree(drawn_once, tmp_path / "drawn"))


@pytest.fixture
def edit_json():
    """Return what changes a JSON file by a function of its content."""

    def edit(path, change):
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    return edit
