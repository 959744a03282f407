"""Which process on which host, so that another one can see whether it still runs."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


def host_name() -> str:
    """Return this machine's name; the environment variable BENCHMARK_HOST overrides it, for machines that share one."""
    return os.environ.get("BENCHMARK_HOST") or socket.gethostname()


@dataclass(frozen=True)
class ProcessId:
    """A process, as no other one ever is.

    Attributes:
        host: name of the machine.
        boot: what identifies the machine's start and its process ids' namespace; "" where the system does not say.
        pid: number of the process.
        started: when it was started, in the system's own unit; "" where the system does not say.
    """

    host: str
    boot: str
    pid: int
    started: str

    @staticmethod
    def own() -> ProcessId:
        """Return that of this process."""
        return ProcessId(host_name(), _boot(), os.getpid(), _started(os.getpid()) or "")

    @property
    def is_dead(self) -> bool:
        """Whether this host can say that the process has ended; False for a process of another host."""
        if not self.boot or (self.host, self.boot) != (host_name(), _boot()):
            return False
        return _started(self.pid) != self.started


def _boot() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return ""


def _started(pid: int) -> str | None:
    """Return when a process was started, in clock ticks since the boot; None if it has ended."""
    try:
        # The name, in parentheses, may contain anything.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]
