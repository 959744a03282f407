"""Predicted times of planned experiments, and of the jobs that they are split into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.launch.job import ATTACK, NETWORK, RECORD, Job
from benchmark.planning.measured import Measurement
from benchmark.planning.predict import FIXED, ROBUST_SHARE, Prediction, predict
from benchmark.planning.states import Planned


def predictions(planned: Sequence[Planned], measured: Measurement | None) -> list[Prediction | None]:
    """Return how long each experiment will take.

    None where nothing was measured to predict it from, or the experiment is refused.
    """
    if measured is None:
        return [None] * len(planned)
    # By the identity of the work, which a cell's seeds share: comparing it takes longer than all else here.
    seen: dict[tuple[int, float], Prediction | None] = {}
    times: list[Prediction | None] = []
    for item in planned:
        if item.work is None:
            times.append(None)
            continue
        key = id(item.work), robust_share(item)
        if key not in seen:
            seen[key] = predict(item.work, measured, robust_share=key[1])
        times.append(seen[key])
    return times


def robust_share(item: Planned) -> float:
    """Return the share of the test images that is expected to survive AutoAttack, in [0, 1]."""
    return ROBUST_SHARE if item.robust_share is None else item.robust_share


def job_seconds(job: Job, time: Prediction) -> float:
    """Return how long one job of an experiment takes, on one worker of the kind that was measured.

    Args:
        job: the whole experiment or a part of it; each part reads the data and the network for itself.
        time: of the experiment.
    """
    if job.kind == NETWORK:
        return time.training + time.validation + FIXED
    if job.kind == ATTACK:
        return time.autoattack / job.order.shards + FIXED
    if job.kind == RECORD:
        return time.evaluation + FIXED
    return time.total


def seconds_of_jobs(jobs: Sequence[Job], times: Mapping[str, Prediction]) -> dict[str, float]:
    """Return the predicted seconds of jobs by name; without those whose run is not in `times`."""
    return {job.name: job_seconds(job, times[job.run]) for job in jobs if job.run in times}
