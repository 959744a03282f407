"""Last step of an order: its record, from what the steps before it returned."""

from __future__ import annotations

import platform
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue

from benchmark.launch.evaluate_step import EvaluatedNetwork
from benchmark.launch.order import WorkOrder
from benchmark.launch.prepare import PreparedOrder
from benchmark.launch.remeasured import is_attacked, widening_note
from benchmark.launch.train_step import RecordedNetwork, TrainedNetwork
from benchmark.results.evaluation import EvaluationPart
from benchmark.results.parts import (
    ArchitecturePart,
    CompressionPart,
    DatasetPart,
    EpochPart,
    FirstPhasePart,
    LayerPart,
    MethodPart,
    ProvenancePart,
    TrainingPart,
)
from benchmark.results.record import Record
from benchmark.runtime.provenance import device_name, git_state, python_version
from benchmark.suite.experiment import Experiment
from benchmark.training.history import EpochLine
from benchmark.training.state import Trained
from methods.base import Phase
from methods.sparse.support import kernel_name


def provenance(order: WorkOrder, started: datetime, seconds: float) -> ProvenancePart:
    """Describe the code and the machine of this process, and what it was asked for.

    Args:
        order: with the threads that were used.
        started: when the order was begun, in UTC.
        seconds: that it has taken.
    """
    commit, dirty = git_state()
    return ProvenancePart(
        config=_portable_config(order.experiment),
        command=order.command,
        git_commit=commit,
        git_dirty=dirty,
        python=python_version(),
        torch=torch.__version__,
        platform=platform.platform(),
        device=device_name(torch.device(order.device)),
        threads=order.threads,
        started=started.isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        kernels=kernel_name() if torch.device(order.device).type == "cpu" else None,
    )


def make_record(
    prepared: PreparedOrder,
    network: TrainedNetwork | RecordedNetwork,
    evaluated: EvaluatedNetwork,
    provenance: ProvenancePart,
) -> Record:
    """Return the record of a finished order; its parts check each other.

    Raises:
        pydantic.ValidationError: if the parts contradict each other.
    """
    if isinstance(network, RecordedNetwork):
        return _remeasured_record(network.record, prepared.experiment, evaluated, provenance)
    return _trained_record(prepared, network, evaluated, provenance)


def _trained_record(
    prepared: PreparedOrder, network: TrainedNetwork, evaluated: EvaluatedNetwork, provenance: ProvenancePart
) -> Record:
    experiment, data, counts, trained = prepared.experiment, prepared.data, network.counts, network.training
    info = data.info
    dataset = DatasetPart(
        name=experiment.dataset,
        num_classes=info.num_classes,
        image_shape=(info.channels, info.height, info.width),
        train_images=len(data.train),
        validation_images=len(data.validation),
        test_images=len(evaluated.test.test),
        train_sha256=data.sha256,
        test_sha256=evaluated.test.sha256,
    )
    return Record(
        schema_version=3,
        protocol_version=1,
        run=experiment.run,
        run_hash=experiment.run_hash,
        protocol=evaluated.evaluation.protocol(dataset),
        suite=experiment.suite,
        preset=experiment.preset,
        seed=experiment.seed,
        dataset=dataset,
        architecture=ArchitecturePart(
            name=experiment.architecture.name,
            width=experiment.architecture.width,
            last_norm=experiment.architecture.last_norm,
            prunable_weights=counts.prunable_weights,
            all_parameters=counts.all_parameters,
        ),
        method=MethodPart(
            name=experiment.method.name,
            target=_portable(experiment.method.target),
            options=experiment.method.options,
            objective=experiment.objective,
            deviations=prepared.resolved_method.deviations(),
            source_sha256=prepared.resolved_method.source_sha256(),
        ),
        compression=CompressionPart(
            weights=experiment.weights,
            keep_ratio=experiment.keep_ratio,
            allocation=experiment.allocation,
            granularity=experiment.granularity,
            budget=counts.budget,
            kept_weights=counts.kept_weights,
            density=counts.density,
            density_all=counts.density_all,
            entropy_bound_bytes=counts.entropy_bound_bytes,
            layers=[LayerPart(**vars(layer)) for layer in counts.layers],
        ),
        artifact=network.artifact.part,
        cost=evaluated.cost,
        training=TrainingPart(
            epochs=experiment.training.epochs,
            batch_size=experiment.training.batch_size,
            passes=float(trained.passes),
            seconds=round(trained.seconds, 3),
            phases=[_phase_fields(phase) for phase in trained.phases],
            selected_epoch=trained.selected_epoch,
            validation_robust_accuracy=trained.validation_robust_accuracy,
            frozen_parts_unchanged=trained.frozen_parts_unchanged,
            first_phase=_first_phase(trained),
            history=[_epoch_part(line) for line in trained.history],
        ),
        evaluation=evaluated.evaluation,
        weights_sha256=network.weights_sha256,
        provenance=provenance,
    )


def _remeasured_record(
    record: Record, experiment: Experiment, evaluated: EvaluatedNetwork, provenance: ProvenancePart
) -> Record:
    """Return the record of a network that was measured and not trained, as it already has one.

    Training, method and file are described as in that record; the rest is new. If it lacked only PGD on further images,
    everything else is taken from it too, and a note says where the further images come from.
    """
    evaluation = evaluated.evaluation
    if is_attacked(record, experiment):
        with_note = {**dict(evaluation), "notes": [*evaluation.notes, widening_note(provenance)]}
        config = record.provenance.config | {"evaluation": provenance.config["evaluation"]}
        old_provenance = record.provenance.model_copy(update={"config": config})
        return Record(**{**dict(record), "evaluation": EvaluationPart(**with_note), "provenance": old_provenance})
    test = evaluated.test
    dataset = record.dataset.model_copy(update={"test_images": len(test.test), "test_sha256": test.sha256})
    changed = {
        "suite": experiment.suite,
        "protocol": evaluation.protocol(dataset),
        "dataset": dataset,
        "cost": evaluated.cost,
        "evaluation": evaluation,
        "method": record.method.model_copy(update={"target": _portable(experiment.method.target)}),
        "provenance": provenance.model_copy(update={"trained": record.provenance.training}),
    }
    return Record(**{**dict(record), **changed})


def _epoch_part(line: EpochLine) -> EpochPart:
    return EpochPart(**{name: value for name, value in vars(line).items() if name in EpochPart.model_fields})


def _first_phase(trained: Trained) -> FirstPhasePart | None:
    if trained.first_phase is None:
        return None
    spec = trained.first_phase.spec
    return FirstPhasePart(run=spec.run, run_hash=spec.run_hash, weights_sha256=trained.first_phase.weights_sha256)


def _phase_fields(phase: Phase) -> dict[str, JsonValue]:
    return {**vars(phase), "trains": [*sorted(phase.trains)], "milestones": [*phase.milestones]}


def _portable(target: str) -> str:
    """Drop the folders of a file target: they mean nothing on another machine."""
    path, _, name = target.rpartition(":")
    return f"{Path(path).name}:{name}"


def _portable_config(experiment: Experiment) -> dict[str, Any]:
    """Return the resolved experiment as JSON without the folders of this machine."""
    config = experiment.model_dump(mode="json")
    config["method"]["target"] = _portable(experiment.method.target)
    return config
