"""Progress within an epoch, told now and then, and at the end of training where its time went."""

from __future__ import annotations

import time
from collections.abc import Callable

PROGRESS_SECONDS = 20.0
# Validation that took so long, in seconds and as a share of training, is worth a note.
NOTED_SECONDS, NOTED_SHARE = 60.0, 0.25


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


def tell_seconds(seconds: float, validation_seconds: float, report: Callable[[str], None]) -> None:
    """Report how long training took and how much of that was validation; if it was much, what bounds it.

    Args:
        seconds: of training, validation included; at least 0.
        validation_seconds: of these.
        report: receives one line or two.
    """
    share = validation_seconds / seconds if seconds else 0.0
    report(f"trained in {seconds:.0f}s, of these validation {validation_seconds:.0f}s ({share:.0%})")
    if validation_seconds > NOTED_SECONDS and share > NOTED_SHARE:
        report("note: training.selection_images and training.selection_steps bound the time of validation")
