"""What a record was measured on: its artifact, its test images and the machine."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TypeVar, overload

import torch

from benchmark.artifact.operations import operations
from benchmark.artifact.unpack import Artifact, read_artifact
from benchmark.data.load import TestData, load_test
from benchmark.errors import UserError
from benchmark.foreign.onnx_artifact import OnnxArtifact, read_onnx_artifact
from benchmark.results.evaluated import MachinePart
from benchmark.results.external import AnyRecord
from benchmark.results.record import Record
from benchmark.results.store import artifact_path
from benchmark.runtime.devices import threads_for
from benchmark.runtime.provenance import device_name
from methods.sparse.support import kernel_name

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
