"""Hands out the GPUs of one machine: a job gets some of its own, unless more jobs are wanted than that allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from benchmark.errors import UserError


class Gpus:
    """The GPUs of this machine, or, if there are none to hand out, places for processes on its CPUs.

    Args:
        names: of the GPUs, as in CUDA_VISIBLE_DEVICES; empty if the jobs compute on CPUs.
        group: GPUs of the largest job.
        jobs: processes of that size side by side; None for as many as there are groups.

    Raises:
        UserError: if a job needs more GPUs than there are.
    """

    def __init__(self, names: Sequence[str], *, group: int, jobs: int | None) -> None:
        if names and group > len(names):
            raise UserError(
                f"gpus_per_job is {group}, but this machine has {len(names)} GPU{'s' if len(names) > 1 else ''} for "
                "this process; give no more, or extend CUDA_VISIBLE_DEVICES"
            )
        groups = max(1, len(names) // group)
        jobs = jobs or groups
        self._names = tuple(names if jobs >= groups else names[: jobs * group])
        self._each = -(-jobs // groups) if names else jobs  # jobs on one GPU
        self._used: Counter[str] = Counter()
        self.jobs = jobs

    def take(self, count: int) -> tuple[str, ...] | None:
        """Return `count` GPUs for a job, or none of them on CPUs; None if it has to wait."""
        if not self._names:
            if self._used["cpu"] >= self._each:
                return None
            self._used["cpu"] += 1
            return ()
        free = [name for name in self._names if self._used[name] < self._each]
        if len(free) < count:
            return None
        taken = tuple(sorted(free, key=lambda name: self._used[name])[:count])
        self._used.update(taken)
        return taken

    def give_back(self, names: Iterable[str]) -> None:
        """Take back what `take` returned."""
        self._used.subtract(tuple(names) or ("cpu",))
