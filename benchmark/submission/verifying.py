"""`verify`: checks a submission, cheapest checks first, and accepts or refuses it with reasons.

Nothing in the folder is executed, imported, unpickled or changed. An early refusal skips the later checks, so that a
hostile folder costs little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmark.artifact.unpack import Artifact
from benchmark.data.load import TestData
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import prepare
from benchmark.foreign.onnx_artifact import OnnxArtifact
from benchmark.results.challenges import best_known_records
from benchmark.results.invariants import violations
from benchmark.results.store import load_all
from benchmark.review.sources import test_data_of
from benchmark.submission.artifact import check_artifact, find_artifact
from benchmark.submission.claim import Claim
from benchmark.submission.contradictions import check_numbers, experiment_of
from benchmark.submission.copies import copied
from benchmark.submission.external.reading import ExternalParts, is_external
from benchmark.submission.external.verifying import external_parts, measure_external
from benchmark.submission.files import Files, read_files
from benchmark.submission.measuring import use_threads_of
from benchmark.submission.placing import Placement, check_board, place
from benchmark.submission.reading import Parts, read_models, read_parts
from benchmark.submission.remeasure import Effort, check_attacks, check_clean_images
from benchmark.submission.report import Refused, Report, broken_off
from benchmark.submission.sample import check_sample
from benchmark.submission.texts import check_source, check_texts
from benchmark.suite.experiment import Experiment


@dataclass(frozen=True)
class VerifyRequest:
    """What the user asked for, as typed."""

    folder: Path
    board: Path
    data_dir: Path | None
    artifact: Path | None  # local copy of one for which the submission gives an address
    draw: int  # seed of the random part of the images
    seconds: float  # for the attacks, see `Replay`


@dataclass(frozen=True)
class Outcome:
    """The outcome of a submission."""

    reasons: tuple[str, ...]  # why it is refused; empty if it is accepted
    parts: Parts | ExternalParts | None
    placement: Placement | None

    @property
    def accepted(self) -> bool:
        """Whether every check passed."""
        return not self.reasons


def verify(request: VerifyRequest, say: Callable[[str], None]) -> Outcome:
    """Check a submission on this CPU and return whether it is accepted.

    Raises:
        UserError: if the folder or the board is missing, or the test images are not those of the record.
    """
    if not request.folder.is_dir() and not request.folder.is_symlink():
        raise UserError(f"there is no folder {request.folder}; give the folder that `submit` wrote")
    check_board(request.board)
    report = Report(say)
    parts: Parts | ExternalParts | None = None
    placement: Placement | None = None
    missing: UserError | None = None
    best_known_records(request.board)  # raises: a broken board is not the submission's fault
    try:
        files = _files(request.folder, report)
        artifact: Artifact | OnnxArtifact
        if is_external(files):
            on_board = load_all(request.board)
            parts, artifact = external_parts(files, request.artifact, on_board, request.board, report)
        else:
            parts = _parts(files, report)
            artifact = _artifact(parts, _numbers(parts, report), request, report)
        evaluation = parts.record.evaluation
        try:
            data = test_data_of(parts.record, request.data_dir, (evaluation.wide or evaluation).n_images)
        except UserError as error:
            missing = error
            raise Refused from None
        report.note("data", [], f"{len(data.test)} test images of {data.info.name}, the record's")
        if isinstance(parts, ExternalParts):
            assert isinstance(artifact, OnnxArtifact), "see above"
            measure_external(parts.record, artifact, data, Effort(request.seconds, request.draw), report, parts)
        else:
            assert isinstance(artifact, Artifact), "see above"
            _measure(parts, artifact, data, request, report)
        placement = place(parts.record, request.board)
        report.note("place", list(placement.reasons), "it would be ranked")
    except Refused:
        pass
    except Exception as error:  # a stranger's numbers can make any check fail
        report.note("verify", [f"a check broke off: {error}" if isinstance(error, UserError) else broken_off(error)])
    if missing is not None:
        raise missing
    return Outcome(tuple(report.reasons), parts, placement)


def _files(folder: Path, report: Report) -> Files:
    """Read the files; every reason against one of them ends the checks."""
    if folder.is_symlink():
        report.note("files", ["the folder is a symbolic link"])
        raise Refused
    files = read_files(folder)
    total = sum(map(len, files.contents.values()))
    report.note("files", list(files.reasons), f"{len(files.contents)} plain files, {total:,} bytes")
    report.stop_if_refused()
    return files


def _parts(files: Files, report: Report) -> Parts:
    """Read the content of the files; every reason against it ends the checks."""
    models, reasons = read_models(files)
    report.note("schema", reasons, "valid and in canonical form")
    if models is None:
        raise Refused
    submission, record = models
    report.note("texts", check_texts(record, submission), "plain names, no markup, no hidden characters")
    report.stop_if_refused()
    parts, reasons = read_parts(files, submission, record)
    report.note("hashes", reasons, "those of the files, and both JSON files are about one row")
    if parts is None:
        raise Refused
    if parts.source is not None:
        report.note("method", check_source(parts.source), "plain text; it is never run")
        report.stop_if_refused()
    return parts


def _numbers(parts: Parts, report: Report) -> Experiment:
    experiment, reasons = experiment_of(parts.record)
    if experiment is not None:
        reasons = check_numbers(parts.record, experiment, now=datetime.now(UTC)) + violations(parts.record)
    report.note("numbers", reasons, "the record agrees with its experiment and with itself")
    if experiment is None:
        raise Refused
    return experiment


def _artifact(parts: Parts, experiment: Experiment, request: VerifyRequest, report: Report) -> Artifact:
    """Read and count the artifact, and compare it with those on the board; also after contradictory numbers."""
    artifact, reasons = find_artifact(parts, request.artifact)
    if artifact is not None:
        reasons = check_artifact(parts.record, experiment, artifact)
        note = (
            f"{artifact.size_bytes:,} bytes, {parts.record.compression.kept_weights:,} weights kept, as the record says"
        )
        report.note("artifact", reasons, note)
        board = load_all(request.board)
        report.note(
            "copies",
            copied(parts.record, artifact, board, request.board),
            f"compared with {len(board)} records on the board",
        )
    else:
        report.note("artifact", reasons)
    report.stop_if_refused()
    assert artifact is not None, "otherwise there is a reason"
    return artifact


def _measure(parts: Parts, artifact: Artifact, data: TestData, request: VerifyRequest, report: Report) -> None:
    """Run the network: clean images, the sample, gradient health, and the attacks."""
    record, claim = parts.record, Claim.of_record(parts.record)
    network = prepare(artifact.network, "cpu")
    use_threads_of(claim)
    check_clean_images(claim, network, data.test, report)
    sample = parts.submission.sample
    reasons = check_sample(record, sample, parts.adversarial, artifact, data.test.first(record.evaluation.n_images))
    report.note("sample", reasons, f"{sample.count} adversarial images in the ball, all misclassified")
    report.stop_if_refused()
    check_attacks(claim, network, data.test, Effort(request.seconds, request.draw), report)
