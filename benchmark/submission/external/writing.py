"""`submit --external`: makes the record of an evaluated ONNX file and writes it as a folder that anyone can check."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from pydantic import ValidationError

from benchmark.data.load import TestData, load_test
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images
from benchmark.files.mistakes import first_mistake
from benchmark.files.plain import read_plain
from benchmark.foreign.onnx_artifact import OnnxArtifact, read_onnx_artifact, runtime_problem
from benchmark.leaderboard.board.find import find_record
from benchmark.results.citations import CITATION_BYTES, parse_citation
from benchmark.results.evaluated import Evaluated, load_evaluated
from benchmark.results.external import ExternalRecord, OriginElsewherePart, external_run
from benchmark.results.parts import FilePart, TestDataPart
from benchmark.results.protocol import Protocol
from benchmark.results.store import load_all, write_atomic, write_model
from benchmark.submission.external.checking import copied_elsewhere, external_contradictions, superseding_reasons
from benchmark.submission.external.texts import citation_texts, external_texts
from benchmark.submission.files import ADVERSARIAL, CITATION, NETWORK, RECORD, SUBMISSION
from benchmark.submission.placing import Placement, check_board, place
from benchmark.submission.sample import Sample, make_sample
from benchmark.submission.schema import ArtifactClaim, ExternalSubmission
from benchmark.submission.writing import check_empty, filled_at_once


@dataclass(frozen=True)
class ExternalRequest:
    """What the user asked for, as typed."""

    network: Path  # the ONNX file
    evaluation: Path  # that `evaluate` wrote for it
    to: Path  # the new folder
    board: Path
    method: str
    architecture: str
    authors: tuple[str, ...]
    licence: str
    link: str
    converted: str  # how the ONNX file was made
    converted_from: Path | None  # the file that was converted
    credit: str
    cite: Path | None  # YAML file
    url: str | None  # of the ONNX file, if it is not to be in the folder
    supersedes: str | None  # name of a row
    data_dir: Path | None


def submit_external(request: ExternalRequest, say: Callable[[str], None]) -> Placement:
    """Write the submission of an evaluated ONNX file, whole or not at all, and return the place its row would get.

    Raises:
        UserError: for a mistake in the request, a network that breaks the rules for submitted ones, or an evaluation
            of another file, of other data, or with options that the file alone does not say.
    """
    check_empty(request.to)
    check_board(request.board)
    evaluated = load_evaluated(request.evaluation)
    artifact = read_onnx_artifact(request.network)
    _check_evaluation(request, evaluated, artifact)
    citation = _citation(request)
    data = _data(request, evaluated)
    record = _record(request, evaluated, artifact, data)
    _check_record(request, record, artifact)
    parameters = f"{artifact.graph.all_parameters:,} parameters"
    say(f"network    {artifact.size_bytes:,} bytes, {parameters}, sha256 {artifact.sha256}")
    sample = _sample(record, artifact, data, say)
    with filled_at_once(request.to) as folder:
        _write(folder, record, request, artifact, sample, citation)
    say(f"written    {request.to}")
    return place(record, request.board)


def _check_evaluation(request: ExternalRequest, evaluated: Evaluated, artifact: OnnxArtifact) -> None:
    if evaluated.artifact.sha256 != artifact.sha256:
        raise UserError(
            f"{request.evaluation} is about a file with sha256 {evaluated.artifact.sha256[:12]}…, {request.network} "
            f"has {artifact.sha256[:12]}…; evaluate this file"
        )
    if evaluated.foreign is not None and evaluated.foreign.options:
        raise UserError(
            f"{request.evaluation} was measured with options ({evaluated.foreign}), which the file alone does not say; "
            "put them into the graph, and evaluate it without"
        )
    if evaluated.shard is not None:
        raise UserError(f"{request.evaluation} is a shard; join all of them by `merge`, and submit the result")


def _citation(request: ExternalRequest) -> bytes | None:
    if request.cite is None:
        return None
    content = read_plain(request.cite, CITATION_BYTES)
    if content is None:
        raise UserError(f"--cite {request.cite} is not a plain file of at most {CITATION_BYTES:,} bytes")
    if wrong := citation_texts(parse_citation(content, f"--cite {request.cite}")):
        raise UserError(f"--cite {request.cite}: {wrong[0]}; write it in plain text")
    return content


def _data(request: ExternalRequest, evaluated: Evaluated) -> TestData:
    protocol = Protocol.parse(evaluated.protocol)
    data = load_test(protocol.dataset, request.data_dir, limit=protocol.images)
    if data.sha256 != evaluated.test_sha256:
        raise UserError(
            f"the test images of {protocol.dataset} here are not those of {request.evaluation}; give their folder by "
            "--data-dir"
        )
    return data


def _record(request: ExternalRequest, evaluated: Evaluated, artifact: OnnxArtifact, data: TestData) -> ExternalRecord:
    """Return the record of an evaluated network.

    Raises:
        UserError: if a field cannot be part of one.
    """
    try:
        origin = OriginElsewherePart(
            method=request.method,
            architecture=request.architecture,
            authors=list(request.authors),
            licence=request.licence,
            link=request.link,
            conversion=request.converted,
            source_sha256=None if request.converted_from is None else _sha256(request.converted_from),
            credit=request.credit,
        )
        channels, height, width = data.test.images.shape[1:]
        dataset = TestDataPart(
            name=data.info.name,
            num_classes=data.info.num_classes,
            image_shape=(channels, height, width),
            test_images=len(data.test),
            test_sha256=data.sha256,
        )
        run, run_hash = external_run(dataset.name, origin, artifact.sha256)
        return ExternalRecord(
            schema_version=1,
            protocol_version=1,
            trained="elsewhere",
            run=run,
            run_hash=run_hash,
            protocol=evaluated.protocol,
            dataset=dataset,
            origin=origin,
            artifact=FilePart(sha256=artifact.sha256, size_bytes=artifact.size_bytes),
            graph=artifact.graph,
            evaluation=evaluated.evaluation,
            measured=evaluated.machine,
            weights_sha256=artifact.weights_sha256,
            supersedes=_superseded(request, evaluated.protocol),
        )
    except ValidationError as error:
        raise UserError(f"the record cannot hold {first_mistake(error)}; correct that option") from None


def _superseded(request: ExternalRequest, protocol: str) -> str | None:
    """Return the run of the row that the user named by --supersedes."""
    return None if request.supersedes is None else find_record(request.board, request.supersedes, protocol).run


def _check_record(request: ExternalRequest, record: ExternalRecord, artifact: OnnxArtifact) -> None:
    """Refuse before the attacks what `verify` would refuse."""
    if wrong := external_texts(record):
        raise UserError(f"the network cannot be submitted: {wrong[0]}; correct that option")
    board = load_all(request.board)
    numbers = external_contradictions(record, now=datetime.now(UTC), ranked=False)
    reasons = [*numbers, *superseding_reasons(record, board), *copied_elsewhere(record, artifact, board, request.board)]
    if record.dataset.image_shape != artifact.image_shape:
        expected, given = ("x".join(map(str, each)) for each in (record.dataset.image_shape, artifact.image_shape))
        reasons.append(
            f"its ONNX file takes images of {given}, {record.dataset.name} has {expected} (channels, height, width); "
            "export it for these, with its normalisation and any change of the layout inside"
        )
    if reasons:
        raise UserError(f"the network cannot be submitted: {reasons[0]}")


def _sample(record: ExternalRecord, artifact: OnnxArtifact, data: TestData, say: Callable[[str], None]) -> Sample:
    """Attack the images of the sample, after checking that the file alone gives the verdicts of the evaluation."""
    batch = as_float_images(data.test.images[: record.evaluation.autoattack.batch_size])
    if problem := runtime_problem(artifact, batch):
        raise UserError(f"the network cannot be submitted: {problem}; export it with other operators")
    with torch.no_grad():
        right = artifact.network(batch).argmax(1) == data.test.labels[: len(batch)]
    claimed = torch.from_numpy(record.evaluation.right("clean").copy())[: len(batch)]
    if wrong := int((right != claimed).sum()):
        raise UserError(
            f"the evaluation has other verdicts for {wrong} of {len(batch)} clean images than the file gives here; "
            "evaluate it again on this machine"
        )
    return make_sample(record, artifact, data.test, say)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"--converted-from {path} cannot be read ({error.strerror}); give the file that was converted"
        ) from None


def _write(
    folder: Path,
    record: ExternalRecord,
    request: ExternalRequest,
    artifact: OnnxArtifact,
    sample: Sample,
    citation: bytes | None,
) -> None:
    """Fill a folder with the files of a submission, submission.json last."""
    write_model(folder / RECORD, record)
    submission = ExternalSubmission(
        schema_version=1,
        kind="external",
        run=record.run,
        protocol=record.protocol,
        record_sha256=hashlib.sha256((folder / RECORD).read_bytes()).hexdigest(),
        artifact=ArtifactClaim(sha256=artifact.sha256, size_bytes=artifact.size_bytes, url=request.url),
        sample=sample.claim,
        citation_sha256=None if citation is None else hashlib.sha256(citation).hexdigest(),
    )
    files = {NETWORK: None if request.url else artifact.content, ADVERSARIAL: sample.content, CITATION: citation}
    for name, content in files.items():
        if content is not None:
            write_atomic(folder / name, content)
    write_model(folder / SUBMISSION, submission)
