"""Writes checkpoints in the background of training.

A checkpoint of a full-sized network takes a second to write, and longer on a slow disk. Training waits only for a copy
in main memory, which a thread writes during the next epoch. There is one copy at a time: the next is made once the
previous one is on disk. A killed run thus leaves a complete checkpoint that is one or two epochs old, and a history
with later lines, which are dropped when it resumes.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from benchmark.runtime.stopping import Stopped
from benchmark.training.checkpoint import save_checkpoint


class Saver:
    """Writes states to one file in the background; use as a context, which ends when the last state is written.

    When it is left by `Stopped`, a failure to write takes its place: what had been reached is then not on disk.

    Args:
        path: of the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def save(self, changing: dict[str, Any], unchanging: dict[str, Any]) -> None:
        """Start writing the union of two states, once the previous state is written.

        Args:
            changing: copied before this returns.
            unchanging: holds tensors that no longer change, and is not copied.

        Raises:
            UserError: if writing the previous state failed.
        """
        self.wait()
        state = {**snapshot(changing), **unchanging}
        self._thread = threading.Thread(target=self._write, args=(state,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait until the pending state is written.

        Raises:
            UserError: if writing it failed.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, state: dict[str, Any]) -> None:
        try:
            save_checkpoint(self._path, state)
        except Exception as error:
            self._error = error  # for the main thread

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None or issubclass(kind, Stopped):
            self.wait()
        elif self._thread is not None:
            self._thread.join()  # without raising its error, which would hide the one that is propagating


def snapshot(value: Any) -> Any:
    """Copy a state (tensors, numbers, strings, containers of them), its tensors into main memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: snapshot(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(entry) for entry in value)
    return value
