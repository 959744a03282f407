"""Sends the lines of a run's history to a tracker as they are written. `history.jsonl` stays the truth.

The worker does it after every line that it reports, so that it works with every launcher. A tracker never fails a run:
whatever it raises becomes one line, and the run goes on without it. How far the tracker has got is kept beside the
history, so that a resumed run continues the same tracked run where it was.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from benchmark.files.plain import read_plain
from benchmark.launch.order import WorkOrder
from benchmark.launch.trackers import TrackedRun, Tracker, TrackerName, open_tracker
from benchmark.results.store import write_atomic
from benchmark.training.history import EpochLine, read

_CLOSE_SECONDS = 20.0  # for a tracker's last words, which may wait for a network
_STATE_BYTES = 2**12


@contextmanager
def tracked(order: WorkOrder, report: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """Yield what a training reports its lines to; the tracker that the order names, if any, follows its history.

    Args:
        order: of the run.
        report: receives every line, and one more if the tracker fails.
    """
    if order.track is None:
        yield report
        return
    follower = _Follower(order, order.track, report)
    try:
        yield follower.report
    finally:
        follower.close()


class _Follower:
    """The tracker of one run, opened with the first line that it has not got."""

    def __init__(self, order: WorkOrder, name: TrackerName, report: Callable[[str], None]) -> None:
        self._order, self._name, self._report = order, name, report
        self._history = order.folder / "history.jsonl"
        self._state = order.folder / f"tracking-{name}.json"
        self._id, self._epoch = self._saved()
        self._tracker: Tracker | None = None
        self._size, self._failed = -1, False

    def report(self, line: str) -> None:
        """Pass a line on, then send what the history has got since."""
        self._report(line)
        self._follow()

    def close(self) -> None:
        """Send the rest and close the tracker, without waiting for it for long."""
        self._follow()
        tracker = self._tracker
        if tracker is None or self._failed:
            return

        def end() -> None:
            try:
                tracker.close()
            except Exception as error:
                self._warn(error)

        thread = threading.Thread(target=end, daemon=True)
        thread.start()
        thread.join(_CLOSE_SECONDS)
        if thread.is_alive():
            self._report(
                f"warning: {self._name} has not ended within {_CLOSE_SECONDS:.0f}s; the run goes on without it"
            )

    def _follow(self) -> None:
        try:
            size = self._history.stat().st_size if self._history.exists() else 0
            if self._failed or size == self._size:
                return
            self._size = size
            for line in read(self._history) if size else ():
                if line.epoch > self._epoch:
                    self._send(line)
        except Exception as error:  # anything: a tracker is another program
            self._failed = True
            self._warn(error)

    def _send(self, line: EpochLine) -> None:
        if self._tracker is None:
            experiment = self._order.experiment
            self._tracker = open_tracker(
                self._name,
                TrackedRun(
                    name=experiment.run,
                    project=experiment.suite,
                    id=self._id,
                    config=experiment.model_dump(mode="json") | {"run_hash": experiment.run_hash},
                    folder=self._order.out / "tracking" / self._name,
                    next_epoch=self._epoch + 1,
                ),
            )
        values = asdict(line)
        self._tracker.log(values.pop("epoch"), values)
        self._epoch = line.epoch
        write_atomic(self._state, json.dumps({"id": self._id, "epoch": self._epoch}) + "\n", durable=False)

    def _saved(self) -> tuple[str, int]:
        """Return the tracked run's id and the last epoch that it has; those of a new one if there is none yet."""
        with suppress(ValueError, KeyError, TypeError):
            state: dict[str, Any] = json.loads(read_plain(self._state, _STATE_BYTES) or b"")
            return str(state["id"]), int(state["epoch"])
        return secrets.token_hex(4), 0

    def _warn(self, error: Exception) -> None:
        text = " ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        self._report(f"warning: {self._name} takes no more of this run ({text}); history.jsonl has everything")
