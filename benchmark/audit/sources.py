"""The inputs of an audit, each read once: the board's valid records, checks and challenges, artifacts and images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from benchmark.artifact.unpack import Artifact, read_artifact
from benchmark.data.load import TestData, load_test
from benchmark.data.published import PUBLISHED
from benchmark.errors import UserError
from benchmark.files.plain import read_plain
from benchmark.results.challenges import Challenge, load_challenges
from benchmark.results.external import AnyRecord, ExternalRecord
from benchmark.results.rechecks import Rechecked, load_rechecks
from benchmark.results.store import external_path, record_path
from benchmark.submission.files import LIMITS, RECORD
from benchmark.submission.reading import read_model
from benchmark.submission.remeasure import Effort
from benchmark.submission.report import Refused, Report

M = TypeVar("M", bound=BaseModel)
MAX_HELD = 2**28  # parameters of artifacts in memory, a gigabyte


@dataclass(frozen=True)
class Sources:
    """A board, and where its test images are.

    Attributes:
        board: folder with records/ and artifacts/.
        records: every valid record by file.
        audited: files of the records to check.
        data_dir: folder with the data sets' files.
        effort: how much to attack again.
    """

    board: Path
    records: Mapping[Path, AnyRecord]
    audited: frozenset[Path]
    data_dir: Path | None
    effort: Effort
    _data: dict[tuple[str, int], TestData | UserError] = field(default_factory=dict)
    _artifacts: dict[Path, Artifact] = field(default_factory=dict)

    def artifact(self, path: Path) -> Artifact:
        """Return an artifact, read only once: each is compared with all others.

        Raises:
            UserError: if it is damaged.
        """
        if path not in self._artifacts:
            artifact = read_artifact(path)
            held = [parameter.numel() for each in self._artifacts.values() for parameter in each.network.parameters()]
            if sum(held) > MAX_HELD:
                self._artifacts.clear()
            self._artifacts[path] = artifact
        return self._artifacts[path]

    def test_data(self, name: str, images: int, sha256: str, report: Report) -> TestData:
        """Return the first test images of a data set, which must have the hash that a file states.

        Raises:
            Refused: if they have another hash or are missing; the report says which.
        """
        self._refuse_other_images(name, sha256, report)
        key = (name, images)
        if key not in self._data:
            try:
                self._data[key] = load_test(name, self.data_dir, limit=images)
            except UserError as error:
                self._data[key] = error
        data = self._data[key]
        if isinstance(data, UserError):
            report.leave("data", str(data))
            raise Refused
        if data.sha256 != sha256:
            difference = f"test_sha256 is {sha256[:12]}, the test images of {name} here have {data.sha256[:12]}"
            if (
                name in PUBLISHED and PUBLISHED[name].test.content is not None
            ):  # these are certainly the published images
                report.note("data", [difference])
            else:
                report.leave("data", f"{difference}; give the folder of the right ones by --data-dir")
            raise Refused
        report.note("data", [], f"{len(data.test)} test images of {name}, as stated")
        return data

    @cached_property
    def rechecks(self) -> list[Rechecked]:
        """All later checks on the board.

        Raises:
            UserError: if a file of them is not valid.
        """
        return load_rechecks(self.board)

    @cached_property
    def challenges(self) -> list[Challenge]:
        """All challenges on the board.

        Raises:
            UserError: if one is not valid.
        """
        return load_challenges(self.board)

    def older(self, path: Path) -> list[AnyRecord]:
        """Return the records that a record may be a copy of: those not checked now, and those checked before it."""

        def order(place: Path) -> tuple[bool, Path]:
            # A network that was trained here cannot be a copy of one from elsewhere that is checked with it.
            return isinstance(self.records.get(place), ExternalRecord), place

        return [
            record for place, record in self.records.items() if place not in self.audited or order(place) < order(path)
        ]

    def record_of(self, protocol: str, run: str) -> AnyRecord | None:
        """Return the valid record of a run under a protocol; None without one."""
        paths = (record_path(self.board, protocol, run), external_path(self.board, protocol, run))
        return next((self.records[path] for path in paths if path in self.records), None)

    def _refuse_other_images(self, name: str, sha256: str, report: Report) -> None:
        """Refuse images other than those of most records: a board compares verdicts image by image."""
        used = Counter(
            record.dataset.test_sha256 for record in self.records.values() if record.dataset.name == name
        ).most_common(2)
        # With one record for each of two hashes, neither is known to be right.
        if used and used[0][0] != sha256 and (len(used) < 2 or used[0][1] > used[1][1]):
            note = f"test_sha256 is {sha256[:12]}, {used[0][1]} records of {name} on this board have {used[0][0][:12]}"
            report.note("data", [note])
            raise Refused


def check_place(path: Path, place: Callable[[], Path], report: Report) -> None:
    """Check that a file lies where its content says.

    Args:
        path: of the file.
        place: returns where it belongs.
        report: receives the outcome.

    Raises:
        Refused: if its content names no place on a board.
    """
    try:
        expected = place()
    except UserError as error:
        report.note("place", [str(error)])
        raise Refused from None
    reasons = [] if path == expected else [f"its content belongs to {expected}"]
    report.note("place", reasons, "its path matches its content")


def read_file(model: type[M], path: Path, report: Report) -> M:
    """Read a JSON file of a board as `verify` does.

    Raises:
        Refused: if it is not a plain file, or not valid.
    """
    content = read_plain(path, LIMITS[RECORD])
    if content is None:
        report.note("files", [f"{path} is not a plain file of at most {LIMITS[RECORD]:,} bytes"])
        raise Refused
    parsed, reasons = read_model(model, path.name, content)
    report.note("schema", reasons, "valid and in canonical form")
    if parsed is None:
        raise Refused
    return parsed
