"""The process that runs one order: its lock, its exit code, and what it leaves when it fails.

    python -m benchmark.launch.worker path/to/order.json [--with-parent]

With --with-parent the process ends when its standard input closes, hence with the process that started it.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.errors import CannotWrite, UserError
from benchmark.files.plain import no_link
from benchmark.files.writing import writing
from benchmark.launch.exit_codes import USER_MISTAKE
from benchmark.launch.order import FAILURE
from benchmark.launch.run_order import report, run_order
from benchmark.results.store import write_atomic
from benchmark.training.allocator import keep_freed_memory


def exit_with_parent() -> None:
    """End this process when the parent does, even by kill -9: the parent's end of standard input closes then."""

    def watch() -> None:
        # Not sys.stdin: its lock would be held at interpreter shutdown.
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _only_worker(folder: Path) -> Iterator[None]:
    """Hold a lock that the system drops with the process, so that two workers never share a work folder."""
    with writing(folder / "lock"):
        file = open(folder / "lock", "w", opener=no_link)  # noqa: SIM115  # closed below
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is working in {folder}; wait for it or end it") from None
        yield


def main(order_path: Path, part: str = "whole") -> int:
    """Run the order at `order_path`; return 0, or USER_MISTAKE, or 1 for any other failure."""
    keep_freed_memory()
    try:
        with _only_worker(order_path.parent):
            (order_path.parent / FAILURE).unlink(missing_ok=True)
            run_order(order_path)
    except UserError as error:
        return _failed(order_path.parent, str(error), USER_MISTAKE)
    except KeyboardInterrupt:  # only where it was started by hand: no failure
        return 1
    except Exception:
        return _failed(order_path.parent, traceback.format_exc(), 1)
    return 0


def _failed(folder: Path, reason: str, code: int) -> int:
    """Write the reason of a failure into the work folder, unless the parent has ended; return the exit code."""
    parent = select.poll()
    parent.register(1, 0)
    if parent.poll(0):  # nobody reads what this process says: the parent has ended, and that is the reason
        return code
    try:
        write_atomic(folder / FAILURE, f"{reason.rstrip()}\n")
    except CannotWrite:  # the parent, or the log, still gets the sentence
        report(reason.rstrip().splitlines()[-1])
    return code


if __name__ == "__main__":
    if "--with-parent" in sys.argv[2:]:
        exit_with_parent()
    sys.exit(main(Path(sys.argv[1])))
