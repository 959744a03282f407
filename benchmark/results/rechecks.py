"""Later checks: checks of gradient health newer than a record, measured on its artifact and kept beside the record.

They are in folder/checks/<protocol>/<record's file name>. Images that their attacks broke lower the record's
best-known accuracy, and a failed check takes away its rank; the file of the record stays unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import ValidationError, model_validator

from benchmark.errors import UserError
from benchmark.files.mistakes import first_mistake
from benchmark.files.plain import files_below, refuse_links
from benchmark.results.bounds import check_characters
from benchmark.results.evaluated import MachinePart
from benchmark.results.evaluation import OPPONENT, OPPONENT_CHECKS, CheckPart, EvaluationPart
from benchmark.results.external import AnyRecord, ExternalRecord
from benchmark.results.fields import Name, Quantity, Sha256
from benchmark.results.parts import Part
from benchmark.results.protocol import Protocol
from benchmark.results.record import Record
from benchmark.results.store import load_placed, record_path, write_model
from benchmark.results.verdicts import Verdicts, unpack_verdicts

R = TypeVar("R", Record, ExternalRecord, AnyRecord)

CHECKS_FOLDER = "checks"  # below a folder of results


class Rechecked(Part):
    """The later checks of one record: their results, and the verdicts of the opponent's attacks."""

    schema_version: Literal[1]
    run: Name
    protocol: Name
    artifact_sha256: Sha256
    test_sha256: Sha256
    checks: list[CheckPart]
    verdicts: dict[str, str]
    seconds: Quantity  # that the checks took
    machine: MachinePart

    @property
    def n_images(self) -> int:
        """The number of the protocol's images."""
        return Protocol.parse(self.protocol).images

    @property
    def right(self) -> Verdicts:
        """The (n_images,) verdicts of the opponent's attacks; True also where it did not attack."""
        return unpack_verdicts(self.verdicts[OPPONENT], self.n_images)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if [check.name for check in self.checks] != list(OPPONENT_CHECKS):
            raise ValueError(f"checks are {[check.name for check in self.checks]}, must be {OPPONENT_CHECKS}")
        if list(self.verdicts) != [OPPONENT]:
            raise ValueError(f"verdicts are {sorted(self.verdicts)}, must be of {OPPONENT} alone")
        check_characters(self)
        unpack_verdicts(self.verdicts[OPPONENT], self.n_images)  # raises ValueError if they are of other images
        return self


def rechecked_path(folder: Path, protocol: str, run: str) -> Path:
    """Return the path of the later checks of a record.

    Raises:
        UserError: if a name could lead outside the folder, or the path is a link.
    """
    record = record_path(folder, protocol, run)
    return refuse_links(folder / CHECKS_FOLDER / protocol / record.name, folder)


def save_rechecked(checks: Rechecked, folder: Path) -> Path:
    """Write the later checks of a record below `folder` and return their path."""
    path = rechecked_path(folder, checks.protocol, checks.run)
    write_model(path, checks)
    return path


def load_rechecks(folder: Path) -> list[Rechecked]:
    """Read all later checks below `folder`, ordered by path.

    Raises:
        UserError: if a file is not valid, or does not lie where its content says.
    """

    def place(checks: Rechecked) -> Path:
        return rechecked_path(folder, checks.protocol, checks.run)

    remedy = "measure them with `python -m benchmark recheck`"
    paths = files_below(folder / CHECKS_FOLDER, folder, ".json")
    return [load_placed(path, folder, Rechecked, place, remedy=remedy)[0] for path in paths]


def rechecks_of(record: AnyRecord, rechecks: Sequence[Rechecked]) -> list[Rechecked]:
    """Return the later checks of one record, at most one."""
    return [each for each in rechecks if (each.protocol, each.run) == (record.protocol, record.run)]


def rechecked(records: Iterable[R], rechecks: Sequence[Rechecked]) -> list[R]:
    """Return the records, with their later checks and the verdicts of these applied.

    Raises:
        UserError: if checks belong to none of the records, or to another artifact, other images or a record that
            already contains these checks.
    """
    records = list(records)
    by_record = {(each.protocol, each.run): each for each in rechecks}
    recorded = {(record.protocol, record.run) for record in records}
    if orphan := next((each for name, each in by_record.items() if name not in recorded), None):
        raise UserError(
            f"{CHECKS_FOLDER}/ has checks of {orphan.run} under {orphan.protocol}, which has no record; add the "
            "record, or delete the file with the checks"
        )
    applied = []
    for record in records:
        checks = by_record.get((record.protocol, record.run))
        applied.append(record if checks is None else _applied(record, checks))
    return applied


def wrong_record(record: AnyRecord, checks: Rechecked) -> str:
    """Return why checks do not belong to the record of their protocol and run; empty if they do."""
    if checks.artifact_sha256 != record.artifact.sha256:
        return "they were measured on another artifact"
    if checks.test_sha256 != record.dataset.test_sha256:
        return "they were measured on other test images"
    return "the record already contains these checks" if record.evaluation.opposed else ""


def _applied(record: R, checks: Rechecked) -> R:
    evaluation: EvaluationPart = record.evaluation
    reason = wrong_record(record, checks)
    verdicts = {**evaluation.verdicts, **checks.verdicts}
    if not reason:
        best_known = int((evaluation.right("robust") & checks.right).sum()) / evaluation.n_images
        changes = {
            "verdicts": verdicts,
            "health": [*evaluation.health, *checks.checks],
            "best_known_accuracy": best_known,
        }
        try:
            return record.model_copy(update={"evaluation": EvaluationPart(**{**dict(evaluation), **changes})})
        except ValidationError as error:
            reason = first_mistake(error)
    measure = "" if evaluation.opposed else f", and measure them with `python -m benchmark recheck {record.run}`"
    raise UserError(
        f"the checks of {record.run} in {CHECKS_FOLDER}/{record.protocol}/ do not belong to its record: {reason}; "
        f"delete the file{measure}"
    )
