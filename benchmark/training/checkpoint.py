"""Training state on disk: written completely or not at all, and read without unpickling code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from benchmark.errors import UserError
from benchmark.files.writing import replacing
from benchmark.results.store import write_atomic
from methods.sparse.step import DENSE, kernels_to_use


@dataclass(frozen=True)
class TrainingKey:
    """Identifies a training; only files with the same key are resumed from.

    Attributes:
        run_hash: of the experiment.
        train_sha256: of all decoded training images and labels.
    """

    run_hash: str
    train_sha256: str


class OtherTraining(UserError):
    """An intact file comes from another run, from training on other images, or from another first phase."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, containers of them) atomically and durably.

    Raises:
        UserError: if writing fails, for example because the disk is full.
    """
    with replacing(path) as temporary:
        torch.save(state, temporary)  # a path takes half the time of an open file


def save_network(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any], key: TrainingKey) -> None:
    """Write the selected network of a finished training, with JSON facts about it, atomically.

    It is written durably, because the caller deletes the checkpoint next: a power cut must not lose both.

    Raises:
        UserError: if writing fails, for example because the disk is full.
    """
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    write_atomic(path, save(contiguous, metadata={**vars(key), "facts": json.dumps(facts)}))


def load_network(path: Path, key: TrainingKey) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what `save_network` wrote for this training; None if there is nothing yet.

    Raises:
        OtherTraining: if the file does not match `key`; it stays in place.
        UserError: if it is damaged; it stays in place.
    """
    if not path.exists():
        return None
    with _opened_network(path, key) as (file, metadata):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        facts: dict[str, Any] = json.loads(metadata.get("facts", "null"))
    return tensors, facts


def has_network(path: Path, key: TrainingKey) -> bool:
    """Return whether `save_network` wrote a file for this training; reads only its header.

    Raises:
        OtherTraining: if the file does not match `key`.
        UserError: if it is damaged.
    """
    if not path.exists():
        return False
    with _opened_network(path, key):
        return True


@contextmanager
def _opened_network(path: Path, key: TrainingKey) -> Iterator[tuple[Any, Mapping[str, str]]]:
    """Open a network's file and yield it with its metadata."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _check_key(path, metadata, key)
            yield file, metadata
    except OtherTraining:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"network {path} cannot be read ({error}); delete it to train this run again") from error


def load_checkpoint(path: Path, key: TrainingKey) -> dict[str, Any] | None:
    """Read a checkpoint of this training; None if there is none yet.

    Raises:
        OtherTraining: if the file does not match `key`; it stays in place.
        UserError: if it is damaged, or began with kernels that are not here; it stays in place.
    """
    if not path.exists():
        return None
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged files
        # Torch's own message is long and recommends disabling its protection.
        raise UserError(
            f"checkpoint {path} cannot be read ({type(error).__name__}); delete it to start over"
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"checkpoint {path} holds a {type(state).__name__}; delete it to start this run over")
    _check_key(path, state, key)
    _check_kernels(path, state.setdefault("kernels", DENSE))  # those of earlier versions do not say it
    return state


def _check_kernels(path: Path, used: str | None) -> None:
    """Refuse to go on with other kernels: the result would be that of no uninterrupted run. All have dense passes."""
    here = kernels_to_use()
    if used not in (None, DENSE, here):
        raise UserError(
            f"the training in {path} has run on the kernels {used!r}, here it would run on {here!r}; install numba in "
            "that version (extra `fast`) to go on, or delete the file to start over"
        )


def _check_key(path: Path, saved: Mapping[str, Any], key: TrainingKey) -> None:
    if saved.get("run_hash") != key.run_hash:
        raise OtherTraining(f"{path} belongs to run {saved.get('run_hash')}, not {key.run_hash}")
    digest = saved.get("train_sha256")
    if digest is None:
        raise OtherTraining(f"{path} does not say which images it was trained on")
    if digest != key.train_sha256:
        raise OtherTraining(
            f"{path} was trained on other images or labels (sha256 {digest[:12]}…) than those here "
            f"({key.train_sha256[:12]}…)"
        )
