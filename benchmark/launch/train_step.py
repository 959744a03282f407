"""Second step of an order: its network, trained here or read from the artifact of an earlier record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmark.artifact.measure import Measured, measure_export
from benchmark.artifact.unpack import Artifact
from benchmark.launch.artifact_step import write_network
from benchmark.launch.order import work_folder
from benchmark.launch.prepare import PreparedOrder
from benchmark.launch.remeasured import measured_artifact
from benchmark.networks.resnet import prunable_sizes
from benchmark.results.record import Record
from benchmark.results.store import load_record
from benchmark.runtime.hashing import tensors_sha256
from benchmark.training.first_phase import load_first_phase
from benchmark.training.loop import train
from benchmark.training.state import Trained
from methods.allocation import weight_budget


@dataclass(frozen=True)
class TrainedNetwork:
    """A network trained by this order, as it is read back from its file."""

    artifact: Artifact
    training: Trained
    counts: Measured  # of the exported network
    weights_sha256: str  # of the network read back


@dataclass(frozen=True)
class RecordedNetwork:
    """The network of an earlier record, as it is read from its file."""

    artifact: Artifact
    record: Record


def train_or_find(prepared: PreparedOrder, report: Callable[[str], None]) -> TrainedNetwork | RecordedNetwork:
    """Return the network to evaluate: that of the record which the order names, otherwise a newly trained one.

    Raises:
        UserError: if the recorded network is not there or was trained on other images, or as `train` does.
        TrainingFailed, BadExport: if the method breaks its contract.
    """
    order = prepared.order
    if order.trained_for is None:
        return _train(prepared, report)
    record = load_record(order.out, order.trained_for, prepared.experiment.run)
    report(f"train      not again: this network already has a record on {record.protocol}, its artifact is measured")
    return RecordedNetwork(measured_artifact(order.out, record, prepared.data), record)


def train_here(prepared: PreparedOrder, report: Callable[[str], None]) -> Trained:
    """Train the network of an order, after its first phase if another run provides that; see `train`."""
    order, experiment, data = prepared.order, prepared.experiment, prepared.data
    first_phase = None
    if experiment.first_phase is not None:
        folder = work_folder(order.out, experiment.first_phase.run)
        first_phase = load_first_phase(folder, experiment.first_phase, data.sha256)
    return train(
        experiment,
        prepared.method,
        data,
        order.folder,
        device=prepared.device,
        report=report,
        first_phase=first_phase,
    )


def _train(prepared: PreparedOrder, report: Callable[[str], None]) -> TrainedNetwork:
    order, experiment, data = prepared.order, prepared.experiment, prepared.data
    trained = train_here(prepared, report)
    counts = measure_export(
        trained.network,
        prunable_sizes(prepared.architecture),
        budget=weight_budget(sum(prunable_sizes(prepared.full_network).values()), prepared.target.keep_ratio),
        binary=prepared.target.weights == "binary",
        granularity=prepared.target.granularity,
        seeded=experiment.artifact.weights == "seed",
    )
    artifact = write_network(experiment, trained.network, prepared.architecture, data.info, order.out)
    return TrainedNetwork(artifact, trained, counts, tensors_sha256(artifact.network.state_dict()))
