"""A result of `evaluate` stored with a board: its numbers, measured again on the artifact that it names."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from pathlib import Path

from torch import nn

from benchmark.artifact.unpack import Artifact
from benchmark.audit.rows import measure_again
from benchmark.audit.sources import Sources, read_file
from benchmark.data.load import ImageInfo, Images
from benchmark.errors import UserError
from benchmark.evaluation.curve import CurvePoint, area_under, default_epsilons, security_curve
from benchmark.evaluation.evaluate import DEFAULT_BATCH_SIZE, PGD_SEED
from benchmark.foreign.onnx_artifact import OnnxArtifact
from benchmark.foreign.preprocessing import Reading, check_channels, checked_normalisation, preprocessed
from benchmark.results.agreement import ATTACK_FLIPS, CONFIDENCE
from benchmark.results.evaluated import Evaluated
from benchmark.results.foreign import network_name
from benchmark.results.protocol import Protocol
from benchmark.results.store import artifact_path
from benchmark.review.sources import read_kind_of
from benchmark.submission.affordable import pass_time
from benchmark.submission.claim import Claim
from benchmark.submission.contradictions import CLOCK_SLACK, EARLIEST, MAX_THREADS, opponent_contradictions
from benchmark.submission.external.verifying import measure_again as measure_onnx_again
from benchmark.submission.report import Refused, Report
from benchmark.submission.texts import part_texts

_PARENT = "[0-9a-f]{12}(__options-[0-9a-f]{12})?"


def audit_evaluation(path: Path, sources: Sources, report: Report) -> None:
    """Check an evaluation against itself, its artifact and its images.

    Raises:
        Refused: where the checks end early; the report has the reasons.
    """
    evaluated = read_file(Evaluated, path, report)
    report.note("texts", part_texts(evaluated), "no markup, no hidden characters")
    report.note("numbers", _contradictions(path, evaluated), "the file agrees with its name and with itself")
    report.stop_if_refused()
    artifact = _artifact(evaluated, sources, report)
    protocol = Protocol.parse(evaluated.protocol)
    data = sources.test_data(protocol.dataset, protocol.images, evaluated.test_sha256, report)
    claim = Claim.of_evaluated(evaluated, data.info.num_classes)
    network: nn.Module = artifact.network
    if isinstance(artifact, OnnxArtifact):
        network = _as_it_was_read(evaluated, artifact, data.info, report)
        measure_onnx_again(claim, network, data, sources.effort, report)
    else:
        measure_again(claim, artifact, data.test, sources, report)
    if evaluated.curve is not None:
        report.note("curve", *_check_curve(evaluated, network, data.test, sources))


def _contradictions(path: Path, evaluated: Evaluated) -> list[str]:
    reasons, evaluation = [], evaluated.evaluation
    stem = f"{network_name(evaluated.artifact.sha256, evaluated.foreign)}__{re.escape(evaluated.protocol)}"
    batch = "" if (size := evaluation.autoattack.batch_size) == DEFAULT_BATCH_SIZE else f"__batch-{size}"
    if not re.fullmatch(rf"{stem}({batch}(__parent-{_PARENT})?|__merged-\d+)\.json", path.name):
        reasons.append(f"the file is not named after its artifact, protocol and batch size: {stem}{batch}.json")
    started = datetime.fromisoformat(evaluated.machine.started)
    if not EARLIEST <= started <= datetime.now(UTC) + CLOCK_SLACK or evaluated.machine.threads > MAX_THREADS:
        reasons.append(f"started {started} on {evaluated.machine.threads} threads is not possible")
    if evaluated.shard is not None:
        reasons.append("it is a shard; `merge` combines the shards of an evaluation")
    protocol = Protocol.parse(evaluated.protocol)
    settings = (evaluation.epsilon, evaluation.pgd.steps, evaluation.pgd.restarts, evaluation.pgd.step_size)
    asked = (protocol.epsilon, protocol.pgd_steps, protocol.pgd_restarts, protocol.pgd_step)
    attack = (evaluation.autoattack.version, evaluation.autoattack.seed)
    if (settings, attack) != (asked, (protocol.autoattack, protocol.autoattack_seed)):
        reasons.append(f"its attacks are not those of {protocol.id}")
    if evaluation.opposed and evaluation.autoattack.shards == 1:
        reasons += opponent_contradictions(evaluation)
    if (curve := evaluated.curve) is not None:
        if [point.epsilon for point in curve] != default_epsilons(Claim.of_evaluated(evaluated, 0).epsilon):
            reasons.append("the radii of its curve are not those of its protocol")
        elif evaluated.curve_area != (area := area_under([CurvePoint(p.epsilon, p.accuracy) for p in curve])):
            reasons.append(f"curve_area is {evaluated.curve_area}, its points give {area}")
        elif curve[0].accuracy != evaluation.clean_accuracy:
            reasons.append("its curve does not begin at the clean accuracy")
    elif evaluated.curve_area is not None:
        reasons.append("curve_area is given without a curve")
    return reasons


def _artifact(evaluated: Evaluated, sources: Sources, report: Report) -> Artifact | OnnxArtifact:
    named = (record for record in sources.records.values() if record.artifact.sha256 == evaluated.artifact.sha256)
    record = next(named, None)
    if record is None:
        report.note("artifact", [f"no record here has an artifact with sha256 {evaluated.artifact.sha256}"])
        raise Refused
    try:
        artifact = read_kind_of(record, artifact_path(sources.board, record.run, record.ending))
    except UserError as error:
        report.leave("artifact", str(error))
        raise Refused from None
    stated = evaluated.artifact
    same = (artifact.sha256, artifact.size_bytes) == (stated.sha256, stated.size_bytes)
    if isinstance(artifact, Artifact):
        same = artifact.part == stated and evaluated.foreign is None
    else:
        same &= evaluated.foreign is not None and evaluated.foreign.kind == "onnx"
    report.note("artifact", [] if same else ["the file is not the one that was measured"], f"that of {record.run}")
    report.stop_if_refused()
    return artifact


def _as_it_was_read(evaluated: Evaluated, artifact: OnnxArtifact, info: ImageInfo, report: Report) -> nn.Module:
    """Return the network of an ONNX file behind the normalisation and the order of axes that it was measured with.

    Raises:
        Refused: if an ONNX file for these images cannot be read in this way.
    """
    foreign = evaluated.foreign
    assert foreign is not None, "see `_artifact`"
    try:
        reading = Reading(None, *checked_normalisation(foreign.mean, foreign.std), foreign.nhwc)
        check_channels(reading, info.channels, info.name)
        if foreign.arch is not None or foreign.arch_sha256 is not None:
            raise UserError("an ONNX file holds its network itself, and has no arch")
    except UserError as error:
        report.note("options", [str(error)])
        raise Refused from None
    return preprocessed(artifact.network, reading)


def _check_curve(evaluated: Evaluated, network: nn.Module, images: Images, sources: Sources) -> tuple[list[str], str]:
    """Measure a curve again up to a randomly drawn radius that fits the time."""
    from scipy.stats import binom  # here, because it takes a second to import

    assert evaluated.curve is not None
    claim, points = Claim.of_evaluated(evaluated, 0), evaluated.curve
    seconds = pass_time(network, images, claim.batch_size)(len(images))
    radius_passes = 2 * (claim.evaluation.pgd.steps + 1)
    fitting = 1 + int(sources.effort.seconds / (radius_passes * seconds))
    last = random.Random(f"curve {sources.effort.draw}").randint(2, max(2, min(fitting, len(points))))
    measured = security_curve(
        network,
        images,
        epsilons=[point.epsilon for point in points[:last]],
        steps=claim.evaluation.pgd.steps,
        seed=PGD_SEED,
        batch_size=claim.batch_size,
        report=lambda line: None,
    )
    allowed = int(binom.ppf(CONFIDENCE, len(images), ATTACK_FLIPS))
    reasons = [
        f"accuracy at epsilon {point.epsilon:.4f} is {again.accuracy:.4f}, the file says {point.accuracy:.4f}"
        for point, again in zip(points, measured, strict=False)
        if abs(point.accuracy - again.accuracy) * len(images) > allowed
    ]
    return reasons, f"{last} of {len(points)} points measured again (--draw {sources.effort.draw})"
