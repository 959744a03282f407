"""`speed`: times the networks of rows in every runtime, one thread, and keeps it in one file beside the boards.

Three rounds over the rows, each of which continues where it was stopped: ONNX files are exported, which takes longest
and is not timed; passes are timed, for which the machine should be idle; and processes are started for their memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import quantiles

import torch
from torch import Tensor

from benchmark.artifact.onnx_file import PACKAGES, export_onnx
from benchmark.artifact.unpack import Artifact
from benchmark.bench.timing import rounds
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import prepare
from benchmark.evaluation.fast import fold, sparse_form
from benchmark.leaderboard.board.find import find_records
from benchmark.results.record import Record
from benchmark.results.speed import FILE, Batch, RowSpeed, Runtime, Speed, SpeedMachine, Spread, load_speed, save_speed
from benchmark.results.store import artifact_path, check_folder, load_records, make_folders
from benchmark.review.latencies import onnx_session, random_images
from benchmark.review.memory import can_weigh, process_memory
from benchmark.review.sources import artifact_of
from benchmark.runtime.provenance import device_name, git_state, python_version
from methods.sparse.support import kernel_name

CPU = torch.device("cpu")
THREADS = 1
BATCHES: tuple[Batch, ...] = ("1", "64")
BUDGET = 0.5  # seconds for the passes of one runtime with one batch
MOST_ROUNDS = 200
WORK = "work/speed"  # below a folder of results: ONNX files until every row is measured


def measure_speed(rows: Sequence[str], out: Path, say: Callable[[str], None]) -> Path:
    """Measure the rows that have no times yet, write each into the file beside the boards, and return its path.

    Rows that others trained are left out: they have no folded copy and no sparse form. Times of runs without a record
    are dropped, and rows whose artifact is another one are measured again.

    Args:
        rows: their names; empty for all.
        out: folder of results.
        say: receives one line at a time.

    Raises:
        UserError: if a row is unknown or cannot be measured, or the file holds times of another machine.
    """
    check_folder(out)
    everything = load_records(out)
    named = [record for name in rows for record in find_records(everything, name)] if rows else everything
    # Boards share artifacts. Rows that were attacked on most images come first.
    records = {record.run: record for record in sorted(named, key=lambda record: -record.evaluation.n_images)}
    if not records:
        raise UserError(f"there are no records in {out}; give --out a folder that holds some")
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        work = _Work(out, _begin(everything, out), say)
        make_folders(out, WORK)
        missing = [record for run, record in records.items() if run not in work.done]
        if work.speed.machine.onnxruntime is not None:
            work.each("exported", missing, work.export)
        work.each("timed", missing, work.time)
        timed = [record for run, record in records.items() if run in work.done]
        if can_weigh():
            work.each("memory", [each for each in timed if not work.done[each.run].memory], work.weigh)
    finally:
        torch.set_num_threads(before)
    if work.failures:
        raise UserError(f"{len(work.failures)} rows were not measured, the first because {work.failures[0]}")
    shutil.rmtree(out / WORK)
    return out / FILE


def this_machine() -> SpeedMachine:
    """Return the machine and the runtimes that are installed on it, as they are compared from row to row."""
    return SpeedMachine(
        device=device_name(CPU),
        instructions=torch.backends.cpu.get_cpu_capability(),
        python=python_version(),
        torch=torch.__version__,
        onnxruntime=_onnxruntime(),
        kernels=kernel_name(),
        threads=torch.get_num_threads(),
    )


def _onnxruntime() -> str | None:
    """Return the version of ONNX Runtime; None unless all packages are here that it needs for an artifact."""
    try:
        return [version(package) for package in PACKAGES][PACKAGES.index("onnxruntime")]
    except PackageNotFoundError:
        return None


def _begin(records: Sequence[Record], out: Path) -> Speed:
    """Return the measurement to add to, without rows that belong to no record."""
    machine, speed = this_machine(), load_speed(out)
    if speed is None:
        return Speed(schema_version=1, machine=machine, rows=[])
    if speed.machine != machine:
        differ = [name for name, value in machine if getattr(speed.machine, name) != value]
        there, here = (", ".join(str(getattr(each, name)) for name in differ) for each in (speed.machine, machine))
        raise UserError(
            f"{out / FILE} was measured with {there}, here it would be {here}, and such times are not comparable; "
            "delete the file to measure all rows here"
        )
    current = speed.model_copy(update={"rows": list(speed.of(records).values())})
    if current != speed:
        save_speed(current, out)
    return current


@dataclass
class _Work:
    """The measurement as it grows, and why rows are missing in it."""

    out: Path
    speed: Speed
    say: Callable[[str], None]
    failures: list[str] = field(default_factory=list)

    @property
    def done(self) -> dict[str, RowSpeed]:
        return {row.run: row for row in self.speed.rows}

    def each(self, what: str, records: Sequence[Record], step: Callable[[Record], None]) -> None:
        for number, record in enumerate(records, 1):
            try:
                step(record)
            except UserError as error:
                self.failures.append(str(error))
                self.say(f"left out: {error}")
            else:
                self.say(f"{what} {number} of {len(records)}: {record.run}")

    def export(self, record: Record) -> None:
        if not (path := self.onnx_file(record)).exists():
            artifact = artifact_of(record, self.out)
            export_onnx(artifact.network, path, channels=artifact.plan.in_channels, size=artifact.image_size)

    def time(self, record: Record) -> None:
        started, artifact = datetime.now(UTC), artifact_of(record, self.out)
        seconds = self.seconds(artifact, self.onnx_file(record))
        commit, dirty = git_state()
        row = RowSpeed(
            run=record.run,
            artifact_sha256=artifact.sha256,
            git_commit=commit,
            git_dirty=dirty,
            measured=started.isoformat(timespec="seconds"),
            seconds=seconds,
            memory={},
        )
        self.keep(row)

    def weigh(self, record: Record) -> None:
        artifact, row = artifact_of(record, self.out), self.done[record.run]
        shape = (artifact.plan.in_channels, *artifact.image_size)
        if "onnxruntime" in row.seconds:
            self.export(record)
        stored = artifact_path(self.out, record.run, record.ending)
        paths = {name: self.onnx_file(record) if name == "onnxruntime" else stored for name in row.seconds}
        memory = {name: process_memory(name, path, shape) for name, path in paths.items()}
        self.keep(row.model_copy(update={"memory": memory}))

    def keep(self, row: RowSpeed) -> None:
        self.speed = self.speed.with_row(row)
        save_speed(self.speed, self.out)

    def onnx_file(self, record: Record) -> Path:
        return self.out / WORK / f"{record.artifact.sha256}.onnx"

    def seconds(self, artifact: Artifact, onnx_file: Path) -> dict[Runtime, dict[Batch, Spread]]:
        """Return the times of an artifact's passes on random images, by runtime and batch."""
        network, machine = prepare(artifact.network, CPU).eval(), self.speed.machine
        runtimes: dict[Runtime, Callable[[Tensor], object]] = {"torch": fold(network) or network}
        if machine.onnxruntime is not None:
            runtimes["onnxruntime"] = onnx_session(onnx_file.read_bytes())
        if machine.kernels is not None:
            runtimes["sparse"] = sparse_form(network)
        images = random_images(artifact.plan.in_channels, artifact.image_size)
        spreads: dict[Runtime, dict[Batch, Spread]] = {name: {} for name in runtimes}
        with torch.inference_mode():
            for batch in BATCHES:
                plain = images[: int(batch)]
                given = {name: plain for name in runtimes}
                given["torch"] = plain.contiguous(memory_format=torch.channels_last)
                steps = {name: partial(run, given[name]) for name, run in runtimes.items()}
                timed = rounds(steps, CPU, budget=BUDGET * len(steps), most=MOST_ROUNDS)
                for name, values in timed.items():
                    spreads[name][batch] = spread_of(values)
        return spreads


def spread_of(seconds: Sequence[float]) -> Spread:
    """Return the median of some times, at least two, and the quartiles around it."""
    lower, median, upper = quantiles(seconds, n=4, method="inclusive")
    return Spread(lower=round(lower, 8), median=round(median, 8), upper=round(upper, 8), runs=len(seconds))
