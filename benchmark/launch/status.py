"""What runs where, what failed, what can be resumed: read from names and small files below an output folder.

Of a finished run only names are looked at, so that ten thousand of them are listed in a moment. Nothing is written, no
record is parsed, and no library for computing is imported.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmark.files.ends import first_and_last_line, last_line
from benchmark.files.plain import read_plain, refuse_links
from benchmark.launch.lease_file import Holder, read_holder
from benchmark.launch.order import FAILURE, ORDER

State = Literal["running", "abandoned", "failed", "stopped", "waiting"]
# Any of these in a work folder is something to resume from.
BEGUN = frozenset({"checkpoint.pt", "network.safetensors", "autoattack"})
_ORDER = re.compile(r"order(-[0-9]+-shards)?\.json")
_LEASE = re.compile(r"lease-[a-z0-9-]+\.json")
_LEVELS = 5  # folders of a run's name
_ORDER_BYTES = 2**20  # at most, of an order


@dataclass(frozen=True)
class Worker:
    """A process that holds a lease, or held it when it died."""

    part: str  # of the run, such as "whole" or "attack 2/8"
    host: str
    pid: int
    since: str  # UTC, by that host's clock
    alive: bool  # False: it has ended without giving its lease back, or shows no sign of life


@dataclass(frozen=True)
class RunStatus:
    """One run that is not finished.

    Attributes:
        run: its name.
        state: "running"; "abandoned" by a process that died, so that another one may take it over; "failed";
            "stopped", with something to resume from; or "waiting".
        workers: that work on it, or did until they died.
        epoch: finished epochs over all phases; 0 before the first one ends.
        epochs: of the whole training; None if the order cannot be read.
        seconds_left: of training, if it goes on as it did; None if it has not begun or has ended.
        reason: why it failed, in one line; empty otherwise.
        line: the last line of its log; empty if there is none.
    """

    run: str
    state: State
    workers: tuple[Worker, ...]
    epoch: int
    epochs: int | None
    seconds_left: float | None
    reason: str
    line: str


@dataclass(frozen=True)
class Status:
    """Everything below an output folder.

    Attributes:
        out: the folder.
        records: finished measurements; a run has one for each protocol.
        runs: those that are not finished, or are measured again just now, by name.
    """

    out: Path
    records: int
    runs: tuple[RunStatus, ...]


def read_status(out: Path) -> Status:
    """Look at everything below an output folder.

    Raises:
        UserError: if a folder on the way is a link.
    """
    records, finished = _finished(out)
    now = _file_system_time(out)
    runs = [_status(out, run, names, run in finished, now) for run, names in _work_folders(out)]
    return Status(out, records, tuple(sorted((run for run in runs if run is not None), key=lambda each: each.run)))


def _finished(out: Path) -> tuple[int, set[str]]:
    """Count the records, and return the names of their runs."""
    count, runs = 0, set()
    for protocol in _folders(refuse_links(out / "records", out)):
        with os.scandir(protocol) as entries:
            for entry in entries:
                if entry.name.endswith(".json") and not entry.name.startswith("."):
                    count += 1
                    runs.add(entry.name.removesuffix(".json").replace("__", "/"))
    return count, runs


def _work_folders(out: Path) -> Iterator[tuple[str, set[str]]]:
    """Yield the name of every run with a work folder, and the names of the files there."""
    folders = [str(refuse_links(out / "work", out))]
    for _ in range(_LEVELS):
        folders = [path for folder in folders for path in _folders(folder)]
    for folder in folders:
        yield "/".join(folder.split(os.sep)[-_LEVELS:]), _names(folder)


def _folders(path: str | Path) -> list[str]:
    """Return the folders in a folder, links aside; [] if it does not exist."""
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _names(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:  # removed by its user meanwhile
        return set()


def _status(out: Path, run: str, names: set[str], finished: bool, now: float) -> RunStatus | None:
    """Return the status of a run by the files in its work folder; None for one that is finished, or has no order."""
    folder = out / "work" / run
    leases = sorted(name for name in names if _LEASE.fullmatch(name))
    # The order that the run has begun with, or else the one that is waiting.
    orders = sorted((name for name in names if _ORDER.fullmatch(name)), key=lambda name: name != ORDER)
    if not orders or (finished and not leases):
        return None
    workers = tuple(worker for name in leases if (worker := _worker(folder / name, now)) is not None)
    if finished and not any(worker.alive for worker in workers):
        return None
    state: State = "waiting"
    if any(worker.alive for worker in workers):
        state = "running"
    elif FAILURE in names:
        state = "failed"
    elif workers:
        state = "abandoned"
    elif names & BEGUN:
        state = "stopped"
    epochs = _epochs(folder / orders[0])
    epoch, seconds_left = _progress(folder / "history.jsonl", epochs) if "history.jsonl" in names else (0, None)
    return RunStatus(
        run=run,
        state=state,
        workers=workers,
        epoch=epoch,
        epochs=epochs,
        seconds_left=seconds_left,
        reason=last_line(folder / FAILURE) if state == "failed" else "",
        line=last_line(folder / "log.txt") if "log.txt" in names and state == "running" else "",
    )


def _worker(path: Path, now: float) -> Worker | None:
    """Return who holds a lease; None if it is gone meanwhile, or cannot be understood."""
    holder = read_holder(path)
    if holder is None:
        return None
    alive = not holder.process.is_dead and not _is_silent(path, holder, now)
    return Worker(holder.part, holder.process.host, holder.process.pid, holder.since, alive)


def _is_silent(path: Path, holder: Holder, now: float) -> bool:
    """Return whether the last beat is too old; a hint only: who takes a job over measures by a clock of its own."""
    try:
        return now - path.stat(follow_symlinks=False).st_mtime > holder.seconds
    except FileNotFoundError:
        return True


def _file_system_time(out: Path) -> float:
    """Return the time as the disk of `out` would stamp a file now, which on a network disk may be its server's."""
    try:
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(b".")
            file.flush()
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # read-only
        return time.time()


def _epochs(path: Path) -> int | None:
    """Return the epochs that an order asks for; None if it cannot be read, or trains nothing."""
    content = read_plain(path, _ORDER_BYTES)
    try:
        order = json.loads(content or b"")
        epochs = None if order.get("trained_for") else order["experiment"]["training"]["epochs"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return epochs if isinstance(epochs, int) else None


def _progress(path: Path, epochs: int | None) -> tuple[int, float | None]:
    """Return the last epoch of a history and the seconds of training left."""
    first, last = first_and_last_line(path)
    try:
        begun, done, seconds = (
            int(_parsed(first)["epoch"]),
            int(_parsed(last)["epoch"]),
            float(_parsed(last)["seconds"]),
        )
    except (ValueError, KeyError, TypeError):  # being written
        return 0, None
    own = done - begun + 1  # the history of a run that begins with another one's network begins there
    if epochs is None or done >= epochs or own < 1:
        return done, None
    return done, seconds / own * (epochs - done)


def _parsed(line: str) -> dict[str, Any]:
    document = json.loads(line)
    if not isinstance(document, dict):
        raise ValueError(line)
    return document
