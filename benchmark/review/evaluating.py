"""`evaluate`: measures any artifact by any protocol, whole or in shards, and keeps the result as JSON."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import torch

from benchmark.artifact.unpack import Artifact, read_artifact
from benchmark.data.catalog import DATASETS
from benchmark.data.load import Images, TestData, load_test
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import prepare
from benchmark.evaluation.arguments import check_fit
from benchmark.evaluation.curve import area_under, default_epsilons, security_curve
from benchmark.evaluation.evaluate import DEFAULT_BATCH_SIZE, PGD_SEED, evaluate
from benchmark.evaluation.shards import Shard
from benchmark.files.plain import refuse_links
from benchmark.files.writing import writing
from benchmark.results.evaluated import CurvePart, Evaluated, ShardPart, load_evaluated
from benchmark.results.protocol import Protocol, autoattack_version
from benchmark.results.store import make_folders, write_model
from benchmark.review.sources import measured_here, pass_threads
from benchmark.runtime.devices import choose_device


@dataclass(frozen=True)
class EvaluateRequest:
    """What the user asked for, as typed."""

    path: Path
    protocol: str | None
    dataset: str | None
    epsilon: str | None
    images: int | None
    data_dir: Path | None
    out: Path
    device: str
    batch_size: int
    shard: str | None
    curve: bool
    parent: Path | None


@dataclass(frozen=True)
class Task:
    """A request with everything it names loaded; `part` is the part of `data` that is measured."""

    artifact: Artifact
    parent: Artifact | None
    data: TestData
    part: TestData
    protocol: Protocol
    shard: Shard | None
    device: torch.device
    path: Path  # of the result

    @property
    def journal(self) -> Path:
        """Folder of AutoAttack's finished batches, until there is a result."""
        return self.path.parent / "journal" / self.path.stem


def load_task(request: EvaluateRequest) -> Task:
    """Load what a request names, and set the number of threads.

    Raises:
        UserError: for mistakes in the request, the artifact or the data.
    """
    device = torch.device(choose_device(request.device))
    artifact = read_artifact(request.path)
    parent = read_artifact(request.parent) if request.parent else None
    data, protocol = _data_and_protocol(request, artifact)
    _check_shapes(artifact, data)
    if request.shard is not None and request.curve:
        raise UserError("--curve is measured on all images; leave --shard out, or --curve")
    shard = Shard.parse(request.shard) if request.shard is not None else None
    part = _slice(data, shard) if shard else data
    # One thread if a forward pass is so short that several would only wait for each other.
    torch.set_num_threads(pass_threads(artifact, min(request.batch_size, len(part.test)), torch.get_num_threads()))
    name = _result_name(artifact, protocol, shard, request.batch_size, parent)
    make_folders(request.out, "evaluations")
    path = refuse_links(request.out / "evaluations" / f"{name}.json", request.out)
    refuse_links(request.out / "evaluations" / "journal" / name, request.out)
    return Task(artifact, parent, data, part, protocol, shard, device, path)


def evaluate_artifact(request: EvaluateRequest, say: Callable[[str], None]) -> tuple[Evaluated, Path]:
    """Measure an artifact and return the result and its file; a finished result is only read.

    Raises:
        UserError: for mistakes in the request, the artifact or the data.
    """
    task = load_task(request)
    artifact, parent, data, part, protocol = task.artifact, task.parent, task.data, task.part, task.protocol
    shard, device, path = task.shard, task.device, task.path
    result = load_evaluated(path) if path.exists() else None
    if result is not None and result.test_sha256 != data.sha256:
        aside = path.with_name(f"{path.stem}__data-{result.test_sha256[:12]}.json")
        with writing(aside):
            os.replace(path, aside)
        say(f"set aside: {path} was measured on other test images or labels than those here; it is now {aside}")
        result = None
    if result is not None:
        say(f"already measured on {result.machine.started}; delete {path} to repeat it")
    else:
        started, clock = datetime.now(UTC), time.perf_counter()
        evaluation = evaluate(
            artifact.network,
            part,
            replace(protocol, images=len(part.test)),
            device=device,
            batch_size=request.batch_size,
            parent=parent.network if parent else None,
            journal=task.journal,
            report=say,
        )
        result = Evaluated(
            schema_version=1,
            artifact=artifact.part,
            protocol=protocol.id,
            test_sha256=data.sha256,
            shard=ShardPart(index=shard.index, count=shard.count) if shard else None,
            evaluation=evaluation,
            curve=None,
            curve_area=None,
            machine=measured_here(device, started, time.perf_counter() - clock),
        )
        write_model(path, result)
    shutil.rmtree(task.journal, ignore_errors=True)
    if request.curve and result.curve is None:
        result = _with_curve(result, artifact, part.test.to(device), protocol, request.batch_size, say)
        write_model(path, result)
    return result, path


