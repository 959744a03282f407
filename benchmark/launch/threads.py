"""How many threads a computation takes: the one place that decides, for `run` and for `evaluate`."""

from __future__ import annotations

# Multiply-adds of a pass over one batch; a core needs a hundredth of a second for them. Below that threads gain a
# quarter at most on an idle machine, and on a busy one they make each other wait several times as long as they compute.
SHORT_PASS = 100_000_000


def threads_for(multiply_adds: int, most: int) -> int:
    """Return the threads for passes of so many multiply-adds: one for short passes, else `most`.

    It follows from the two numbers alone: float sums depend on it, so a resumed computation keeps it.
    """
    return 1 if multiply_adds < SHORT_PASS else most
