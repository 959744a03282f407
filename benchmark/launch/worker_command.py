"""How the worker of a job is started in a process of its own, here or on another machine."""

from __future__ import annotations

import os
from collections.abc import Sequence

from benchmark.runtime.interpreters import module_environment

OF_THE_USER = ("ROBUST_COMPRESSION_CACHE", "OMP_WAIT_POLICY")  # environment variables that hold wherever a job runs


def worker_arguments(words: Sequence[str]) -> list[str]:
    """Return the arguments of a Python interpreter that runs a job, with `worker_variables` in its environment.

    Args:
        words: of the job, see `Job.command_words`.
    """
    return ["-P", "-m", "benchmark.launch.worker", *words, "--with-parent"]


def worker_variables(threads: int) -> dict[str, str]:
    """Return environment variables of a worker, beside those of its host.

    Args:
        threads: of torch.
    """
    fixed = {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    # Waiting threads give up their core, unless the user has said otherwise; see `benchmark.__main__`.
    return {"OMP_WAIT_POLICY": "passive", **variables_of_the_user(), **fixed}


def variables_of_the_user() -> dict[str, str]:
    """Return what an interpreter elsewhere needs to find the same packages, methods and data as this one."""
    paths = dict.fromkeys(module_environment()["PYTHONPATH"].split(os.pathsep))
    return {"PYTHONPATH": os.pathsep.join(paths)} | {
        name: os.environ[name] for name in OF_THE_USER if name in os.environ
    }
