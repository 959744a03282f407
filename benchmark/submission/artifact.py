"""The artifact of a submission: from the folder, a local file or its address; counted again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmark.artifact.measure import BadExport, weights_in_groups
from benchmark.artifact.unpack import Artifact, unpack
from benchmark.errors import UserError
from benchmark.files.plain import read_plain
from benchmark.networks.resnet import convolutions
from benchmark.results.record import Record
from benchmark.review.recount import recount
from benchmark.submission.download import download
from benchmark.submission.files import ARTIFACT, LIMITS
from benchmark.submission.reading import Parts
from benchmark.submission.schema import ArtifactClaim
from benchmark.submission.training_claims import differing
from benchmark.suite.experiment import Experiment
from benchmark.suite.target import target_of
from methods.granularity import layer_budgets


def find_artifact(parts: Parts, at_hand: Path | None) -> tuple[Artifact | None, list[str]]:
    """Return the artifact that a submission names, or None and why it is refused.

    Args:
        parts: of the submission.
        at_hand: local copy of an artifact for which the submission only gives an address.
    """
    claim = parts.submission.artifact
    try:
        content = named_bytes(claim, parts.artifact, at_hand, LIMITS[ARTIFACT])
        check_named(content, claim.size_bytes, claim.sha256)
        return unpack(content), []
    except UserError as error:
        return None, [str(error)]


def named_bytes(claim: ArtifactClaim, content: bytes | None, at_hand: Path | None, limit: int) -> bytes:
    """Return the network's file of a submission: from its folder, a local file or its address.

    Args:
        claim: what the submission says about the file.
        content: of the file in the folder; None if there is only an address.
        at_hand: local copy of a file for which there is only an address.
        limit: bytes that it may have.

    Raises:
        UserError: if it is too large, or cannot be read or fetched.
    """
    if claim.size_bytes > limit:
        raise UserError(f"it has {claim.size_bytes:,} bytes, at most {limit:,} are allowed")
    if content is not None:
        return content
    if at_hand is not None:
        content = read_plain(at_hand, claim.size_bytes)
        if content is None:
            raise UserError(f"{at_hand} is not a plain file of at most {claim.size_bytes:,} bytes")
        return content
    assert claim.url is not None, "without an address the file is in the folder"
    try:
        return download(claim.url, claim.size_bytes)
    except UserError as error:
        raise UserError(f"{error}; give --artifact FILE") from None


def check_named(content: bytes, size_bytes: int, sha256: str) -> None:
    """Raise UserError unless a file has the size and the hash that a submission or a record states."""
    if len(content) != size_bytes:
        raise UserError(f"file size: the record says {size_bytes:,}, the file has {len(content):,} bytes")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError("the file is not the one that was measured: its sha256 differs")


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
        return reasons + recount(record, artifact) + _outside_groups(experiment, artifact)
    except BadExport as error:
        return [*reasons, str(error)]


def _outside_groups(experiment: Experiment, artifact: Artifact) -> list[str]:
    """Return which layer has weights in more groups than its share holds."""
    if experiment.granularity == "weight":
        return []
    shapes = [tuple(conv.weight.shape) for conv in convolutions(artifact.network).values()]
    try:
        shares = layer_budgets(shapes, target_of(experiment))
    except ValueError as error:
        return [f"layers: {error}"]
    grouped = weights_in_groups(artifact.network, experiment.granularity)
    over = [name for (name, count), share in zip(grouped.items(), shares, strict=True) if count > share]
    return [f"layers: {over[0]} has weights in more groups than its share holds"] if over else []
