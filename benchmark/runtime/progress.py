"""Progress lines: at most one every few seconds, with the time spent and the time left."""

from __future__ import annotations

from time import perf_counter


def duration(seconds: float) -> str:
    """Return a duration as text, rounded in a suitable unit.

    >>> duration(41.3), duration(350), duration(9000), duration(4e6)
    ('41s', '6 min', '2.5 h', '1,111 h')
    """
    if seconds < 90:
        return f"{seconds:.0f}s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h"


class Ticker:
    """Decides when the next progress line is due, starting from its creation.

    Args:
        interval: minimum seconds between two lines.
    """

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._started = self._shown = perf_counter()

    def due(self) -> bool:
        """Return whether a line is due; if so, the next one is due after another interval."""
        now = perf_counter()
        if now - self._shown < self.interval:
            return False
        self._shown = now
        return True

    @property
    def seconds(self) -> float:
        """Seconds since the creation."""
        return perf_counter() - self._started

    def left(self, share: float) -> str:
        """Return the time left at the current line, estimated from the share that is done, in (0, 1]."""
        return duration((self._shown - self._started) * (1 - share) / share)

    def times(self, share: float) -> str:
        """Return the time spent until the current line, and the time left, see `left`."""
        return f"{duration(self._shown - self._started)}, about {self.left(share)} left"
