"""Which jobs are queued, as files: a second `run` on the same folder waits for them instead of queueing them again.

    out/work/.slurm/            only for this user; what submitit needs for each job and writes about it
        queued-123.json         names of jobs and their ids, for one array; removed by a later one once all have ended
        123_4.ended             exit code of the worker of one job, once it will not run again, and the array's token
        123_4.elsewhere         which other process works on the job, while SLURM's job waits for it
        lock                    held while jobs are queued

Each submission writes a file of its own, so that two processes never overwrite each other's. Its token is a random
name: what an older job has left is not taken for the end of a new one, should SLURM number its jobs from 1 again.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmark.files.plain import no_link, read_plain, refuse_links
from benchmark.files.writing import writing
from benchmark.results.store import write_atomic

MAX_BYTES = 2**24


class Queued:
    """What is known about the queue of one folder of results.

    Args:
        out: that folder.

    Raises:
        UserError: if the place is a link or cannot be written.
    """

    def __init__(self, out: Path) -> None:
        self.folder = refuse_links(out / "work" / ".slurm", out).absolute()
        with writing(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)  # what lies here is executed
        self._tokens: dict[str, str] = {}  # of the jobs that are watched, by id

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from queueing jobs; where the file system has no locks, leases still keep them apart."""
        with writing(self.folder / "lock"):
            file = open(self.folder / "lock", "w", opener=no_link)  # noqa: SIM115  # closed below
        with file:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def add(self, ids: Mapping[str, str], token: str) -> None:
        """Remember the ids of one submission by name of job, and its token."""
        first = next(iter(ids.values())).partition("_")[0]
        content = {"token": token, "ids": dict(ids)}
        write_atomic(self.folder / f"queued-{first}.json", json.dumps(content, indent=1) + "\n")
        self._tokens |= dict.fromkeys(ids.values(), token)

    def alive(self, states: Collection[str]) -> dict[str, str]:
        """Return the ids of jobs that are still queued or run, by name, and forget submissions that have ended.

        Args:
            states: ids that SLURM knows as queued or running.
        """
        alive: dict[str, str] = {}
        for path in sorted(self.folder.glob("queued-*.json")):
            token, ids = _read(path)
            self._tokens |= dict.fromkeys(ids.values(), token)
            living = {name: number for name, number in ids.items() if number in states and self.code(number) is None}
            if not living:
                path.unlink(missing_ok=True)
            alive |= living
        return alive

    def code(self, number: str) -> int | None:
        """Return the exit code of a job's worker; None if it has not ended, or ended without leaving one."""
        content = read_plain(self.folder / f"{number}.ended", 100)
        code, _, token = (content or b"").decode("ascii", "replace").strip().partition(" ")
        return int(code) if code.isdigit() and token == self._tokens.get(number) else None

    def holder(self, number: str) -> str | None:
        """Return which other process works on what a job waits for; None if it does not wait."""
        content = read_plain(self.folder / f"{number}.elsewhere", 1000)
        return content.decode("utf-8", "replace").strip() if content else None


def _read(path: Path) -> tuple[str, dict[str, str]]:
    """Return token and ids of one submission; no ids if the file is damaged, then its jobs count as not queued."""
    with suppress(ValueError):
        content = json.loads(read_plain(path, MAX_BYTES) or b"")
        ids = content.get("ids") if isinstance(content, dict) else None
        if isinstance(ids, dict) and all(isinstance(number, str) for number in ids.values()):
            return str(content.get("token")), ids
    return "", {}
