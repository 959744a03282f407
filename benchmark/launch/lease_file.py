"""The file of a lease: what it says, and how it is removed by one process only. See `lease`."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.files.plain import read_plain
from benchmark.launch.process import ProcessId

BYTES = 4096  # at most
MAX_SECONDS = 86_400.0  # without a beat; a job that was lost for longer than a day would be no better off
CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, as its file says.

    Attributes:
        process: that works on the job.
        part: of the order.
        nonce: random name of this lease.
        beat: grows as long as the process lives.
        seconds: without a beat, after which it counts as dead.
        since: when the lease was taken, in UTC by the owner's clock; only to be shown.
    """

    process: ProcessId
    part: str
    nonce: str
    beat: int
    seconds: float
    since: str

    def text(self, beat: int) -> bytes:
        """Return the content of the file at a beat, of the same length at all: rewriting it takes no space."""
        return (json.dumps({**asdict(self), "beat": f"{beat:012d}"}) + "\n").encode()

    def __str__(self) -> str:
        return f"on {self.process.host} (process {self.process.pid}) since {self.since} UTC"


def lease_path(folder: Path, part: str) -> Path:
    """Return the path of the lease for a part of an order, by the order's work folder.

    All parts but the shards of the attack share one: each of them may train the network and write the record.
    """
    kind, _, shard = part.partition(" ")
    return folder / (f"lease-attack-{shard.replace('/', '-of-')}.json" if kind == "attack" else "lease-run.json")


def read_holder(path: Path) -> Holder | None:
    """Return who holds a lease; None if nobody does, or if the file cannot be understood (yet)."""
    return parsed(read_plain(path, BYTES))


def remove(path: Path, nonce: str, markers: tuple[str, ...], is_still: Callable[[], bool]) -> None:
    """Remove a lease, unless another process does or `is_still` says that it has changed.

    Args:
        path: of the lease.
        nonce: its name.
        markers: of processes that were about to remove it and have died.
        is_still: looks at the file.
    """
    marker = path.with_name(f".{path.name}.{nonce}.{len(markers) + 1}")
    try:
        os.close(os.open(marker, CREATE, 0o666))
    except FileExistsError:
        return
    try:
        if is_still():
            path.unlink(missing_ok=True)
    finally:
        for name in {*markers, marker.name}:  # after the lease: a marker made from now on meets another lease
            path.with_name(name).unlink(missing_ok=True)


def markers_of(path: Path, nonce: str = "") -> list[str]:
    """Return the names of the markers of processes that are about to remove a lease, or died while they were.

    Those of one nonce, or by default of all.
    """
    prefix = f".{path.name}.{nonce}." if nonce else f".{path.name}."
    return sorted(name for name in os.listdir(path.parent) if name.startswith(prefix))


def nonce_of(content: bytes) -> str:
    """Return the name of a lease; a file that cannot be understood has one of its own, too."""
    holder = parsed(content)
    return hashlib.sha256(content).hexdigest()[:16] if holder is None else holder.nonce


def parsed(content: bytes | None) -> Holder | None:
    """Return what a file says; None if it cannot be understood."""
    if not content:
        return None
    try:
        fields: dict[str, Any] = json.loads(content)
        process = ProcessId(**fields.pop("process"))
        holder = Holder(process, **{**fields, "beat": int(fields["beat"])})
        if not re.fullmatch("[0-9a-f]{16}", holder.nonce) or not 0 < float(holder.seconds) <= MAX_SECONDS:
            return None
        return holder
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
