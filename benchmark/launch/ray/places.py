"""The actors of a run: each occupies the resources of one job on a node, and is asked one thing after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from benchmark.launch.job import Job
from benchmark.launch.ray.place import Place
from benchmark.launch.relay import FailureFile, Log
from benchmark.launch.worker_command import worker_arguments, worker_variables

ASK_SECONDS = 10.0  # for which a node waits for the next line before it answers
UNAVAILABLE_SECONDS = 1.0  # before an actor that cannot be reached is asked again

Question = Literal["place", "start", "lines"]


class Lost(Exception):
    """An actor has ended, mostly because its node was lost."""


class CannotStart(Exception):
    """A node could not start a worker."""


@dataclass
class Placed:
    """A job and its actor, from the request for resources to the end of its worker."""

    job: Job  # with the threads that it computes with
    actor: Any
    failure: FailureFile
    log: Log
    question: Question = "place"  # asked last
    host: str = "its node"
    started: float | None = None  # when the resources were there
    seen: int = 0  # lines of the worker
    last_line: str = ""
    ask: Callable[[], Any] = lambda: None  # asks the question once more

    def take(self, lines: Sequence[str]) -> str | None:
        """Take the worker's next lines and add them to its log; return a warning if that fails."""
        if not lines:
            return None
        self.seen += len(lines)
        self.last_line = lines[-1]
        return self.log.add(lines)


class Places:
    """Requests resources of a cluster, and keeps what was asked and is not answered yet.

    Args:
        ray: the package, connected to the cluster.
        gpus: whether jobs compute on GPUs.
    """

    def __init__(self, ray: Any, *, gpus: bool) -> None:
        self._ray, self._gpus = ray, gpus
        self._asked: dict[Any, Placed] = {}  # by Ray's reference to the answer

    def __len__(self) -> int:
        return len(self._asked)

    def __iter__(self) -> Iterator[Placed]:
        return iter(list(self._asked.values()))

    def needed(self, job: Job) -> dict[str, int]:
        """Return the resources of a job by Ray's names."""
        return {"CPU": job.order.threads} | ({"GPU": job.gpus} if self._gpus else {})

    def side_by_side(self, jobs: Sequence[Job]) -> int:
        """Return how many jobs the whole cluster can run at once, as it is now."""
        has = self._ray.cluster_resources()
        most = [int(has.get(name, 0) // amount) for job in jobs[:1] for name, amount in self.needed(job).items()]
        return max(1, min(most, default=1))

    def request(self, job: Job) -> None:
        """Write a job's order and request its resources; the answer to "place" is the host that has them.

        Raises:
            UserError: if the order cannot be written.
        """
        job = replace(job, order=job.order.issue())
        needed = self.needed(job)
        # Ray repeats nothing. Two calls at a time: one waits for lines while the other one stops the worker.
        kind = self._ray.remote(Place).options(
            num_cpus=needed["CPU"],
            num_gpus=needed.get("GPU", 0),
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=2,
        )
        placed = Placed(job, kind.remote(), FailureFile(job.order), Log(job.order))
        self._ask(placed, "place", placed.actor.host.remote)

    def start(self, placed: Placed, seconds: float | None) -> None:
        """Start the worker of a placed job; the answer to "start" is None.

        Args:
            placed: the job.
            seconds: after which it saves its state and leaves; None for no limit.
        """
        words = worker_arguments(placed.job.command_words) + (
            [] if seconds is None else ["--seconds-left", f"{seconds:.0f}"]
        )
        variables = worker_variables(placed.job.order.threads)
        start, path = placed.actor.start.remote, placed.job.command_words[0]
        self._ask(placed, "start", partial(start, words, variables, os.getcwd(), path))

    def ask_for_lines(self, placed: Placed) -> None:
        """Ask for what the worker writes next; the answer to "lines" is that of `Place.more`."""
        self._ask(placed, "lines", partial(placed.actor.more.remote, placed.seen, ASK_SECONDS))

    def stop(self, placed: Placed) -> None:
        """Ask a worker to save its state and leave; nothing comes of it if its node is lost."""
        placed.actor.stop.remote()

    def answered(self, seconds: float) -> Iterator[tuple[Placed, Any]]:
        """Wait for an answer, at most some seconds, and yield the jobs and their answers.

        In place of an answer there may be an exception: Lost, or CannotStart.
        """
        ready, _ = self._ray.wait(list(self._asked), num_returns=1, timeout=seconds)
        errors = self._ray.exceptions
        for reference in ready:
            placed = self._asked.pop(reference)
            try:
                answer = self._ray.get(reference)
            except errors.ActorUnavailableError:  # until Ray has found out whether it is lost
                time.sleep(UNAVAILABLE_SECONDS)
                self._asked[placed.ask()] = placed
                continue
            except errors.RayActorError as error:
                answer = Lost(_first_line(error))
            except errors.RayTaskError as error:
                answer = CannotStart(_last_line(error))
            yield placed, answer

    def release(self, placed: Placed) -> None:
        """End an actor, and with it a worker that still runs."""
        self._asked = {reference: other for reference, other in self._asked.items() if other is not placed}
        self._ray.kill(placed.actor)

    def release_all(self) -> None:
        """End all actors of this run."""
        for placed in self:
            self.release(placed)

    def _ask(self, placed: Placed, question: Question, ask: Callable[[], Any]) -> None:
        placed.question, placed.ask = question, ask
        self._asked[ask()] = placed


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
