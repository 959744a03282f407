"""From a trained network to the file that is measured: pack, write, read back, count what one image costs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from benchmark.artifact.latency import measure_latency
from benchmark.artifact.measure import BadExport
from benchmark.artifact.operations import operations
from benchmark.artifact.pack import pack, write_artifact
from benchmark.artifact.unpack import Artifact, read_artifact
from benchmark.data.load import ImageInfo
from benchmark.networks.resnet import NetworkPlan
from benchmark.results.parts import CostPart
from benchmark.results.store import artifact_path
from benchmark.suite.experiment import Experiment
from benchmark.suite.target import drawn_of
from methods.base import Architecture


def write_network(
    experiment: Experiment, network: nn.Module, architecture: Architecture, info: ImageInfo, out: Path
) -> Artifact:
    """Write the run's artifact and return the network as it is read back from the file.

    Raises:
        BadExport: if the format cannot hold the network.
    """
    if not isinstance(architecture, NetworkPlan):
        raise BadExport("`resize` returned an architecture of its own, which the artifact format cannot describe")
    path = artifact_path(out, experiment.run)
    content = pack(
        network.cpu(),
        architecture,
        dataset=experiment.dataset,
        image_size=(info.height, info.width),
        statistics=experiment.artifact.statistics,
        granularity=experiment.granularity,
        drawn=drawn_of(experiment),
    )
    write_artifact(path, content)
    return read_artifact(path)


def parent_network(out: Path, experiment: Experiment) -> nn.Module | None:
    """Return the dense network that the experiment began with, if its run left an artifact."""
    if experiment.first_phase is None:
        return None
    path = artifact_path(out, experiment.first_phase.run)
    return read_artifact(path).network if path.exists() else None


def measure_cost(artifact: Artifact, device: torch.device) -> CostPart:
    """Count operations per image and time the network on `device`."""
    channels, size = artifact.plan.in_channels, artifact.image_size
    counted = operations(artifact.network, channels, size)
    latency = measure_latency(artifact.network, channels, size, device=device)
    return CostPart(**vars(counted), latency_seconds={str(batch): seconds for batch, seconds in latency.items()})
