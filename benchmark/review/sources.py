"""What a record was measured on: its artifact, its test images and the machine."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TypeVar, overload

import torch
from torch import nn

from benchmark.artifact.operations import operations
from benchmark.artifact.unpack import Artifact, read_artifact
from benchmark.data.load import TestData, load_test
from benchmark.errors import UserError
from benchmark.evaluation.fast import fold, sparse_copy
from benchmark.foreign.onnx_artifact import OnnxArtifact, read_onnx_artifact
from benchmark.results.evaluated import MachinePart
from benchmark.results.external import AnyRecord
from benchmark.results.record import Record
from benchmark.results.store import artifact_path
from benchmark.runtime.devices import threads_for
from benchmark.runtime.provenance import device_name
from methods.sparse.step import DENSE
from methods.sparse.support import MISSING, kernel_name

A = TypeVar("A", bound=Artifact | OnnxArtifact)


@overload
def artifact_of(record: Record, folder: Path) -> Artifact: ...


@overload
def artifact_of(record: AnyRecord, folder: Path) -> Artifact | OnnxArtifact: ...


def artifact_of(record: AnyRecord, folder: Path) -> Artifact | OnnxArtifact:
    """Read the artifact that a record is about.

    Raises:
        UserError: if it is missing, damaged, or not the file of the record.
    """
    path = artifact_path(folder, record.run, record.ending)
    if not path.exists():
        raise UserError(f"{record.run} has no artifact at {path}; fetch the file there, its sha256 is in the record")
    return artifact_at(path, record)


def artifact_at(path: Path, record: AnyRecord) -> Artifact | OnnxArtifact:
    """Read the artifact of a record from a file anywhere; raises like `artifact_of`."""
    return check_artifact(read_kind_of(record, path), record, path)


def read_kind_of(record: AnyRecord, path: Path) -> Artifact | OnnxArtifact:
    """Read a file of the kind that a record's artifact is, whether or not it is the record's.

    Raises:
        UserError: if it is none of that kind.
    """
    return read_artifact(path) if isinstance(record, Record) else read_onnx_artifact(path)


def check_artifact(artifact: A, record: AnyRecord, path: Path) -> A:
    """Return an artifact that was read from a path.

    Raises:
        UserError: if it is not the file of the record.
    """
    if artifact.sha256 != record.artifact.sha256:
        raise UserError(
            f"{path} has sha256 {artifact.sha256[:12]}…, the record was measured on {record.artifact.sha256[:12]}…; "
            "fetch the record's file"
        )
    return artifact


def pass_threads(artifact: Artifact, images: int, most: int) -> int:
    """Return how many threads, at most `most`, to use for passes of `images` images through an artifact's network."""
    counted = operations(artifact.network, artifact.plan.in_channels, artifact.image_size)
    return threads_for(counted.dense_macs * images, most)


def measured_here(device: torch.device, started: datetime, seconds: float) -> MachinePart:
    """Return the description of a measurement on this machine.

    Args:
        device: that it ran on.
        started: time in UTC.
        seconds: that it took.
    """
    return MachinePart(
        torch=torch.__version__,
        device=device_name(device),
        threads=torch.get_num_threads(),
        started=started.isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        kernels=kernel_name() if device.type == "cpu" else None,
    )


def other_kernels(kernels: str | None, network: nn.Module) -> str:
    """Return why attacks on a network round otherwise here than where a record was made; empty if they do not.

    Args:
        kernels: the sparse ones of that machine, None if it had none: numba was missing, or the record is older.
        network: that of the record. One that keeps too many weights for sparse kernels has the same rounding anywhere.
    """
    here = kernel_name()
    if kernels == here or (folded := fold(network)) is None:
        return ""
    sparse, reason = sparse_copy(folded)
    if sparse is None and reason != MISSING:
        return ""
    if kernels is None:
        action = "set NUMBA_DISABLE_JIT=1 for the record's rounding"
    else:
        action = "install numba in that version (extra `fast`) for the record's rounding"
    names = [DENSE if name is None else name for name in (kernels, here)]
    return f"the record's attacks ran on the kernels {names[0]!r}, here they run on {names[1]!r}; {action}"


def test_data_of(record: AnyRecord, data_dir: Path | None, images: int) -> TestData:
    """Load the first test images of a record's protocol.

    Raises:
        UserError: if the data are missing or are not those of the record.
    """
    data = load_test(record.dataset.name, data_dir, limit=images)
    if data.sha256 != record.dataset.test_sha256:
        raise UserError(
            f"the test images of {record.dataset.name} here are not those of the record "
            f"(sha256 {data.sha256[:12]}…, not {record.dataset.test_sha256[:12]}…); give their folder by --data-dir"
        )
    return data
