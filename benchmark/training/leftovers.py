"""Files of an earlier call in a work folder: resumed from if they match the training, otherwise set aside."""

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

# The history first: it has no key, so a kill between two moves must not leave it beside matching files.
_FILES = ("history.jsonl", "autoattack", "checkpoint.pt", "network.safetensors", "trained.safetensors")


@dataclass(frozen=True)
class Leftovers:
    """What to resume from; both are None for a new training.

    Attributes:
        network: tensors of the selected network and facts about it, if training has finished.
        checkpoint: state of an unfinished training.
    """

    network: tuple[dict[str, Tensor], dict[str, Any]] | None
    checkpoint: dict[str, Any] | None


def load_leftovers(
    folder: Path, key: TrainingKey, *, dense: bool, first_phase: FirstPhase | None, report: Callable[[str], None]
) -> Leftovers:
    """Read the files of a training in `folder`; those of another run, other images or first phase are set aside.

    Args:
        folder: of the run.
        key: of the current training.
        dense: whether the run must also leave its last network to other methods.
        first_phase: the dense run that the training begins with, if any.
        report: receives a sentence about files that were set aside.

    Raises:
        UserError: if a file is damaged.
    """
    try:
        return _matching(folder, key, dense=dense, first_phase=first_phase)
    except OtherTraining as error:
        report(f"set aside: {error}; moved to {_set_aside(folder)}, and training starts over")
        return Leftovers(None, None)


def _matching(folder: Path, key: TrainingKey, *, dense: bool, first_phase: FirstPhase | None) -> Leftovers:
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
    """Move the files of a training to a new folder beside them, and return that folder."""
    place = next(place for number in count(1) if not (place := folder / f"set-aside-{number}").exists())
    with writing(place):
        place.mkdir()
        for name in _FILES:
            if (folder / name).exists():
                os.replace(folder / name, place / name)
    return place
