"""Progress within an epoch, reported now and then, and at the end of training what its time went into."""

from __future__ import annotations

from collections.abc import Callable

from benchmark.runtime.progress import Ticker

PROGRESS_SECONDS = 20.0  # between two lines within an epoch
# Validation that took so long, in seconds and as a share of training, is worth a note.
NOTED_SECONDS, NOTED_SHARE = 60.0, 0.25


class Progress:
    """Counts the batches of an epoch and reports every few seconds how many are done and when the epoch ends."""

    def __init__(self, batches: int, name: str, report: Callable[[str], None], done: int = 0) -> None:
        self.batches, self.name, self.report = batches, name, report
        self.done = self._before = done
        self._ticker = Ticker(PROGRESS_SECONDS)

    def count(self) -> None:
        """Count one more batch."""
        self.done += 1
        if self._ticker.due():
            left = self._ticker.left((self.done - self._before) / (self.batches - self._before))
            self.report(f"{self.name} batch {self.done}/{self.batches}  epoch ends in {left}")


def resumed_text(done: int, epochs: int, updates: int, of_updates: int) -> str:
    """Return where training is resumed: `done` of all epochs are finished, and `updates` of the next one.

    >>> resumed_text(2, 10, 0, 390), resumed_text(2, 10, 120, 390)
    ('resumed after epoch 2/10', 'resumed within epoch 3/10, after 120 of 390 updates')
    """
    if updates:
        return f"resumed within epoch {done + 1}/{epochs}, after {updates} of {of_updates} updates"
    return f"resumed after epoch {done}/{epochs}"


def report_seconds(seconds: float, validation_seconds: float, report: Callable[[str], None]) -> None:
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
