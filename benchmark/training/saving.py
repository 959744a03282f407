"""Writes checkpoints while training goes on.

A checkpoint of a full-sized network takes a second to write, and longer on a slow disk. Training waits only for a copy
of it in main memory; a thread writes the copy during the next epoch. One copy exists at a time: the next one is taken
when the former is on the disk. A kill therefore finds a whole checkpoint that is one or two epochs old, and a history
with lines beyond it, which resuming drops.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from benchmark.training.checkpoint import save_checkpoint


class Saver:
    """Writes states to one file, each in the background; use as a context, which ends when the last one is written.

    Args:
        path: of the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def save(self, changing: dict[str, Any], unchanging: dict[str, Any]) -> None:
        """Begin to write the union of two states, once the state before it is written.

        Args:
            changing: copied before this returns.
            unchanging: holds tensors that nobody writes to any more; saves their copies.

        Raises:
            UserError: if the system refused to write the state before it.
        """
        self.wait()
        state = {**snapshot(changing), **unchanging}
        self._thread = threading.Thread(target=self._write, args=(state,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Return when what was begun is written.

        Raises:
            UserError: if the system refused to write it.
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
        if kind is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join()  # what is begun is finished; the failure that is under way says more than another


def snapshot(value: Any) -> Any:
    """Copy a state (tensors, numbers, strings, containers of them), its tensors into main memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: snapshot(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(entry) for entry in value)
    return value
