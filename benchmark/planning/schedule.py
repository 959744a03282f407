"""How long jobs take on several workers: list scheduling. Pure: numbers in, numbers out.

Whenever a worker is free, it takes the ready job that begins the longest chain of jobs; for jobs that do not depend on
each other that is the longest job. Source: Graham, SIAM J. Appl. Math. 1969: no schedule of this kind takes more than
(2 - 1/workers) times the best one, and the best one takes at least the longest chain and the work over the workers.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One job: its name, its seconds on one worker, and the names of those that must have ended before."""

    name: str
    seconds: float
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schedule:
    """What comes out.

    Attributes:
        workers: side by side, each with one job at a time.
        work: seconds of all jobs together.
        makespan: seconds until the last job ends.
        chain: names of the jobs of the longest chain, the part that no number of workers shortens.
        chain_seconds: how long that takes.
    """

    workers: int
    work: float
    makespan: float
    chain: tuple[str, ...]
    chain_seconds: float

    @property
    def busy(self) -> float:
        """Share of the workers' time in which they work, in (0, 1]."""
        return self.work / (self.workers * self.makespan) if self.makespan else 1.0


def schedule(tasks: Sequence[Task], workers: int) -> Schedule:
    """Schedule tasks on workers that are all alike.

    Args:
        tasks: each after those that it needs; a need that is not among them is met already.
        workers: at least 1.
    """
    by_name = {task.name: task for task in tasks}
    needed_by: dict[str, list[str]] = defaultdict(list)
    for task in tasks:
        for name in task.needs:
            needed_by[name].append(task.name)
    tail: dict[str, float] = {}  # seconds of the longest chain that begins with a task
    following: dict[str, str] = {}
    for task in reversed(tasks):
        after = max(needed_by[task.name], key=lambda name: tail[name], default=None)
        if after is not None:
            following[task.name] = after
        tail[task.name] = task.seconds + (0.0 if after is None else tail[after])
    chain = [max(tail, key=lambda name: tail[name])] if tail else []
    while chain and chain[-1] in following:
        chain.append(following[chain[-1]])
    return Schedule(
        workers=workers,
        work=math.fsum(task.seconds for task in tasks),
        makespan=_makespan(by_name, needed_by, tail, workers),
        chain=tuple(chain),
        chain_seconds=tail[chain[0]] if chain else 0.0,
    )


def _makespan(tasks: dict[str, Task], needed_by: dict[str, list[str]], tail: dict[str, float], workers: int) -> float:
    waiting_for = {name: sum(need in tasks for need in task.needs) for name, task in tasks.items()}
    order = {name: number for number, name in enumerate(tasks)}
    ready = [(-tail[name], order[name], name) for name, count in waiting_for.items() if not count]
    heapq.heapify(ready)
    running: list[tuple[float, int, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            *_, name = heapq.heappop(ready)
            heapq.heappush(running, (now + tasks[name].seconds, order[name], name))
        now, _, ended = heapq.heappop(running)
        for name in needed_by[ended]:
            waiting_for[name] -= 1
            if not waiting_for[name]:
                heapq.heappush(ready, (-tail[name], order[name], name))
    return now
