"""Puts a record together from what a run leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import JsonValue

from benchmark.artifact.measure import Measured
from benchmark.data.load import TestData, TrainingData
from benchmark.launch.remeasured import is_attacked, widening_note
from benchmark.results.evaluation import EvaluationPart
from benchmark.results.parts import (
    ArchitecturePart,
    ArtifactPart,
    CompressionPart,
    CostPart,
    DatasetPart,
    EpochPart,
    FirstPhasePart,
    LayerPart,
    MethodPart,
    ProvenancePart,
    TrainingPart,
)
from benchmark.results.record import Record
from benchmark.suite.experiment import Experiment
from benchmark.suite.registry import ResolvedMethod
from benchmark.training.history import EpochLine
from benchmark.training.state import Trained
from methods.base import Phase


def make_record(
    experiment: Experiment,
    found: ResolvedMethod,
    data: TrainingData,
    trained: Trained,
    measured: Measured,
    artifact: ArtifactPart,
    weights_sha256: str,
    *,
    test: TestData,
    cost: CostPart,
    evaluation: EvaluationPart,
    provenance: ProvenancePart,
) -> Record:
    """Return the record of a finished run; its parts check each other.

    Raises:
        pydantic.ValidationError: if the parts contradict each other.
    """
    info = data.info
    dataset = DatasetPart(
        name=experiment.dataset,
        num_classes=info.num_classes,
        image_shape=(info.channels, info.height, info.width),
        train_images=len(data.train),
        validation_images=len(data.validation),
        test_images=len(test.test),
        train_sha256=data.sha256,
        test_sha256=test.sha256,
    )
    return Record(
        schema_version=3,
        protocol_version=1,
        run=experiment.run,
        run_hash=experiment.run_hash,
        protocol=evaluation.protocol(dataset),
        suite=experiment.suite,
        preset=experiment.preset,
        seed=experiment.seed,
        dataset=dataset,
        architecture=ArchitecturePart(
            name=experiment.architecture.name,
            width=experiment.architecture.width,
            last_norm=experiment.architecture.last_norm,
            prunable_weights=measured.prunable_weights,
            all_parameters=measured.all_parameters,
        ),
        method=MethodPart(
            name=experiment.method.name,
            target=_portable(experiment.method.target),
            options=experiment.method.options,
            objective=experiment.objective,
            deviations=found.deviations(),
            source_sha256=found.source_sha256(),
        ),
        compression=CompressionPart(
            weights=experiment.weights,
            keep_ratio=experiment.keep_ratio,
            allocation=experiment.allocation,
            budget=measured.budget,
            kept_weights=measured.kept_weights,
            density=measured.density,
            density_all=measured.density_all,
            entropy_bound_bytes=measured.entropy_bound_bytes,
            layers=[LayerPart(**vars(layer)) for layer in measured.layers],
        ),
        artifact=artifact,
        cost=cost,
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
        evaluation=evaluation,
        weights_sha256=weights_sha256,
        provenance=provenance,
    )


def make_record_again(
    known: Record,
    experiment: Experiment,
    *,
    test: TestData,
    cost: CostPart,
    evaluation: EvaluationPart,
    provenance: ProvenancePart,
) -> Record:
    """Return the record of a network that stands in a record already, and was measured and not trained.

    What is told of training, method and file is that of `known`; the rest is new. If only PGD on further images was
    missing there, all the rest is that of `known` too, and a note says where the further images come from.

    Raises:
        pydantic.ValidationError: if the parts contradict each other.
    """
    if is_attacked(known, experiment):
        noted = {**dict(evaluation), "notes": [*evaluation.notes, widening_note(provenance)]}
        config = known.provenance.config | {"evaluation": provenance.config["evaluation"]}
        told = known.provenance.model_copy(update={"config": config})
        return Record(**{**dict(known), "evaluation": EvaluationPart(**noted), "provenance": told})
    dataset = known.dataset.model_copy(update={"test_images": len(test.test), "test_sha256": test.sha256})
    changed = {
        "suite": experiment.suite,
        "protocol": evaluation.protocol(dataset),
        "dataset": dataset,
        "cost": cost,
        "evaluation": evaluation,
        "method": known.method.model_copy(update={"target": _portable(experiment.method.target)}),
        "provenance": provenance.model_copy(update={"trained": known.provenance.training}),
    }
    return Record(**{**dict(known), **changed})


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


def portable_config(experiment: Experiment) -> dict[str, Any]:
    """Return the resolved experiment as JSON without the folders of this machine."""
    config = experiment.model_dump(mode="json")
    config["method"]["target"] = _portable(experiment.method.target)
    return config
