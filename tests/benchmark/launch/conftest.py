"""Orders for runs that take seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmark.launch.order import WorkOrder
from benchmark.suite.experiment import Experiment

TINY = {
    "suite": "test",
    "preset": "own",
    "dataset": "digits",
    "train_images": 32,
    "epsilon": "200/255",
    "architecture": {"name": "resnet6", "width": 0.0625},
    "method": {"name": "at", "target": "methods.at:AT"},
    "weights": "fp",
    "keep_ratio": 1.0,
    "allocation": 1.0,
    "objective": "clean",
    "training": {"epochs": 2, "batch_size": 16, "selection_steps": 1},
    "evaluation": {"images": 4, "pgd": {"steps": 1}},
    "seed": 0,
}


@pytest.fixture
def tiny_order(tmp_path) -> Callable[..., WorkOrder]:
    """Return the maker of orders for tiny runs; an experiment's settings are changed by keyword."""

    def make(*, shards: int = 1, out: str = "out", lease_seconds: float = 60, **changes: Any) -> WorkOrder:
        return WorkOrder(
            experiment=Experiment.model_validate(TINY | changes),
            out=tmp_path / out,
            data_dir=None,
            device="cpu",
            threads=1,
            command="test",
            shards=shards,
            lease_seconds=lease_seconds,
        )

    return make
