"""What was chosen for a run: records of one setting, which differ in their seeds only, share a row."""

from __future__ import annotations

import json

from pydantic import JsonValue

from benchmark.results.external import AnyRecord, ExternalRecord
from benchmark.results.record import Record


def setting_of(record: AnyRecord) -> str:
    """Return everything that was chosen for a run except its seed; runs with equal settings share a row.

    A network that was trained elsewhere has a row of its own.
    """
    if isinstance(record, ExternalRecord):
        return json.dumps(record.run)
    chosen = record.model_dump(
        mode="json",
        include={
            "preset": True,
            "dataset": True,
            "architecture": True,
            "method": {"name", "options", "objective"},
            "compression": {"weights", "keep_ratio", "allocation", "granularity", "budget"},
            "training": {"epochs", "batch_size"},
            "evaluation": {"autoattack": {"package", "package_version", "seed", "batch_size"}},
        },
    )
    # The resolved experiment holds what the parts above do not, such as the attack inside training. Of the method
    # only the hash of a user's own file counts: a built-in method stays the same when a comment in it changes.
    covered = {"seed", "suite", "method", "evaluation", "first_phase"}
    config = {key: value for key, value in record.provenance.config.items() if key not in covered}
    method = record.provenance.config.get("method")
    config["source"] = method.get("source_sha256") if isinstance(method, dict) else None
    config["first_phase"] = _first_phase(record)
    return json.dumps([chosen, config], sort_keys=True)


def _first_phase(record: Record) -> str | None:
    """Return the cell of the run that the method began with, the same for every seed; None if it began with none."""
    first_phase = record.training.first_phase
    return None if first_phase is None else first_phase.run.rpartition("/")[0]


def options_of(record: Record) -> str:
    """Return what a table shows beside the method, as JSON: settings, groups, the run it began with, precision."""
    options = dict(record.method.options)
    if record.compression.granularity != "weight":
        options["granularity"] = record.compression.granularity
    if record.artifact.weights != "stored":
        options["weights_from"] = record.artifact.weights
    if cell := _first_phase(record):
        options["first_phase"] = "/".join(cell.split("/")[-2:])  # the data and the network are the row's own
    if (precision := _precision(record)) != "fp32":
        options["training_precision"] = precision
    return json.dumps(options, sort_keys=True)


def _precision(record: Record) -> str:
    """Return the number format of training, float32 unless the run declared another."""
    return str(training_setting(record, "precision", "fp32"))


def training_setting(record: Record, name: str, default: JsonValue = None) -> JsonValue:
    """Return a setting of training from the record's resolved experiment, or `default`; its type is not checked."""
    training = record.provenance.config.get("training")
    return training.get(name, default) if isinstance(training, dict) else default
