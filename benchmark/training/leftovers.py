"""What an earlier call left in a work folder: gone on from if it fits, set aside if not. Used by the training loop."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmark.files.writing import writing
from benchmark.training.checkpoint import OtherTraining, TrainingKey, load_checkpoint, load_network
from benchmark.training.first_phase import check_taken_over, trained_path
from benchmark.training.state import FirstPhase

# The history first: it carries no key, and a kill between two moves must leave it beside nothing that fits.
_FILES = ("history.jsonl", "autoattack", "checkpoint.pt", "network.safetensors", "trained.safetensors")


@dataclass(frozen=True)
class Leftovers:
    """What to go on from; both are None for a training that begins.

    Attributes:
        network: tensors of the selected network and facts about it, if training has finished.
        checkpoint: state of an unfinished training.
    """

    network: tuple[dict[str, Tensor], dict[str, Any]] | None
    checkpoint: dict[str, Any] | None


def load_leftovers(
    folder: Path, key: TrainingKey, *, dense: bool, first_phase: FirstPhase | None, report: Callable[[str], None]
) -> Leftovers:
    """Read what a training left in `folder`; files of another run, other images or another first phase are set aside.

    Args:
        folder: of the run.
        key: of the training that asks.
        dense: whether the run leaves its last network to other methods, without which it is not finished.
        first_phase: what the training begins with, if with a dense run.
        report: receives a sentence about files that were set aside.

    Raises:
        UserError: if a file is damaged.
    """
    try:
        return _fitting(folder, key, dense=dense, first_phase=first_phase)
    except OtherTraining as error:
        report(f"set aside: {error}; it lies in {_set_aside(folder)} now, and training begins anew")
        return Leftovers(None, None)


def _fitting(folder: Path, key: TrainingKey, *, dense: bool, first_phase: FirstPhase | None) -> Leftovers:
    network = load_network(folder / "network.safetensors", key)
    last = load_network(trained_path(folder), key)
    if network is not None and (folder / "history.jsonl").exists() and (last is not None or not dense):
        check_taken_over(folder, network[1]["first_phase_sha256"], first_phase)
        return Leftovers(network, None)
    checkpoint = load_checkpoint(folder / "checkpoint.pt", key)
    if checkpoint is not None:
        check_taken_over(folder, checkpoint["state"]["first_phase_sha256"], first_phase)
    return Leftovers(None, checkpoint)


def _set_aside(folder: Path) -> Path:
    """Move what a training left into a new folder beside it, and return that folder."""
    place = next(place for number in count(1) if not (place := folder / f"set-aside-{number}").exists())
    with writing(place):
        place.mkdir()
        for name in _FILES:
            if (folder / name).exists():
                os.replace(folder / name, place / name)
    return place
