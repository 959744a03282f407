"""Runs jobs on a Ray cluster: one that exists, or one that is started on this machine for the run.

Each job has an actor, which occupies its CPUs and GPUs on a node and starts the worker as a process there. Ray says
when the resources are free, and when the node is lost. A lost node's job is started again on another one and continues
from what is on the shared disk, once the dead worker's lease has expired. Ray itself repeats nothing, so that a failure
of our own, an exit code, is never tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self, cast

from benchmark.launch.config import LauncherConfig, RayConfig
from benchmark.launch.engine import LaunchContext, Outcome, Say
from benchmark.launch.job import Job
from benchmark.launch.ray.cluster import connect, fits, has_gpus, import_ray
from benchmark.launch.ray.places import Places
from benchmark.launch.ray.run import RayRun
from benchmark.launch.time_limit import TimeLimit
from benchmark.runtime.stopping import Stopped, between_updates


def make(config: LauncherConfig, context: LaunchContext) -> RayEngine:
    """Return the engine; raises UserError if Ray is not installed."""
    return RayEngine(import_ray(), cast(RayConfig, config), context)


class RayEngine:
    """Runs each job in a process on a node of a cluster.

    Args:
        ray: the package.
        config: which cluster.
        context: of the run.
    """

    def __init__(self, ray: Any, config: RayConfig, context: LaunchContext) -> None:
        self._ray, self._config, self._context = ray, config, context

    def __enter__(self) -> Self:
        connect(self._ray, self._config)
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()  # this process's connection, and the cluster only if it was started here

    def run(self, jobs: Sequence[Job], *, limit: TimeLimit, say: Say) -> Outcome:
        """Run the jobs, see `Engine.run`."""
        gpus = self._context.device == "cuda" or (self._context.device == "auto" and has_gpus(self._ray))
        places = Places(self._ray, gpus=gpus)
        for needed in {tuple(places.needed(job).items()): None for job in jobs}:
            if not fits(self._ray, dict(needed)):
                what = " and ".join(f"{amount} {name}" for name, amount in needed)
                say(f"note: no node of the cluster has {what} at present; jobs that need them wait for such a node")
        run = RayRun(places, jobs, limit, say)
        try:
            # Ends by raising Stopped if that was requested, which the run has heeded.
            with suppress(Stopped), between_updates():
                run.run()
        finally:
            places.release_all()  # also on Ctrl-C; jobs of other runs are not touched
        return run.outcome()
