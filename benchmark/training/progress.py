"""Progress within an epoch, told now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

PROGRESS_SECONDS = 20.0


class Progress:
    """Counts the batches of an epoch and reports every few seconds how far it is and when it ends."""

    def __init__(self, batches: int, name: str, report: Callable[[str], None]) -> None:
        self.batches, self.name, self.report = batches, name, report
        self.done = 0
        self.started = self.shown = time.perf_counter()

    def tell(self) -> None:
        """Count one more batch."""
        self.done += 1
        now = time.perf_counter()
        if now - self.shown > PROGRESS_SECONDS:
            self.shown = now
            left = (now - self.started) / self.done * (self.batches - self.done)
            self.report(f"{self.name} batch {self.done}/{self.batches}  epoch ends in {left:.0f}s")
