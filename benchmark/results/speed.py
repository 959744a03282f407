"""Measured speed of the rows' networks: one file beside the boards, all of it from one machine.

It is folder/speed.json. Times of different machines never stand in one column, and a row whose artifact is another one
than was measured has no times. No rank depends on them, and records stay unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, ValidationError, model_validator

from benchmark.errors import UserError
from benchmark.files.mistakes import first_mistake
from benchmark.files.plain import read_below, refuse_links
from benchmark.results.bounds import MAX_LINES
from benchmark.results.external import AnyRecord
from benchmark.results.fields import Name, Positive, Sha256, Utc
from benchmark.results.parts import Part
from benchmark.results.store import RECORD_BYTES, write_model

FILE = "speed.json"  # in a folder of results
Runtime = Literal["torch", "onnxruntime", "sparse"]  # torch: with batch norms folded into convolutions
# In the order of the tables.
RUNTIMES: dict[Runtime, str] = {"torch": "torch", "onnxruntime": "ONNX Runtime", "sparse": "sparse"}
Batch = Literal["1", "64"]  # images; text, as keys of JSON are

Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class Spread(Part):
    """Seconds of a pass: the median of its runs, and the quartiles below and above it."""

    lower: Seconds
    median: Seconds
    upper: Seconds
    runs: Positive

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if not self.lower <= self.median <= self.upper:
            raise ValueError(f"{self.lower}, {self.median}, {self.upper} are not a median between its quartiles")
        return self


class MemoryPart(Part):
    """Bytes of a fresh process that reads a network and computes 1 and then 64 images."""

    libraries: Positive  # resident before the network is read
    peak: Positive

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.libraries > self.peak:
            raise ValueError(f"libraries of {self.libraries} bytes exceed the peak of {self.peak}")
        return self


class RowSpeed(Part):
    """What was measured on the artifact of one run, whichever boards it is on."""

    run: Name
    artifact_sha256: Sha256
    git_commit: Name | None  # of the code that was timed
    git_dirty: StrictBool | None
    measured: Utc
    seconds: dict[Runtime, dict[Batch, Spread]]  # runtimes of a batch were timed in turn
    memory: dict[Runtime, MemoryPart]  # empty until it has been measured

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if "torch" not in self.seconds:
            raise ValueError("the times have no torch, to which the others are compared")
        if incomplete := [name for name, spreads in self.seconds.items() if set(spreads) != {"1", "64"}]:
            raise ValueError(f"the times of {incomplete[0]} are not of batch 1 and 64")
        if self.memory and set(self.memory) != set(self.seconds):
            raise ValueError(f"memory is of {sorted(self.memory)}, times are of {sorted(self.seconds)}")
        return self


class SpeedMachine(Part):
    """Where and with what all rows were measured."""

    device: Name
    instructions: Name  # that torch uses on it, such as AVX2
    python: Name
    torch: Name
    onnxruntime: Name | None  # None: not installed
    kernels: Name | None  # of the sparse runtime; None: not installed
    threads: Positive


class Speed(Part):
    """All measured rows of a folder, ordered by run."""

    schema_version: Literal[1]
    machine: SpeedMachine
    rows: Annotated[list[RowSpeed], Field(max_length=MAX_LINES)]

    @model_validator(mode="after")
    def _is_sorted(self) -> Self:
        runs = [row.run for row in self.rows]
        if runs != sorted(set(runs)):
            raise ValueError("the rows are not in the order of their runs, each once")
        return self

    def with_row(self, row: RowSpeed) -> Speed:
        """Return the measurement with a row, which replaces one of the same run."""
        rows = [other for other in self.rows if other.run != row.run]
        return self.model_copy(update={"rows": sorted([*rows, row], key=lambda each: each.run)})

    def of(self, records: Iterable[AnyRecord]) -> dict[str, RowSpeed]:
        """Return by run what was measured on the artifacts of records, and on no others."""
        artifacts = {record.run: record.artifact.sha256 for record in records}
        return {row.run: row for row in self.rows if artifacts.get(row.run) == row.artifact_sha256}

    def problems(self, records: Iterable[AnyRecord]) -> list[str]:
        """Return a sentence for every row that no page shows, because its record is gone or of another artifact."""
        records = list(records)
        runs, shown = {record.run for record in records}, self.of(records)
        return [
            f"{FILE} has times of {row.run}, "
            f"{'but of another artifact than the record' if row.run in runs else 'which has no record'}: "
            "run `python -m benchmark speed`"
            for row in self.rows
            if row.run not in shown
        ]


def load_speed(folder: Path) -> Speed | None:
    """Read the measured speed of a folder of results; None if there is none.

    Raises:
        UserError: if the file is not valid.
    """
    path = folder / FILE
    content = read_below(path, folder, RECORD_BYTES)
    if content is None:
        return None
    try:
        return Speed.model_validate_json(content)
    except ValidationError as error:
        raise UserError(
            f"{path}: {first_mistake(error)}; delete the file, and measure again with `python -m benchmark speed`"
        ) from None


def save_speed(speed: Speed, folder: Path) -> Path:
    """Write the measured speed into a folder of results and return its path."""
    path = refuse_links(folder / FILE, folder)
    write_model(path, speed)
    return path
