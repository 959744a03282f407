"""What a record was measured on: its artifact, its test images and the machine."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import torch

from benchmark.artifact.operations import operations
from benchmark.artifact.unpack import Artifact, read_artifact
from benchmark.data.load import TestData, load_test
from benchmark.errors import UserError
from benchmark.results.evaluated import MachinePart
from benchmark.results.record import Record
from benchmark.results.store import artifact_path
from benchmark.runtime.devices import threads_for
from benchmark.runtime.provenance import device_name


def artifact_of(record: Record, folder: Path) -> Artifact:
    """Read the artifact that a record is about.

    Raises:
        UserError: if it is missing, damaged, or not the file of the record.
    """
    path = artifact_path(folder, record.run)
    if not path.exists():
        raise UserError(f"{record.run} has no artifact at {path}; fetch the file there, its sha256 is in the record")
    return check_artifact(read_artifact(path), record, path)


def check_artifact(artifact: Artifact, record: Record, path: Path) -> Artifact:
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
    )


def test_data_of(record: Record, data_dir: Path | None, images: int) -> TestData:
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
