"""Checks of gradient health that came after a record: measured later on its artifact and kept beside the record.

They lie in folder/checks/<protocol>/<record's file name>. Images that their attacks broke lower the
best-known accuracy of the record, and a check that fails takes its rank; the record's own file stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import ValidationError, model_validator

from benchmark.errors import UserError
from benchmark.files.plain import files_below, refuse_links
from benchmark.results.bounds import check_characters
from benchmark.results.evaluated import MachinePart
from benchmark.results.evaluation import OPPONENT, OPPONENT_CHECKS, CheckPart, EvaluationPart
from benchmark.results.fields import Name, Quantity, Sha256
from benchmark.results.parts import Part
from benchmark.results.protocol import Protocol
from benchmark.results.record import Record
from benchmark.results.store import first_mistake, load_placed, record_path, write_model
from benchmark.results.verdicts import Verdicts, unpack_verdicts

CHECKS_FOLDER = "checks"  # below a folder of results


class Rechecked(Part):
    """The later checks of one record: their answers, and the verdicts of the opponent's attacks."""

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
    """Return where the later checks of a record lie.

    Raises:
        UserError: if a name could lead outside the folder, or leads to a link.
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
        UserError: if a file is not valid, or lies elsewhere than its content says.
    """

    def place(checks: Rechecked) -> Path:
        return rechecked_path(folder, checks.protocol, checks.run)

    remedy = "measure them with `python -m benchmark recheck`"
    paths = files_below(folder / CHECKS_FOLDER, folder, ".json")
    return [load_placed(path, folder, Rechecked, place, remedy=remedy)[0] for path in paths]


def rechecks_of(record: Record, rechecks: Sequence[Rechecked]) -> list[Rechecked]:
    """Return the later checks of one record: one, or none."""
    return [each for each in rechecks if (each.protocol, each.run) == (record.protocol, record.run)]


def rechecked(records: Iterable[Record], rechecks: Sequence[Rechecked]) -> list[Record]:
    """Return the records, those that were checked later with these checks and verdicts.

    Raises:
        UserError: if checks are of none of the records, of another artifact or other images than their record's, or of
            a record that has these checks itself.
    """
    records = list(records)
    by_record = {(each.protocol, each.run): each for each in rechecks}
    recorded = {(record.protocol, record.run) for record in records}
    if lost := next((each for name, each in by_record.items() if name not in recorded), None):
        raise UserError(
            f"{CHECKS_FOLDER}/ has checks of {lost.run} under {lost.protocol}, which has no record; bring the record, "
            "or delete the file with the checks"
        )
    applied = []
    for record in records:
        checks = by_record.get((record.protocol, record.run))
        applied.append(record if checks is None else _applied(record, checks))
    return applied


def wrong_record(record: Record, checks: Rechecked) -> str:
    """Return why checks are not those of a record with their protocol and run; empty if they are."""
    if checks.artifact_sha256 != record.artifact.sha256:
        return "they were measured on another artifact"
    if checks.test_sha256 != record.dataset.test_sha256:
        return "they were measured on other test images"
    return "the record has these checks itself" if record.evaluation.opposed else ""


def _applied(record: Record, checks: Rechecked) -> Record:
    evaluation, reason = record.evaluation, wrong_record(record, checks)
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
