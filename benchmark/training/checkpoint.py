"""Training state on disk: written whole or not at all, read without unpickling code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from benchmark.errors import UserError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, containers of them) atomically and durably."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_checkpoint(path: Path, *, run_hash: str) -> dict[str, Any] | None:
    """Read a checkpoint of this very run; None if there is none yet.

    Raises:
        UserError: if the file belongs to another run or is damaged; it is left where it is.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged files
        raise UserError(f"checkpoint {path} cannot be read ({error}); delete it to start this run anew") from error
    if state.get("run_hash") != run_hash:
        raise UserError(f"checkpoint {path} belongs to run {state.get('run_hash')}, not {run_hash}; delete it")
    return state
