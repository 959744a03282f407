"""What a record says about its training, compared with its experiment: images, passes, phases and epoch history."""

from __future__ import annotations

from typing import Any

from benchmark.data.catalog import DATASETS
from benchmark.data.published import TRAINING_PART
from benchmark.data.splits import VALIDATION_SHARE
from benchmark.planning.cost import training_images
from benchmark.results.record import Record
from benchmark.suite.experiment import Experiment


def differing(pairs: dict[str, tuple[Any, Any]], other: str) -> list[str]:
    """Return one sentence for every pair (the record's, the other's) that differs; `other` names the second source."""
    return [
        f"{what}: the record says {claimed}, {other} {value}"
        for what, (claimed, value) in pairs.items()
        if claimed != value
    ]


def check_training(record: Record, experiment: Experiment) -> list[str]:
    """Compare image counts, passes and the history with what the experiment implies."""
    training, data = record.training, record.dataset
    built_in = DATASETS.get(data.name)
    pairs: dict[str, tuple[Any, Any]] = {}
    if built_in is not None:
        pairs["classes"] = (data.num_classes, built_in.num_classes)
        pairs["image_shape"] = (data.image_shape, (built_in.channels, built_in.size, built_in.size))
    if data.name in TRAINING_PART:
        pairs["training images"] = (data.train_images, training_images(experiment))
        held_out = max(1, round(VALIDATION_SHARE * TRAINING_PART[data.name]))
        pairs["validation images"] = (data.validation_images, held_out)
    first_phase = experiment.first_phase and experiment.first_phase.model_dump()
    stated = training.first_phase and training.first_phase.model_dump(exclude={"weights_sha256"})
    pairs["first phase"] = (stated, first_phase)
    own = round(len(training.history) * data.train_images * experiment.passes_per_image)
    if training.first_phase is None:
        pairs["passes"] = (training.passes, float(own))
    reasons = differing(pairs, "its experiment gives")
    if training.passes < own:
        reasons.append(f"passes: the record says {training.passes:,.0f}, its own epochs alone are {own:,}")
    if data.train_sha256 == data.test_sha256:
        reasons.append("training data: they are the test data")
    return reasons + _history(record)


def _history(record: Record) -> list[str]:
    """Compare the epochs with the phases, the clock and the network that was selected."""
    training, reasons = record.training, list[str]()
    lines, phases = training.history, [(phase.get("name"), phase.get("epochs")) for phase in training.phases]
    epochs_of = [(name, epochs) for name, epochs in phases if type(epochs) is int and epochs >= 0]
    if (count := sum(epochs for _, epochs in epochs_of)) != training.epochs:
        return [f"phases: they have {count} epochs together, the training has {training.epochs}"]
    names = list[object]()  # of the last epochs; a claim may list a billion
    for name, epochs in reversed(epochs_of):
        names += [name] * min(epochs, len(lines) - len(names))
    if names[::-1] != [line.phase for line in lines]:
        reasons.append("history: its epochs are not those of the phases")
    seconds = [line.seconds for line in lines]
    if seconds != sorted(seconds) or (seconds and training.seconds < seconds[-1]):
        reasons.append("history: its clock runs backwards, or beyond training.seconds")
    if not min(1, training.epochs) <= training.selected_epoch <= training.epochs:
        reasons.append(f"selected_epoch is {training.selected_epoch}, the training has {training.epochs} epochs")
    for line in lines:
        if line.epoch == training.selected_epoch and line.kept_weights != record.compression.kept_weights:
            reasons.append(
                f"kept_weights: the record says {record.compression.kept_weights:,}, its history "
                f"{line.kept_weights:,} at the selected epoch {line.epoch}"
            )
    return reasons
