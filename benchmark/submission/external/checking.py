"""What the record of a network trained elsewhere says must agree: with itself, its graph, the clock and the board."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from benchmark.errors import UserError
from benchmark.foreign.onnx_artifact import OnnxArtifact, read_onnx_artifact
from benchmark.leaderboard.board.superseding import superseding_problem
from benchmark.results.external import AnyRecord, ExternalRecord
from benchmark.results.invariants import doubts, violations
from benchmark.results.store import artifact_path
from benchmark.review.recount import recount_external
from benchmark.submission.contradictions import (
    MAX_SECONDS,
    MAX_THREADS,
    health_contradictions,
    limits_exceeded,
    time_contradictions,
)
from benchmark.submission.copies import NEAR_COPY, equal_verdicts, likeness_of_weights


def external_contradictions(record: ExternalRecord, *, now: datetime, ranked: bool) -> list[str]:
    """Return every contradiction of a record that its schema does not see; empty if there is none.

    Args:
        record: one that satisfies its schema.
        now: a time with its zone; nothing in the record may be later.
        ranked: whether failed checks of gradient health count too, for which a board does not rank a row.
    """
    limits = limits_exceeded(
        record.dataset,
        {
            "threads": (record.measured.threads, MAX_THREADS),
            "measured.seconds": (record.measured.seconds, MAX_SECONDS),
            "autoattack.seconds": (record.evaluation.autoattack.seconds, MAX_SECONDS),
        },
    )
    if limits:  # what follows computes with these numbers
        return limits
    reasons = time_contradictions(record, now) + health_contradictions(record.evaluation)
    if not record.evaluation.opposed:
        reasons.append("evaluation: it lacks the opponent's attacks; measure it with this version of `evaluate`")
    admitted = [] if ranked else doubts(record)
    return reasons + [reason for reason in violations(record) if reason not in admitted]


def graph_contradictions(record: ExternalRecord, artifact: OnnxArtifact) -> list[str]:
    """Return where a record contradicts its ONNX file; empty if it does not."""
    return recount_external(record, artifact)


def copied_elsewhere(
    record: ExternalRecord, artifact: OnnxArtifact, board: Iterable[AnyRecord], folder: Path
) -> list[str]:
    """Return why a network is a copy of one on the board, and of which; empty if it is not.

    The row that it supersedes does not count.

    Args:
        record: the submitted one.
        artifact: its network.
        board: the records on the board.
        folder: holds their artifacts.
    """
    reasons = []
    for other in board:
        if other.run == record.run:
            if other.protocol == record.protocol:
                return [f"{record.run} is already on the board"]
            continue
        if other.run != record.supersedes and (reason := _likeness(record, artifact, other, folder)):
            reasons.append(f"it is a copy of {other.run}: {reason}")
    return reasons


def superseding_reasons(record: ExternalRecord, board: Iterable[AnyRecord]) -> list[str]:
    """Return why a record may not supersede the row that it names; empty if it may, or names none."""
    reason = superseding_problem(record, board)
    return [reason] if reason else []


def _likeness(record: ExternalRecord, artifact: OnnxArtifact, other: AnyRecord, folder: Path) -> str:
    """Return what two records have in common beyond chance; empty if nothing."""
    if other.artifact.sha256 == record.artifact.sha256:
        return "the network is the same file"
    if other.weights_sha256 == record.weights_sha256:
        return "the weights are the same"
    if reason := equal_verdicts(record, other):
        return reason
    if not isinstance(other, ExternalRecord) or _sizes(other) != _sizes(record):
        return ""
    try:
        path = artifact_path(folder, other.run, other.ending)
        theirs = read_onnx_artifact(path).layers if path.is_file() else ()
    except UserError:  # the board's own check reports a damaged file, or a link
        return ""
    if [each.shape for each in theirs] != [each.shape for each in artifact.layers]:
        return ""
    cosine = likeness_of_weights(artifact.layers, theirs)
    return f"their filters have a mean cosine of {cosine:.4f}" if cosine > NEAR_COPY else ""


def _sizes(record: ExternalRecord) -> list[int]:
    return [layer.weights for layer in record.graph.layers]