def _result_name(
    artifact: Artifact, protocol: Protocol, shard: Shard | None, batch_size: int, parent: Artifact | None
) -> str:
    """Return the name of a result, made of everything that decides it except defaults."""
    parts = [artifact.sha256[:12], protocol.id]
    if shard:
        parts.append(f"shard-{shard.index}-of-{shard.count}")
    if batch_size != DEFAULT_BATCH_SIZE:
        parts.append(f"batch-{batch_size}")
    if parent:
        parts.append(f"parent-{parent.sha256[:12]}")
    return "__".join(parts)


def _with_curve(
    result: Evaluated,
    artifact: Artifact,
    images: Images,
    protocol: Protocol,
    batch_size: int,
    say: Callable[[str], None],
) -> Evaluated:
    curve = security_curve(
        prepare(artifact.network, images.images.device),
        images,
        epsilons=default_epsilons(float(Fraction(protocol.epsilon))),
        steps=protocol.pgd_steps,
        seed=PGD_SEED,
        batch_size=batch_size,
        report=say,
    )
    points = [CurvePart(epsilon=point.epsilon, accuracy=point.accuracy) for point in curve]
    return result.model_copy(update={"curve": points, "curve_area": area_under(curve)})


def _data_and_protocol(request: EvaluateRequest, artifact: Artifact) -> tuple[TestData, Protocol]:
    """Load the images that the request names, and complete the protocol with defaults."""
    if request.protocol is not None:
        if (request.dataset, request.epsilon, request.images) != (None, None, None):
            raise UserError("--protocol already says data set, epsilon and images; leave the other options out")
        protocol = Protocol.parse(request.protocol)
        data = load_test(protocol.dataset, request.data_dir, limit=protocol.images)
        check_fit(data, protocol)
        return data, protocol
    dataset = artifact.dataset if request.dataset is None else request.dataset
    epsilon = request.epsilon
    if epsilon is None and dataset in DATASETS:
        epsilon = DATASETS[dataset].epsilon
    if epsilon is None:
        raise UserError(f"{dataset!r} is not a known data set and has no default epsilon; give --epsilon 8/255")
    data = load_test(dataset, request.data_dir, limit=request.images)
    if request.images is not None and len(data.test) < request.images:
        raise UserError(
            f"--images {request.images}: the test part of {dataset} has {len(data.test)}; give no more, or leave it out"
        )
    version = autoattack_version(data.info.num_classes)
    return data, Protocol(dataset, epsilon, len(data.test), autoattack=version)


def _check_shapes(artifact: Artifact, data: TestData) -> None:
    """Refuse a data set whose images or classes the network was not built for."""
    network = (artifact.plan.in_channels, *artifact.image_size), artifact.plan.num_classes
    given = tuple(data.test.images.shape[1:]), data.info.num_classes
    if network != given:
        (shape, classes), (network_shape, network_classes) = given, network
        raise UserError(
            f"{data.info.name} has images of {_times(shape)} in {classes} classes, the network, made for "
            f"{artifact.dataset}, takes {_times(network_shape)} in {network_classes}; name a data set that fits it"
        )


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _slice(data: TestData, shard: Shard) -> TestData:
    rows = shard.rows(len(data.test))
    part = slice(rows.start, rows.stop)
    return replace(data, test=Images(data.test.images[part], data.test.labels[part]), index=data.index[part])
