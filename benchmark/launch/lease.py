"""Leases: which process works on a job, on whichever host, so that no job is done twice and none is left with the dead.

A lease is a small file beside the work. It is created with O_EXCL, which all local and network file systems of today
make atomic, other than locks (`flock` is not passed on by some network file systems). Its owner rewrites the counter in
it, the beat, several times within the time after which a silent owner counts as dead.

Nobody compares clocks: who waits measures, on its own clock, how long the beat has not changed. Where the owner ran on
this very host, the system says at once that it has ended.

A dead owner's lease is removed by one process only: the one that creates the marker for its nonce, a random name. If
that one dies, too, a second marker can be created once nothing has changed for the same time again. The owner writes
the beat into the file that it created, by its descriptor, so that one that was suspended meanwhile cannot overwrite its
successor's lease. It ends itself before it writes anything else.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from benchmark.files.plain import read_plain
from benchmark.files.writing import guard_writing, unguard_writing, writing
from benchmark.launch.exit_codes import ELSEWHERE
from benchmark.launch.lease_file import BYTES, CREATE, Holder, markers_of, nonce_of, parsed, remove
from benchmark.launch.process import ProcessId
from benchmark.runtime.stopping import Stopped, between_updates, requested

BEATS = 4  # in the time after which a silent owner counts as dead
_TO_REMOVE = 0.2  # seconds between another process's last look at a lease and its removal, at most, unless it hangs


class Elsewhere(Exception):
    """Another process works on the job; the text says which."""


class Lease:
    """The right to do a job, held from the creation until `release`.

    Args:
        path: of the lease, see `lease_path`; its folder exists.
        part: of the order, to be shown.
        seconds: without a sign of life, after which others may take the job over.

    Raises:
        Elsewhere: if another process holds it and is alive.
        CannotWrite: if the system refuses, for example because the disk is full.
    """

    def __init__(self, path: Path, part: str, seconds: float) -> None:
        self.path, self._seconds = path, seconds
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        self._holder = Holder(ProcessId.own(), part, secrets.token_hex(8), 0, seconds, since)
        self._beats, self._ended, self._lock = 0, threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        try:
            with between_updates():  # a request to stop must not leave the file behind
                self._descriptor = self._create()
                self._verified = _clock()
                self._thread.start()
                guard_writing(self.check)
        except Stopped:
            self.release()
            raise

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def check(self) -> None:
        """Before a write: end this process if it was suspended for so long that another one has taken over.

        Raises:
            OSError: if this cannot be found out.
        """
        if _clock() - self._verified < self._seconds / 2 or self._ended.is_set():
            return
        self._beat()
        if _clock() - self._verified >= self._seconds:
            raise OSError(errno.EIO, "its lease cannot be read")

    def release(self) -> None:
        """Give the right back; the file is gone afterwards."""
        if self._ended.is_set() or not self._thread.is_alive():
            return
        with between_updates():
            self._ended.set()
            self._thread.join()
            unguard_writing(self.check)
            with suppress(OSError):  # a disk that is gone: the lease expires
                if not markers_of(self.path, self._holder.nonce):  # else another process is about to remove it
                    remove(self.path, self._holder.nonce, (), self._is_own)
            os.close(self._descriptor)

    def _create(self) -> int:
        watch = Watch(self.path, self._seconds)
        with writing(self.path):
            while True:
                try:
                    descriptor = os.open(self.path, CREATE, 0o666)
                except FileExistsError:
                    if (holder := watch.wait()) is not None:
                        raise Elsewhere(f"another process works on this, {holder}") from None
                    continue
                try:
                    os.write(descriptor, self._holder.text(0))
                    os.fsync(descriptor)
                except OSError:
                    os.unlink(self.path)
                    os.close(descriptor)
                    raise
                for name in markers_of(self.path):  # of leases that are gone
                    self.path.with_name(name).unlink(missing_ok=True)
                return descriptor

    def _keep(self) -> None:
        while not self._ended.wait(self._seconds / BEATS):
            self._beat()

    def _beat(self) -> None:
        with self._lock:
            if self._ended.is_set():
                return
            try:
                was_silent = _clock() - self._verified >= self._seconds
                now = self._verify()
                if was_silent:  # and another process may be about to remove the lease
                    time.sleep(_TO_REMOVE)
                    now = self._verify()
            except OSError:  # a network disk that is away for a moment; `check` prevents writing meanwhile
                return
            self._verified = now

    def _verify(self) -> float:
        """Write the next beat if the lease is still this process's own, and return when it was."""
        now = _clock()
        if not self._is_own():
            print("lost: this process was suspended, and another one has taken its job over", flush=True)
            os._exit(ELSEWHERE)
        self._beats += 1
        os.pwrite(self._descriptor, self._holder.text(self._beats), 0)
        os.fsync(self._descriptor)
        return now

    def _is_own(self) -> bool:
        holder = parsed(self.path.read_bytes() if self.path.exists() else None)
        return holder is not None and holder.nonce == self._holder.nonce


class Watch:
    """Watches a lease of others, and removes it once its owner is dead.

    Args:
        path: of the lease.
        seconds: for a file that cannot be understood; any other says it itself.
        clock: seconds on this host.
    """

    def __init__(self, path: Path, seconds: float, clock: Callable[[], float] | None = None) -> None:
        self.path, self._seconds, self._clock = path, seconds, clock or _clock
        self._seen: tuple[bytes, tuple[str, ...]] | None = None
        self._since = 0.0
        self._alive = False  # whether the beat has changed while it was watched

    def holder(self) -> str | None:
        """Return who holds the lease; None if nobody does, or nobody does any more.

        Raises:
            CannotWrite: if it is a link, or the lease of a dead process cannot be removed.
        """
        if self.path.is_symlink():
            with writing(self.path):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        content = read_plain(self.path, BYTES)
        if content is None and not os.path.lexists(self.path):
            self._seen = None
            return None
        content = content or b""
        holder, nonce = parsed(content), nonce_of(content)
        seen = content, tuple(markers_of(self.path, nonce))
        if seen != self._seen:
            self._alive = self._seen is not None and nonce_of(self._seen[0]) == nonce and self._seen[0] != content
            self._seen, self._since = seen, self._clock()
        dead_here = holder is not None and holder.process.is_dead
        seconds = self._seconds if holder is None else holder.seconds
        # The marker of another process that removes this lease: it has the same time to do so.
        if (dead_here and not seen[1]) or self._clock() - self._since >= seconds:
            with writing(self.path):
                remove(self.path, nonce, seen[1], lambda: (read_plain(self.path, BYTES) or b"") == content)
            return None if not os.path.lexists(self.path) else self.holder()
        return str(holder) if holder is not None else "by a process that has not said who it is"

    def wait(self) -> str | None:
        """Wait until the lease is free, and return None, or until its owner shows that it lives: return who that is.

        Raises:
            Stopped: if that is requested meanwhile.
        """
        while (holder := self.holder()) is not None:
            if self._alive:
                return holder
            if (reason := requested()) is not None:
                raise Stopped(reason)
            time.sleep(min(0.05, self._seconds / 20))
        return None


def _clock() -> float:
    """Return seconds that never go back and count while this machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
