"""`verify` of a network that was trained elsewhere: the usual checks, with the graph in place of an experiment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from torch import nn

from benchmark.data.load import TestData
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.measurable import measurable
from benchmark.foreign.onnx_artifact import OnnxArtifact, onnx_artifact, runtime_problem
from benchmark.results.external import AnyRecord, ExternalRecord
from benchmark.submission.artifact import check_named, named_bytes
from benchmark.submission.claim import Claim
from benchmark.submission.external.checking import (
    copied_elsewhere,
    external_contradictions,
    graph_contradictions,
    superseding_reasons,
)
from benchmark.submission.external.reading import ExternalParts, read_external
from benchmark.submission.files import LIMITS, NETWORK, Files
from benchmark.submission.measuring import use_threads_of
from benchmark.submission.remeasure import Effort, check_attacks, check_clean_images
from benchmark.submission.report import Refused, Report
from benchmark.submission.sample import check_sample


def external_parts(
    files: Files, at_hand: Path | None, board: list[AnyRecord], folder: Path, report: Report
) -> tuple[ExternalParts, OnnxArtifact]:
    """Check everything that needs no test images.

    Args:
        files: of the submission.
        at_hand: local copy of a network for which the submission gives an address.
        board: all records of the board.
        folder: of the board.
        report: receives the outcome.

    Raises:
        Refused: if there is a reason against it.
    """
    parts = read_external(files, report)
    record = parts.record
    numbers = external_contradictions(record, now=datetime.now(UTC), ranked=True) + superseding_reasons(record, board)
    report.note("numbers", numbers, "the record agrees with itself and with the clock")
    report.stop_if_refused()
    claim = parts.submission.artifact
    artifact = check_network(record, lambda: named_bytes(claim, parts.network, at_hand, LIMITS[NETWORK]), report)
    reasons = copied_elsewhere(record, artifact, board, folder)
    report.note("copies", reasons, f"compared with {len(board)} records on the board")
    report.stop_if_refused()
    if record.supersedes is not None:
        report.say(f"note     it supersedes {record.supersedes}: accept it only if those who submitted that ask for it")
    return parts, artifact


def check_network(record: ExternalRecord, content: Callable[[], bytes], report: Report) -> OnnxArtifact:
    """Read the ONNX file of a record under the rules for strangers, count it, and compare the counts.

    Raises:
        Refused: if it breaks a rule, or is not the one that was measured.
    """
    try:
        present = content()
        check_named(present, record.artifact.size_bytes, record.artifact.sha256)
        artifact = onnx_artifact(present)
    except UserError as error:
        report.note("graph", [str(error)])
        raise Refused from None
    note = f"{artifact.size_bytes:,} bytes, {artifact.graph.nodes} nodes, {artifact.graph.all_parameters:,} parameters"
    report.note("graph", graph_contradictions(record, artifact), f"{note}, as the record says")
    report.stop_if_refused()
    return artifact


def measure_external(
    record: ExternalRecord,
    artifact: OnnxArtifact,
    data: TestData,
    effort: Effort,
    report: Report,
    parts: ExternalParts | None = None,
) -> None:
    """Run the network: ONNX Runtime's logits, clean images, the sample, gradient health, and the attacks.

    Args:
        record: what is to be confirmed.
        artifact: its network.
        data: the test images that it was measured on.
        effort: how much to attack again.
        report: receives the outcome.
        parts: of the submission, with its sample; None for a row on the board, which has none.

    Raises:
        Refused: if a check fails.
    """
    claim = Claim.of_record(record)
    use_threads_of(claim)
    images = data.test
    stated = (record.dataset.num_classes, record.dataset.image_shape)
    if stated != (present := (data.info.num_classes, tuple(images.images.shape[1:]))):
        report.note("data", [f"the record says {stated} classes and image shape, the data set has {present}"])
        raise Refused
    batch = as_float_images(images.images[: claim.batch_size])
    problem = runtime_problem(artifact, batch)
    report.note("runtime", [problem] if problem else [], "ONNX Runtime gives the same logits")
    report.stop_if_refused()
    if parts is not None:
        claimed, attacked = parts.submission.sample, images.first(record.evaluation.n_images)
        reasons = check_sample(record, claimed, parts.adversarial, artifact, attacked)
        report.note("sample", reasons, f"{claimed.count} adversarial images in the ball, all misclassified")
        report.stop_if_refused()
    measure_again(claim, artifact.network, data, effort, report)


def measure_again(claim: Claim, network: nn.Module, data: TestData, effort: Effort, report: Report) -> None:
    """Check a claim's clean verdicts, gradient health and attacks on the network of an ONNX file.

    Raises:
        Refused: if a check fails.
    """
    use_threads_of(claim)
    batch = as_float_images(data.test.images[: claim.batch_size])
    with measurable(network, batch, data.info.num_classes, lambda note: None) as measured:
        check_clean_images(claim, measured, data.test, report)
        report.stop_if_refused()
        check_attacks(claim, measured, data.test, effort, report)
