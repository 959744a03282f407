"""A challenge to a row of a board: its images, checked against the rules and tried on the stored network."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

from benchmark.audit.sources import Sources, check_place, read_file
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import prepare
from benchmark.files.plain import read_plain
from benchmark.results.challenges import (
    Challenge,
    challenge_path,
    challenged,
    challenges_to,
    images_path,
    unchallenged,
    wrong_images,
)
from benchmark.results.record import Record
from benchmark.results.store import artifact_path
from benchmark.review.adversarial import try_content
from benchmark.review.sources import read_kind_of
from benchmark.submission.report import Refused, Report
from benchmark.submission.sample import MAX_HEADER
from benchmark.submission.texts import text_refusal


def audit_challenge(path: Path, sources: Sources, report: Report) -> None:
    """Check that every image of a challenge is an image of its record, moved by at most epsilon, and misclassified.

    Args:
        path: of the challenge's JSON file.
        sources: the board and its images.
        report: receives the outcome.

    Raises:
        Refused: where the checks end early; the report has the reasons.
    """
    challenge = read_file(Challenge, path, report)
    refusal = text_refusal("credit", challenge.credit)
    late = [f"its date, {challenge.date}, is in the future"] if challenge.date > datetime.now(UTC).date() else []
    report.note("texts", ([f"credit: {refusal}"] if refusal else []) + late, "a plain name and a date")
    check_place(path, lambda: challenge_path(sources.board, challenge), report)
    images_file = images_path(sources.board, challenge)
    record = sources.record_of(challenge.protocol, challenge.run)
    if record is None:
        report.note("record", [f"{challenge.run} has no valid record under {challenge.protocol}"])
        raise Refused
    began = datetime.fromisoformat(record.started).date()
    report.note("date", [] if began <= challenge.date else [f"{challenge.date} is before the record's run, {began}"])
    report.stop_if_refused()
    size = len(challenge.broken) * 8 * (math.prod(record.dataset.image_shape) + 1) + MAX_HEADER
    images = read_plain(images_file, size)
    if images is None:
        reason = f"{images_file.name} is missing, too large for its images, or not a plain file"
    elif b"__metadata__" in images[:MAX_HEADER]:
        reason = f"{images_file.name} holds more than images and their positions"
    else:
        reason = wrong_images(images, challenge)
    report.note("images", [reason] if reason else [], f"{len(challenge.broken)} in the named file")
    report.stop_if_refused()
    assert images is not None, "otherwise there is a reason"
    try:
        artifact = read_kind_of(record, artifact_path(sources.board, record.run, record.ending))
    except UserError as error:
        report.leave("artifact", str(error))
        raise Refused from None
    if not artifact.sha256 == record.artifact.sha256 == challenge.artifact_sha256:
        report.note("artifact", ["the record, the challenge and the file in artifacts/ have different hashes"])
        raise Refused
    data = sources.test_data(record.dataset.name, record.evaluation.n_images, record.dataset.test_sha256, report)
    if isinstance(record, Record):
        prepare(artifact.network, "cpu")
    try:
        tried = try_content(images, images_file.name, record, artifact, data.test)
    except UserError as error:
        report.note("attack", [str(error)])
        raise Refused from None
    others = [other for other in sources.challenges if other != challenge and _before(other, challenge)]
    (before,) = challenged([record], challenges_to(record, others))
    if not unchallenged(before.evaluation)[challenge.broken].any():
        report.note("attack", ["it breaks no image that counted as robust before it"])
    right = tried.places[~tried.wrong].tolist()
    shown = ", ".join(map(str, right[:5]))
    reasons = [f"the network classifies {len(right)} of {len(tried.wrong)} images correctly: {shown}"] if right else []
    report.note("attack", reasons, f"{len(tried.wrong)} images in the ball and in [0, 1], all misclassified")


def _before(other: Challenge, challenge: Challenge) -> bool:
    return (other.date, other.images_sha256) < (challenge.date, challenge.images_sha256)
