"""Whether a submission is a copy of an existing row, under another name or with a few weights changed.

What honest rows share was measured on the 26 networks of the board `cifar10-jpeg` (resnet10, two seeds) and the 32 of
the quickstart. Kept positions alone mean nothing: random pruning keeps the same ones for every objective (Jaccard 1.00
with 89% equal signs), and ATMC's binary and full-precision forms share 90% of positions and signs. Filters do: the mean
cosine of filters (see `likeness`) is at most 0.93 between honest networks of one seed and 0.011 between seeds, while a
copy with a few weights changed, or with its filters rescaled, has more than 0.999. The verdict bits, which also survive
a change of the order of channels, differ on 6.5% of the images or more between honest rows of 200 images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.artifact.unpack import Artifact, read_artifact
from benchmark.errors import UserError
from benchmark.leaderboard.board.setting import setting_of
from benchmark.networks.resnet import convolutions
from benchmark.results.evaluation import VERDICTS
from benchmark.results.external import AnyRecord, ExternalRecord
from benchmark.results.record import Record
from benchmark.results.store import artifact_path

NEAR_COPY = 0.99  # mean cosine of filters
BITS_DIFFER = 0.01  # share of verdict bits; fewer are a copy's
MIN_IMAGES, MIN_BROKEN = 50, 10  # fewer say too little: two networks that predict only one class have equal bits
# Settings that may differ: the same training stored or measured in another way is openly the same network.
_SAME_TRAINING = ("suite", "evaluation", "artifact")


def copied(
    record: Record,
    artifact: Artifact,
    board: Iterable[AnyRecord],
    folder: Path,
    read: Callable[[Path], Artifact] = read_artifact,
) -> list[str]:
    """Return why a record is a copy of one on the board, and of which; empty if it is not.

    Args:
        record: the submitted one.
        artifact: its network.
        board: the records on the board.
        folder: holds their artifacts.
        read: reads one of these.
    """
    reasons = []
    for other in board:
        if other.run == record.run and other.protocol == record.protocol:
            return [f"{record.run} is already on the board"]
        if (other.protocol, other.seed, setting_of(other)) == (record.protocol, record.seed, setting_of(record)):
            return [f"it has the setting and seed of {other.run}; a board shows one record of each"]
        if isinstance(other, ExternalRecord):
            if reason := equal_verdicts(record, other):
                reasons.append(f"it is a copy of {other.run}: {reason}")
            continue
        if other.run == record.run or _training(other) == _training(record):
            continue
        if reason := _likeness_reason(record, artifact, other, folder, read):
            reasons.append(f"it is a copy of {other.run}: {reason}")
    return reasons


def likeness(first: Artifact, second: Artifact) -> float:
    """Return the mean cosine of the filters of two networks of one shape, in [-1, 1].

    Weighted by the number of kept weights less one: a filter of a single weight has no meaningful direction. Batch
    norm cancels the length of a filter, so rescaling does not hide a copy.
    """
    weights = ([conv.weight for conv in convolutions(each.network).values()] for each in (first, second))
    return likeness_of_weights(*weights)


def likeness_of_weights(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Return the mean cosine of filters, see `likeness`; weights have the same shapes, filters along the first axis."""
    total = weight = 0.0
    for one, other in zip(first, second, strict=True):
        a, b = one.flatten(1).double(), other.flatten(1).double()
        counts = (((a != 0) | (b != 0)).sum(1) - 1).clamp(min=0)
        cosine = torch.nn.functional.cosine_similarity(a, b, dim=1, eps=1e-30)
        total += float((counts * cosine).sum())
        weight += float(counts.sum())
    return total / weight if weight else 0.0


def _training(record: Record) -> dict[str, Any]:
    return {name: value for name, value in record.provenance.config.items() if name not in _SAME_TRAINING}


def _likeness_reason(
    record: Record, artifact: Artifact, other: Record, folder: Path, read: Callable[[Path], Artifact]
) -> str:
    """Return what two records of different trainings have in common beyond chance; empty if nothing."""
    if other.artifact.sha256 == record.artifact.sha256:
        return "the artifact is the same file"
    if other.weights_sha256 == record.weights_sha256:
        return "the weights are the same"
    if reason := equal_verdicts(record, other):
        return reason
    if _shape(other) != _shape(record):
        return ""
    try:
        path = artifact_path(folder, other.run)
        if not path.is_file():
            return ""
        cosine_of_filters = likeness(artifact, read(path))
    except UserError:  # the board's own check reports a damaged artifact, or a link
        return ""
    return (
        f"their filters have a mean cosine of {cosine_of_filters:.4f}, at most {NEAR_COPY} is believed"
        if cosine_of_filters > NEAR_COPY
        else ""
    )


def equal_verdicts(record: AnyRecord, other: AnyRecord) -> str:
    """Return what two records have in common if hardly any verdict differs; empty if enough do."""
    share = _differing_bits(record, other)
    return f"{share:.1%} of the verdicts differ; between honest rows several percent do" if share < BITS_DIFFER else ""


def _differing_bits(record: AnyRecord, other: AnyRecord) -> float:
    """Return the share of verdict bits that differ; 1 where the two cannot be compared, or too little was broken."""
    if other.protocol != record.protocol or other.dataset.test_sha256 != record.dataset.test_sha256:
        return 1.0
    mine, its = record.evaluation, other.evaluation
    broken = min(int((each.right("clean") & ~each.right("robust")).sum()) for each in (mine, its))
    if mine.n_images < MIN_IMAGES or broken < MIN_BROKEN:
        return 1.0
    return float(np.mean([mine.right(name) != its.right(name) for name in VERDICTS]))


def _shape(record: Record) -> tuple[object, ...]:
    layers = [(layer.name, layer.weights) for layer in record.compression.layers]
    return record.dataset.image_shape, record.architecture.name, record.architecture.last_norm, layers
