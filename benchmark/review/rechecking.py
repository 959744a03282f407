"""`recheck`: measures the later checks of gradient health on older records, and keeps them beside these."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import torch
from safetensors.torch import save as save_tensors

from benchmark.artifact.unpack import Artifact
from benchmark.data.load import TestData
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.evaluate import PGD_SEED
from benchmark.evaluation.fast import ComputeBatch
from benchmark.evaluation.health.surroundings import plain_float32
from benchmark.evaluation.measurable import measurable
from benchmark.evaluation.opponent.checks import OpponentResult, opponent_checks
from benchmark.evaluation.probes import PROBE_IMAGES
from benchmark.files.kinds import ADVERSARIAL, kind_of_content
from benchmark.files.plain import kind_of
from benchmark.leaderboard.board.find import find_records, of_protocol
from benchmark.results.evaluation import OPPONENT, VERDICTS, CheckPart
from benchmark.results.external import ExternalRecord
from benchmark.results.rechecks import (
    CHECKS_FOLDER,
    Rechecked,
    load_rechecks,
    rechecked,
    save_rechecked,
)
from benchmark.results.record import Record
from benchmark.results.store import check_folder, load_all, make_folders, write_atomic
from benchmark.results.verdicts import pack_verdicts
from benchmark.review.sources import artifact_of, measured_here, pass_threads, test_data_of
from benchmark.runtime.devices import choose_device
from benchmark.runtime.progress import duration


@dataclass(frozen=True)
class RecheckRequest:
    """What the user asked for, as typed."""

    rows: Sequence[str]  # names of rows; empty for all records
    protocol: str | None  # of the rows; None for those of all boards
    out: Path
    data_dir: Path | None
    device: str
    keep: Path | None  # file for the adversarial images of one record


@dataclass
class RecheckOutcome:
    """What happened to the rows."""

    written: list[Path] = field(default_factory=list)
    present: int = 0  # rows that already had the checks
    failures: list[str] = field(default_factory=list)  # why the other rows were not checked

    def stop_if_failed(self) -> None:
        """Raise UserError if a row was not checked."""
        if len(self.failures) > 1:
            raise UserError(f"{len(self.failures)} rows were not checked, the first because {self.failures[0]}")
        if self.failures:
            raise UserError(self.failures[0])


def recheck(request: RecheckRequest, say: Callable[[str], None]) -> RecheckOutcome:
    """Measure the later checks of rows and write them beside their records, one file at a time.

    Rows that have them are skipped, so that a stopped run continues. With `keep`, the one row is attacked in any case,
    but an existing file of its checks stays.

    Raises:
        UserError: if a row is unknown or ambiguous, or a file of the board is damaged, or nothing can be written.
    """
    device = torch.device(choose_device(request.device))
    records = _records(request)
    present = {(each.protocol, each.run) for each in load_rechecks(request.out)}
    make_folders(request.out, CHECKS_FOLDER)
    done = [each for each in records if each.evaluation.opposed or (each.protocol, each.run) in present]
    for record in done:
        say(f"already checked, {'in' if record.evaluation.opposed else 'beside'} its record: {record.run}")
    waiting = records if request.keep is not None else [record for record in records if record not in done]
    outcome, images_of = RecheckOutcome(present=len(done)), _Images(request.data_dir)
    started, threads = time.monotonic(), torch.get_num_threads()
    for number, record in enumerate(waiting, 1):
        each = (time.monotonic() - started) / max(number - 1, 1)
        left = f", about {duration(each * (len(waiting) - number + 1))} left" if number > 1 else ""
        say(f"row {number} of {len(waiting)}{left}: {record.run}")
        try:
            artifact, data = artifact_of(record, request.out), images_of(record)
            torch.set_num_threads(pass_threads(artifact, min(PROBE_IMAGES, len(data.test)), threads))
            checks, result = _measure(record, artifact, data, device, say)
        except UserError as error:
            outcome.failures.append(str(error))
            if len(waiting) > 1:
                say(f"not checked: {error}")
            continue
        finally:
            torch.set_num_threads(threads)
        _keep_images(result, request.keep, say)
        if record not in done:
            rechecked([record], [checks])  # raises if the file could not be read back
            outcome.written.append(save_rechecked(checks, request.out))
        shown = ", ".join(f"{check.name} {check.verdict}" for check in checks.checks)
        say(f"checks     {shown}")
    return outcome


class _Images:
    """Test images, read once for all records that share them."""

    def __init__(self, data_dir: Path | None) -> None:
        self.data_dir, self._data = data_dir, dict[tuple[str, int, str], TestData | UserError]()

    def __call__(self, record: Record) -> TestData:
        key = record.dataset.name, record.evaluation.n_images, record.dataset.test_sha256
        if key not in self._data:
            try:
                self._data[key] = test_data_of(record, self.data_dir, record.evaluation.n_images)
            except UserError as error:
                self._data[key] = error
        data = self._data[key]
        if isinstance(data, UserError):
            raise data
        return data


def _records(request: RecheckRequest) -> list[Record]:
    """Return the requested records, each once.

    Raises:
        UserError: if there are none, or several although the images of one are to be kept.
    """
    check_folder(request.out)
    everything = load_all(request.out)
    # Reports stale files before hours of measuring.
    rechecked([record for record in everything if isinstance(record, Record)], load_rechecks(request.out))
    if not everything:
        raise UserError(f"there are no records in {request.out}; give --out a folder that holds some")
    if request.protocol is not None:
        everything = of_protocol(everything, request.protocol)
    if request.rows:
        everything = [record for name in request.rows for record in find_records(everything, name)]
        if elsewhere := [record.run for record in everything if isinstance(record, ExternalRecord)]:
            raise UserError(f"{elsewhere[0]} was trained elsewhere, and its record contains these checks; leave it out")
    chosen = {id(record): record for record in everything if isinstance(record, Record)}
    records = list(chosen.values())
    if request.keep is not None:
        if len(records) != 1 or not request.rows:
            count = f"{len(records)} match" if request.rows else "none is named"
            raise UserError(f"--keep takes the images of one record, but {count}; give its hash and its --protocol")
        _check_target(request.keep)
    return records


def _check_target(path: Path) -> None:
    """Raise UserError if anything other than adversarial images would be overwritten."""
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise UserError(f"--keep {path} is {kind_of(path)}; name a file")
    if path.is_file() and path.stat().st_size:
        kind = kind_of_content(path)
        if kind is None or kind.name != ADVERSARIAL:
            what = "a file of another kind" if kind is None else kind.name
            raise UserError(f"--keep {path} is {what}, which would be lost; name another file, or move that one")


def _measure(
    record: Record, artifact: Artifact, data: TestData, device: torch.device, say: Callable[[str], None]
) -> tuple[Rechecked, OpponentResult]:
    evaluation, started, clock = record.evaluation, datetime.now(UTC), time.perf_counter()
    images, classes = data.test.to(device), record.dataset.num_classes
    verdicts = {name: torch.from_numpy(evaluation.right(name).copy()) for name in VERDICTS}
    first = as_float_images(images.images[: evaluation.autoattack.batch_size])
    with plain_float32(device, PGD_SEED), measurable(artifact.network, first, classes, say) as network:
        result = opponent_checks(
            network,
            images,
            verdicts,
            epsilon=float(Fraction(evaluation.epsilon)),
            seed=PGD_SEED,
            compute=ComputeBatch(say),
            report=say,
        )
    machine = measured_here(device, started, time.perf_counter() - clock)
    checks = Rechecked(
        schema_version=1,
        run=record.run,
        protocol=record.protocol,
        artifact_sha256=artifact.sha256,
        test_sha256=data.sha256,
        checks=[CheckPart(**vars(check)) for check in result.checks],
        verdicts={OPPONENT: pack_verdicts(result.right.numpy())},
        seconds=machine.seconds,
        machine=machine,
    )
    return checks, result


def _keep_images(result: OpponentResult, path: Path | None, say: Callable[[str], None]) -> None:
    """Write the adversarial images in the form that `challenge` takes."""
    if path is None:
        return
    if not len(result.broken):
        say(f"the opponent's attacks broke no image: {path} was not written")
        return
    order = result.broken.argsort()
    tensors = {"x_adv": result.adversarial[order].cpu().contiguous(), "index": result.broken[order].cpu().contiguous()}
    write_atomic(path, save_tensors(tensors))
    say(f"kept {len(order)} adversarial images in {path}; `python -m benchmark challenge` takes them")
