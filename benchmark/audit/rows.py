"""A record on a board with its artifact: everything `verify` checks of a submission except the sample of images."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from benchmark.artifact.unpack import Artifact, unpack
from benchmark.audit.sources import Sources, check_place, read_file
from benchmark.data.load import Images
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import prepare
from benchmark.files.plain import read_plain
from benchmark.results.invariants import doubts, violations
from benchmark.results.rechecks import rechecked, rechecks_of
from benchmark.results.record import Record
from benchmark.results.store import artifact_path, record_path
from benchmark.submission.artifact import check_artifact
from benchmark.submission.claim import Claim
from benchmark.submission.contradictions import check_numbers, experiment_of
from benchmark.submission.copies import copied
from benchmark.submission.files import ARTIFACT, LIMITS
from benchmark.submission.measuring import use_threads_of
from benchmark.submission.remeasure import check_attacks, check_clean_images
from benchmark.submission.report import Refused, Report
from benchmark.submission.texts import record_texts


def read_record(path: Path, board: Path, report: Report) -> Record:
    """Read a record as `verify` does.

    Raises:
        Refused: if it is not a valid record, or is not where it belongs.
    """
    record = read_file(Record, path, report)
    check_place(path, lambda: record_path(board, record.protocol, record.run), report)
    report.stop_if_refused()
    return record


def audit_row(path: Path, sources: Sources, report: Report) -> None:
    """Check the record of a file against itself, its artifact, the other records, and its images.

    Raises:
        Refused: where the checks end early; the report has the reasons.
    """
    record = read_record(path, sources.board, report)
    report.note("texts", record_texts(record), "plain names, no markup, no hidden characters")
    report.stop_if_refused()
    experiment, reasons = experiment_of(record)
    if experiment is not None:
        admitted = doubts(record)
        contradictory = [reason for reason in violations(record) if reason not in admitted]
        reasons = check_numbers(record, experiment, now=datetime.now(UTC)) + contradictory
    report.note("numbers", reasons, "the record agrees with its experiment and with itself")
    if experiment is None:
        raise Refused
    artifact = artifact_of(record, sources.board, report)
    kept = f"{artifact.size_bytes:,} bytes, {record.compression.kept_weights:,} weights kept, as the record says"
    report.note("artifact", check_artifact(record, experiment, artifact), kept)
    others = sources.older(path)
    reasons = copied(record, artifact, others, sources.board, sources.artifact)
    report.note("copies", reasons, f"compared with {len(others)} other records")
    report.stop_if_refused()
    try:
        (complete,) = rechecked([record], rechecks_of(record, sources.rechecks))
    except UserError as error:  # the file with the checks is refused as well
        report.note("checks", [str(error)])
        raise Refused from None
    claim = Claim.of_record(complete)
    count = (record.evaluation.wide or record.evaluation).n_images
    data = sources.test_data(record.dataset.name, count, record.dataset.test_sha256, report)
    measure_again(claim, artifact, data.test, sources, report)
    for reason in doubts(complete):
        report.say(f"note     the board does not rank it: {reason}")


def measure_again(claim: Claim, artifact: Artifact, images: Images, sources: Sources, report: Report) -> None:
    """Check a claim's clean verdicts, gradient health and attacks on its network.

    Raises:
        Refused: if a check fails; the report has the reason.
    """
    network = prepare(artifact.network, "cpu")
    use_threads_of(claim)
    check_clean_images(claim, network, images, report)
    report.stop_if_refused()
    check_attacks(claim, network, images, sources.effort, report)


def artifact_of(record: Record, board: Path, report: Report) -> Artifact:
    """Read the artifact of a record.

    Raises:
        Refused: if it is missing, damaged, or not the one that was measured; the report says which.
    """
    path = artifact_path(board, record.run)
    if not path.exists() and not path.is_symlink():
        report.leave("artifact", f"it is not in artifacts/; fetch the file with sha256 {record.artifact.sha256}")
        raise Refused
    content = read_plain(path, LIMITS[ARTIFACT])
    if content is None:
        report.note("artifact", [f"{path} is not a plain file of at most {LIMITS[ARTIFACT]:,} bytes"])
    elif hashlib.sha256(content).hexdigest() != record.artifact.sha256:
        report.note("artifact", ["the file is not the one that was measured: its sha256 differs"])
    else:
        try:
            return unpack(content)
        except UserError as error:
            report.note("artifact", [str(error)])
    raise Refused
