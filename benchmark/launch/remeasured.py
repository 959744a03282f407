"""Networks that already have a record: what is taken from it, so that only what is new is measured."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import JsonValue

from benchmark.artifact.unpack import Artifact, read_artifact
from benchmark.data.hashes import DataHashes
from benchmark.data.load import TestData, TrainingData
from benchmark.errors import UserError
from benchmark.results.evaluation import EvaluationPart
from benchmark.results.parts import ProvenancePart
from benchmark.results.record import Record
from benchmark.results.store import artifact_path, artifact_problem, load_record, record_path
from benchmark.suite.experiment import Experiment

_WIDENED = "PGD on further images was added to this record"


def is_attacked(record: Record, experiment: Experiment) -> bool:
    """Return whether a record of the same training was evaluated as the experiment asks, PGD's further images aside.

    Those, `evaluation.pgd.images`, change nothing in what is measured on the protocol's images.
    """
    wanted = experiment.evaluation.model_dump(mode="json")
    return _without_further_images(record.provenance.config.get("evaluation")) == _without_further_images(wanted)


def is_measured(record: Record, experiment: Experiment) -> bool:
    """Return whether a record of the same training run was evaluated the way the experiment asks for.

    A record with PGD on further images has all that an experiment needs which asks for fewer of them, or none.
    """
    wanted, evaluation = experiment.evaluation.pgd.images, record.evaluation
    measured = evaluation.n_images if evaluation.wide is None else evaluation.wide.n_images
    return is_attacked(record, experiment) and (wanted is None or wanted <= measured)


def has_record(out: Path, experiment: Experiment) -> bool:
    """Return whether there is a record below `out` of the very experiment; raises as `load_record` does."""
    name = record_path(out, "any", experiment.run).name
    protocols = [path.parent.name for path in (out / "records").glob(f"*/{name}")]
    return any(is_measured(load_record(out, protocol, experiment.run), experiment) for protocol in protocols)


def _without_further_images(evaluation: JsonValue) -> JsonValue:
    pgd = evaluation.get("pgd") if isinstance(evaluation, dict) else None
    if not isinstance(evaluation, dict) or not isinstance(pgd, dict):
        return evaluation
    return evaluation | {"pgd": {name: value for name, value in pgd.items() if name != "images"}}


def widening_note(provenance: ProvenancePart) -> str:
    """Return the note of a record to which PGD on further images was added."""
    commit = f" at commit {provenance.git_commit}" if provenance.git_commit else ""
    dirty = " with uncommitted changes" if provenance.git_dirty else ""
    return f"{_WIDENED} on {provenance.started[:10]}{commit}{dirty}"


def other_data_reason(out: Path, records: Iterable[Record], hashes: DataHashes) -> str:
    """Return why a run cannot use data of these hashes beside its records below `out`; empty if it can."""
    for record in records:
        dataset = record.dataset
        for part, was, now in (
            ("training", dataset.train_sha256, hashes.train),
            ("test", dataset.test_sha256, hashes.test),
        ):
            if was != now:
                return (
                    f"{record_path(out, record.protocol, record.run)} was made from other {part} images or labels of "
                    f"{dataset.name} (sha256 {was[:12]}…) than those here ({now[:12]}…); pass the folder of the "
                    "record's data as --data-dir, or another --out to start over"
                )
    return ""


def other_data_warning(records: Iterable[Record], hashes: DataHashes) -> str:
    """Return a warning that no board will rank a run of these data beside some of the records; empty if one will."""
    made_from = [DataHashes(record.dataset.train_sha256, record.dataset.test_sha256) for record in records]
    if not (others := sum(other != hashes for other in made_from)):
        return ""
    return (
        f"{others} of {len(made_from)} records there were made from other data of this name, and no board ranks a run "
        "beside those; pass another --out"
    )


def measured_artifact(out: Path, record: Record, data: TrainingData) -> Artifact:
    """Return the network that a record was measured on.

    Raises:
        UserError: if it was trained on other images, or its file is not the one that was measured.
    """
    if data.sha256 != record.dataset.train_sha256:
        raise UserError(_other_images(record, "trained"))
    if problem := artifact_problem(out, record):
        raise UserError(f"{record.run} has a record on {record.protocol}, but {problem}; put the file back")
    return read_artifact(artifact_path(out, record.run))


def recorded_evaluation(record: Record, experiment: Experiment, test: TestData) -> EvaluationPart | None:
    """Return a record's evaluation on the protocol's images if it is what the experiment asks for, otherwise None.

    Raises:
        UserError: if it was made on other images.
    """
    if not is_attacked(record, experiment):
        return None
    if test.sha256 != record.dataset.test_sha256:
        raise UserError(_other_images(record, "attacked"))
    notes = [note for note in record.evaluation.notes if not note.startswith(_WIDENED)]
    return record.evaluation.model_copy(update={"wide": None, "notes": notes})


def _other_images(record: Record, what: str) -> str:
    return (
        f"{record.run} has a record on {record.protocol} and was {what} on other images of {record.dataset.name} than "
        "those of --data-dir; give the folder with those images, or another --out to start over"
    )
