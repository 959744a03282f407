"""What `evaluate` was asked for, with everything loaded that it names: the network's file, images, protocol, names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.artifact.unpack import Artifact
from benchmark.data.catalog import DATASETS
from benchmark.data.load import Images, TestData, load_test
from benchmark.errors import UserError, suggestion
from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.arguments import check_fit
from benchmark.evaluation.evaluate import DEFAULT_BATCH_SIZE, PGD_SEED
from benchmark.evaluation.foreign import Foreign
from benchmark.evaluation.health.surroundings import plain_float32
from benchmark.evaluation.measurable import measurable
from benchmark.evaluation.probes import Attackable
from benchmark.evaluation.shards import Shard
from benchmark.files.plain import refuse_links
from benchmark.foreign.evaluating import EXAMPLES
from benchmark.foreign.opened import ARTIFACT, OpenedNetwork, kind_of_file, open_artifact, open_network
from benchmark.foreign.preprocessing import Reading
from benchmark.results.protocol import Protocol, autoattack_version
from benchmark.results.store import make_folders
from benchmark.review.sources import pass_threads
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
    reading: Reading = field(default_factory=Reading)


@dataclass(frozen=True)
class Task:
    """A request with everything it names loaded; `part` is the part of `data` that is measured."""

    network: OpenedNetwork
    parent: OpenedNetwork | None
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
    artifact = open_artifact(request.path, request.reading) if kind_of_file(request.path) == ARTIFACT else None
    data, protocol = _data_and_protocol(request, artifact.artifact if artifact else None)
    network = artifact or open_network(request.path, request.reading, data.info, _examples(data))
    parent = _open_parent(request, data) if request.parent else None
    if network.artifact is not None:
        _check_shapes(network.artifact, data)
    if request.shard is not None and request.curve:
        raise UserError("--curve is measured on all images; leave --shard out, or --curve")
    shard = Shard.parse(request.shard) if request.shard is not None else None
    part = _slice(data, shard) if shard else data
    if network.artifact is not None:
        # One thread if a forward pass is so short that several would only wait for each other.
        count = min(request.batch_size, len(part.test))
        torch.set_num_threads(pass_threads(network.artifact, count, torch.get_num_threads()))
    name = _result_name(network, protocol, shard, request.batch_size, parent)
    make_folders(request.out, "evaluations")
    path = refuse_links(request.out / "evaluations" / f"{name}.json", request.out)
    refuse_links(request.out / "evaluations" / "journal" / name, request.out)
    return Task(network, parent, data, part, protocol, shard, device, path)


@contextmanager
def attackable(task: Task, batch_size: int, say: Callable[[str], None]) -> Iterator[tuple[nn.Module, Images]]:
    """Yield a task's network, ready for attacks outside of `evaluate`, and its images, both on the task's device."""
    images = task.part.test.to(task.device)
    batch = as_float_images(images.images[:batch_size])
    with (
        plain_float32(task.device, PGD_SEED),
        measurable(task.network.network, batch, task.data.info.num_classes, say) as network,
    ):
        # A network of others may lack, for example, an input gradient.
        yield Attackable(network) if isinstance(network, Foreign) else network, images


def _examples(data: TestData) -> Tensor:
    return as_float_images(data.test.images[:EXAMPLES])


def _open_parent(request: EvaluateRequest, data: TestData) -> OpenedNetwork:
    """Open the dense parent: an artifact, or a file that is read in the same way as the network's."""
    assert request.parent is not None
    reading = Reading() if kind_of_file(request.parent) == ARTIFACT else request.reading
    return open_network(request.parent, reading, data.info, _examples(data))


def _result_name(
    network: OpenedNetwork, protocol: Protocol, shard: Shard | None, batch_size: int, parent: OpenedNetwork | None
) -> str:
    """Return the name of a result, made of everything that decides it except defaults."""
    parts = [network.name, protocol.id]
    if shard:
        parts.append(f"shard-{shard.index}-of-{shard.count}")
    if batch_size != DEFAULT_BATCH_SIZE:
        parts.append(f"batch-{batch_size}")
    if parent:
        parts.append(f"parent-{parent.name}")
    return "__".join(parts)


def _data_and_protocol(request: EvaluateRequest, artifact: Artifact | None) -> tuple[TestData, Protocol]:
    """Load the images that the request names, and complete the protocol with defaults."""
    if request.protocol is not None:
        protocol = Protocol.parse(request.protocol)
        if (request.epsilon, request.images) != (None, None) or request.dataset not in (None, protocol.dataset):
            raise UserError("--protocol already says data set, epsilon and images; leave the other options out")
        data = load_test(protocol.dataset, request.data_dir, limit=protocol.images)
        check_fit(data, protocol)
        return data, protocol
    if artifact is None and request.dataset is None:
        raise UserError(
            f"{request.path} does not say which data set its network is for; give --dataset, such as cifar10, or "
            "--protocol"
        )
    dataset = artifact.dataset if artifact is not None and request.dataset is None else request.dataset
    assert dataset is not None, "one of the two names it"
    epsilon = request.epsilon
    if epsilon is None and dataset in DATASETS:
        epsilon = DATASETS[dataset].epsilon
    if epsilon is None:
        raise UserError(
            f"{dataset!r} is not a known data set and has no default epsilon.{suggestion(dataset, DATASETS)} For your "
            "own data set, give --data-dir and --epsilon 8/255"
        )
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
