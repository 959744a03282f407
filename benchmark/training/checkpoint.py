"""Training state on disk: written whole or not at all, read without unpickling code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from benchmark.errors import UserError
from benchmark.results.store import write_atomic
from benchmark.writing import replacing


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, containers of them) atomically and durably.

    Raises:
        UserError: if the system refuses, as where the disk is full.
    """
    with replacing(path) as temporary:
        torch.save(state, temporary)  # given the path it needs half the time that it needs with an open file


def save_network(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any], *, run_hash: str) -> None:
    """Write the selected network of a finished training, with JSON facts about it, atomically.

    It is durable, as the caller deletes the checkpoint next: a power cut must not take both.

    Raises:
        UserError: if the system refuses, as where the disk is full.
    """
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    write_atomic(path, save(contiguous, metadata={"run_hash": run_hash, "facts": json.dumps(facts)}))


def load_network(path: Path, *, run_hash: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what `save_network` wrote for this very run; None if training has not finished yet.

    Raises:
        UserError: if the file belongs to another run or is damaged; it is left where it is.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        facts: dict[str, Any] = json.loads(metadata.get("facts", "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"network {path} cannot be read ({error}); delete it to train this run anew") from error
    if metadata.get("run_hash") != run_hash:
        raise UserError(f"network {path} belongs to run {metadata.get('run_hash')}, not {run_hash}; delete it")
    return tensors, facts


def load_checkpoint(path: Path, *, run_hash: str) -> dict[str, Any] | None:
    """Read a checkpoint of this very run; None if there is none yet.

    Raises:
        UserError: if the file belongs to another run or is damaged; it is left where it is.
    """
    if not path.exists():
        return None
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged files
        # Torch's own message is long and advises to switch its protection off.
        raise UserError(
            f"checkpoint {path} cannot be read ({type(error).__name__}); delete it to start anew"
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"checkpoint {path} holds a {type(state).__name__}; delete it to start this run anew")
    if state.get("run_hash") != run_hash:
        raise UserError(f"checkpoint {path} belongs to run {state.get('run_hash')}, not {run_hash}; delete it")
    return state
