"""What runs on a node of a Ray cluster: the worker of one job, as a process beside Ray's own.

The worker is a process of its own so that its exit code means what it means elsewhere, signals reach it, and torch's
state goes with it. It ends with its node: the other end of its standard input is here.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

APPEARS = 10.0  # seconds that a network disk may take to show a new file on another host


class Place:
    """An actor that occupies the resources of one job."""

    def __init__(self) -> None:
        self._worker: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        self._code: int | None = None
        self._news = threading.Condition()

    def host(self) -> str:
        """Return the name of this node's host; the answer means that the resources are there."""
        return os.environ.get("BENCHMARK_HOST") or socket.gethostname()

    def start(self, arguments: list[str], environment: Mapping[str, str], folder: str, order: str) -> str | None:
        """Start the worker, and return None, or why it could not be started. May be asked again.

        Args:
            arguments: of this node's Python.
            environment: variables beside this node's own, of which Ray sets CUDA_VISIBLE_DEVICES.
            folder: to start in.
            order: path of the order, which must be visible here.
        """
        if self._worker is not None:
            return None
        waited_until = time.monotonic() + APPEARS
        while not (Path(folder).is_dir() and Path(order).is_file()):
            if time.monotonic() > waited_until:
                return f"{self.host()} has no {order}; all nodes need the same folders, on a shared disk"
            time.sleep(0.5)
        self._worker = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **environment},
            encoding="utf-8",
            errors="replace",
        )
        threading.Thread(target=self._read, args=[self._worker], daemon=True).start()
        return None

    def more(self, seen: int, seconds: float) -> tuple[list[str], int | None]:
        """Return the worker's lines after the first `seen`, and its exit code once it has ended and they are all.

        Waits for one of both, at most `seconds`. May be asked again if an answer was lost.
        """
        with self._news:
            self._news.wait_for(lambda: len(self._lines) > seen or self._code is not None, timeout=seconds)
            return self._lines[seen:], self._code

    def stop(self) -> None:
        """Ask the worker to save its state and leave."""
        with self._news:
            if self._worker is not None and self._worker.stdin is not None and self._code is None:
                with suppress(BrokenPipeError):  # it is ending
                    os.write(self._worker.stdin.fileno(), b".")

    def _read(self, worker: subprocess.Popen[str]) -> None:
        assert worker.stdin is not None and worker.stdout is not None
        with worker.stdout as output:
            for line in output:
                with self._news:
                    self._lines.append(line.rstrip())
                    self._news.notify_all()
        code = worker.wait()  # before its standard input is closed, which would end it otherwise
        with self._news:
            worker.stdin.close()
            self._code = code
            self._news.notify_all()
