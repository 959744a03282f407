"""The process that does one job: its lease, its exit code, and what it leaves when it fails.

    python -m benchmark.launch.worker path/to/order.json [--part PART] [--with-parent] [--seconds-left SECONDS]

PART is "whole" (the default), "network", "attack i/n" or "record", see `job`. With --with-parent the process ends when
its standard input closes, hence with the process that started it, and stops when it gets a byte there. It also stops,
with what it has reached on disk, at the signals SIGTERM, SIGUSR1 and SIGUSR2, and when the seconds are over.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmark.errors import CannotWrite, UserError
from benchmark.launch.exit_codes import DONE, ELSEWHERE, FAILED, STOPPED, USER_MISTAKE
from benchmark.launch.group import in_group, note_exit_code, run_group
from benchmark.launch.job import ATTACK, WHOLE, parse_part
from benchmark.launch.lease import Elsewhere, Lease
from benchmark.launch.lease_file import lease_path
from benchmark.launch.order import FAILURE, WorkOrder, load_order
from benchmark.launch.run_order import report, run_order
from benchmark.results.store import write_atomic
from benchmark.runtime.stopping import Stopped, stop_after, stop_on_signals
from benchmark.training.allocator import keep_freed_memory


def exit_with_parent() -> None:
    """End this process when the parent does, even by kill -9: the parent's end of standard input closes then.

    A byte that the parent writes is a request to stop.
    """

    def watch() -> None:
        # Not sys.stdin: its lock would be held at interpreter shutdown.
        while os.read(0, 1):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        os._exit(FAILED)

    threading.Thread(target=watch, daemon=True).start()


def main(order_path: Path, part: str = WHOLE) -> int:
    """Do a part of the order at `order_path` and return one of `exit_codes`."""
    keep_freed_memory()
    try:
        order = _order_at(order_path)
        parse_part(part, order.shards)
    except UserError as error:  # nothing is written where there is no order
        report(str(error))
        return USER_MISTAKE
    try:
        return _run(order, order_path, part)
    except Elsewhere as elsewhere:
        report(f"elsewhere  {elsewhere}")
        return ELSEWHERE
    except Stopped as stopped:
        report(f"stopped    {stopped}; the same job continues from what is on the disk")
        return STOPPED
    except UserError as error:
        return _failed(order_path.parent, str(error), USER_MISTAKE)
    except KeyboardInterrupt:  # only where it was started by hand: no failure
        return FAILED
    except Exception:
        return _failed(order_path.parent, traceback.format_exc(), FAILED)


def _run(order: WorkOrder, order_path: Path, part: str) -> int:
    group = in_group()
    if order.processes > 1 and group is None and not part.startswith(ATTACK):
        return run_group(order_path, part, order.processes)
    if group is not None and group > 0:  # the first process of the group holds the lease and writes
        run_order(order_path, part)
        return DONE
    with Lease(lease_path(order.folder, part), part, order.lease_seconds):
        if not part.startswith(ATTACK):  # which run side by side, one with a failure that another must not remove
            (order.folder / FAILURE).unlink(missing_ok=True)
        run_order(order_path, part)
    return DONE


def _order_at(path: Path) -> WorkOrder:
    """Return the order at a path.

    Raises:
        UserError: if there is none, or it does not belong there.
    """
    order = load_order(path)
    if path.resolve().parent != order.folder.resolve():
        raise UserError(f"the work order {path} belongs into {order.folder.resolve()}; start it from there")
    return order


def _failed(folder: Path, reason: str, code: int) -> int:
    """Write the reason of a failure into the work folder, unless the parent has ended; return the exit code."""
    if in_group():  # the first process writes; it may have another reason
        report(reason.rstrip().splitlines()[-1])
        return code
    parent = select.poll()
    parent.register(1, 0)
    if parent.poll(0):  # nobody reads what this process says: the parent has ended, and that is the reason
        return code
    try:
        write_atomic(folder / FAILURE, f"{reason.rstrip()}\n")
    except CannotWrite:  # the parent, or the log, still gets the sentence
        report(reason.rstrip().splitlines()[-1])
    return code


def start(arguments: Sequence[str]) -> int:
    """Do what the command line says, in a process of its own, and return one of `exit_codes`."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.launch.worker")
    parser.add_argument("order", type=Path)
    parser.add_argument("--part", default=WHOLE)
    parser.add_argument("--with-parent", action="store_true")
    parser.add_argument("--seconds-left", type=float)
    options = parser.parse_args(arguments)
    code = STOPPED
    with suppress(Stopped):  # before or after the job: there is nothing to leave
        stop_on_signals()
        if options.with_parent:
            exit_with_parent()
        if options.seconds_left is not None:
            stop_after(options.seconds_left)
        code = note_exit_code(main(options.order, options.part))
    return code


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:]))
