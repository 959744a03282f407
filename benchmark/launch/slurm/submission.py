"""Puts jobs into the queue as arrays, by submitit."""

from __future__ import annotations

import contextlib
import io
import secrets
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from submitit import SlurmExecutor
from submitit.core.utils import FailedJobError, FailedSubmissionError

from benchmark.errors import UserError
from benchmark.launch.config import SlurmConfig
from benchmark.launch.job import Job
from benchmark.launch.slurm.queued import Queued
from benchmark.launch.slurm.task import Task
from benchmark.runtime.interpreters import module_environment


@dataclass(frozen=True)
class Array:
    """Jobs that are queued together: they need the same resources and wait for the same jobs."""

    jobs: tuple[Job, ...]
    needs: tuple[str, ...]  # names of jobs
    gpus: int


def arrays(jobs: Iterable[Job], largest: int) -> Iterator[Array]:
    """Group jobs into arrays of at most `largest`, each after those that it needs.

    Args:
        jobs: each after those that it needs.
        largest: number of jobs in one array.
    """
    groups: dict[tuple[int, tuple[str, ...]], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.gpus, job.needs), []).append(job)
    for (gpus, needs), group in groups.items():
        for start in range(0, len(group), largest):
            yield Array(tuple(group[start : start + largest]), needs, gpus)


class Submission:
    """Queues arrays with the settings of one run.

    Args:
        config: the settings.
        queued: where submitit's files lie, and the ids are remembered.
        gpus: whether the jobs compute on GPUs.
        minutes: after which SLURM ends a job.
        timeouts: how often a job may queue itself again after it ran out of time.
    """

    def __init__(self, config: SlurmConfig, queued: Queued, *, gpus: bool, minutes: int, timeouts: int) -> None:
        self._config = config
        self._queued = queued
        self._gpus = gpus
        self._minutes = minutes
        self._timeouts = timeouts

    def submit(self, array: Array, ids: Mapping[str, str]) -> dict[str, str]:
        """Queue an array and return the ids of its jobs by name.

        Args:
            array: the jobs.
            ids: of the jobs in the queue, by name; a job that is needed and not there has ended.

        Raises:
            UserError: if SLURM refuses.
        """
        token = secrets.token_hex(8)
        python = shlex.join([sys.executable, "-P"])  # the current folder comes last, see `module_environment`
        executor = SlurmExecutor(self._queued.folder, max_num_timeout=self._timeouts, python=python)
        executor.update_parameters(**self._parameters(array, [ids[name] for name in array.needs if name in ids]))
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit prints there what it raises
                submitted = executor.submit_array([self._task(job, token) for job in array.jobs])
        except (FailedJobError, FailedSubmissionError) as error:
            lines = str(error).strip().splitlines() or ["without a reason"]
            reason = next((line for line in lines if line.startswith("sbatch:")), lines[-1])
            raise UserError(
                f"sbatch refuses jobs: {reason.removeprefix('sbatch:').strip()}; check the settings in "
                "--launcher-config; jobs that this run has queued before, if any, go on, and the next `run` waits for "
                "them"
            ) from None
        numbers = {job.name: entry.job_id for job, entry in zip(array.jobs, submitted, strict=True)}
        self._queued.add(numbers, token)
        return numbers

    def _parameters(self, array: Array, after: Sequence[str]) -> dict[str, object]:
        config = self._config
        given = {
            "partition": config.partition,
            "account": config.account,
            "qos": config.qos,
            "mem": config.memory,
            "gpus_per_node": array.gpus if self._gpus else None,
            "dependency": f"afterok:{':'.join(after)}" if after else None,
        }
        # Without kill-on-invalid-dep, jobs that need a failed one would wait for ever. With requeue, SLURM repeats jobs
        # of a lost node.
        extra = {
            "requeue": True,
            "kill-on-invalid-dep": "yes",
            **{k: v for k, v in config.extra.items() if v is not False},
        }
        variables = shlex.quote(module_environment()["PYTHONPATH"])
        return {name: value for name, value in given.items() if value is not None} | {
            "job_name": f"benchmark-{array.jobs[0].kind}",
            "time": self._minutes,
            "cpus_per_task": config.cpus_per_job,
            "srun_args": [f"--cpus-per-task={config.cpus_per_job}"],  # since SLURM 22.05 srun does not inherit it
            "setup": [*config.setup, f"export PYTHONPATH={variables}"],
            "signal_delay_s": config.signal_delay,
            "array_parallelism": len(array.jobs),
            "stderr_to_stdout": True,
            "additional_parameters": extra,
        }

    def _task(self, job: Job, token: str) -> Task:
        order = job.order.issue()
        return Task(
            words=job.command_words,
            leases=[path.absolute() for path in job.leases],
            lease_seconds=order.lease_seconds,
            threads=order.threads,
            log=(order.folder / "log.txt").absolute(),
            folder=self._queued.folder,
            token=token,
        )
