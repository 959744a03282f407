"""The artifact of a submission: from the folder, a local file or its address; counted again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmark.artifact.measure import BadExport
from benchmark.artifact.unpack import Artifact, unpack
from benchmark.errors import UserError
from benchmark.files.plain import read_plain
from benchmark.results.record import Record
from benchmark.review.recount import recount
from benchmark.submission.download import download
from benchmark.submission.files import ARTIFACT, LIMITS
from benchmark.submission.reading import Parts
from benchmark.submission.training_claims import differing
from benchmark.suite.experiment import Experiment


def find_artifact(parts: Parts, at_hand: Path | None) -> tuple[Artifact | None, list[str]]:
    """Return the artifact that a submission names, or None and why it is refused.

    Args:
        parts: of the submission.
        at_hand: local copy of an artifact for which the submission only gives an address.
    """
    claim = parts.submission.artifact
    content = parts.artifact
    try:
        if claim.size_bytes > LIMITS[ARTIFACT]:
            return None, [f"it has {claim.size_bytes:,} bytes, at most {LIMITS[ARTIFACT]:,} are allowed"]
        if content is None and at_hand is not None:
            content = read_plain(at_hand, claim.size_bytes)
            if content is None:
                return None, [f"{at_hand} is not a plain file of at most {claim.size_bytes:,} bytes"]
        elif content is None:
            assert claim.url is not None, "without an address the file is in the folder"
            try:
                content = download(claim.url, claim.size_bytes)
            except UserError as error:
                return None, [f"{error}; give --artifact FILE"]
        if len(content) != claim.size_bytes:
            return None, [f"file size: the record says {claim.size_bytes:,}, the file has {len(content):,} bytes"]
        if hashlib.sha256(content).hexdigest() != claim.sha256:
            return None, ["the file is not the one that was measured: its sha256 differs"]
        return unpack(content), []
    except UserError as error:
        return None, [str(error)]


def check_artifact(record: Record, experiment: Experiment, artifact: Artifact) -> list[str]:
    """Return where an artifact contradicts its record; empty if it does not."""
    channels, *size = record.dataset.image_shape
    plan = artifact.plan
    pairs: dict[str, tuple[object, object]] = {
        "data set": (record.dataset.name, artifact.dataset),
        "classes": (record.dataset.num_classes, plan.num_classes),
        "channels": (channels, plan.in_channels),
        "image size": (tuple(size), artifact.image_size),
    }
    reasons = differing(pairs, "the artifact has")
    if reasons:
        return reasons
    if plan.width != experiment.architecture.width and record.architecture.prunable_weights > record.compression.budget:
        reasons.append(f"width: the experiment says {experiment.architecture.width:g}, the artifact has {plan.width:g}")
    try:
        return reasons + recount(record, artifact)
    except BadExport as error:
        return [*reasons, str(error)]
