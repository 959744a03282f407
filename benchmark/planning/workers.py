"""How long what is left to run takes on several GPUs or CPU workers, and what limits it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmark.errors import UserError
from benchmark.launch.job import job_graph
from benchmark.launch.order import WorkOrder
from benchmark.planning.machine import threads_text
from benchmark.planning.measured import Machine, Measurement
from benchmark.planning.schedule import Schedule, Task, schedule
from benchmark.planning.states import Planned
from benchmark.planning.times import predictions, seconds_of_jobs
from benchmark.runtime.progress import duration


def check_shards(planned: Sequence[Planned], shards: int) -> None:
    """Refuse more shards of AutoAttack than an experiment has test images.

    Raises:
        UserError: naming the experiment and its images.
    """
    for item in planned:
        images = item.work.test_images if item.work is not None else 0  # 0: unknown, or not attacked again
        if item.state != "done" and 0 < images < shards:
            raise UserError(
                f"--shards {shards}: {item.experiment.run} is attacked on {images} test images; give at most as many "
                "shards"
            )


def schedule_of(planned: Sequence[Planned], measured: Measurement, *, workers: int, shards: int) -> Schedule | None:
    """Schedule the experiments that are left to run; None if there is none whose time can be predicted.

    Args:
        planned: as `states.plan` returns them.
        measured: the times of one worker.
        workers: side by side, each like the one that was measured.
        shards: jobs of each AutoAttack.
    """
    times = {
        item.experiment.run: time
        for item, time in zip(planned, predictions(planned, measured), strict=True)
        if time is not None and item.state in ("todo", "failed")
    }
    todo = [item.experiment for item in planned if item.experiment.run in times]
    if not todo:
        return None
    # Only what determines the graph is used of these orders.
    order = WorkOrder(
        experiment=todo[0],
        out=Path(),
        data_dir=None,
        device="auto",
        threads=measured.machine.threads,
        command="",
        shards=shards,
    )
    orders = [order.model_copy(update={"experiment": experiment}) for experiment in todo]
    jobs = job_graph(orders)
    seconds = seconds_of_jobs(jobs, times)
    return schedule([Task(job.name, seconds[job.name], job.needs) for job in jobs], workers)


def worker_lines(planned: Sequence[Planned], measured: Measurement, *, workers: int, shards: int) -> Iterator[str]:
    """Yield how long what is left takes on so many workers, and what limits it."""
    result = schedule_of(planned, measured, workers=workers, shards=shards)
    on = _workers_text(measured.machine, workers)
    if result is None:
        yield f"{on}: nothing is left to run whose time could be predicted."
        return
    split = "" if shards == 1 else f", each AutoAttack in {shards} jobs"
    work = f"{duration(result.work)} of work{split}"
    yield f"{on}: {duration(result.makespan)} for {work}; busy {result.busy:.0%} of the time"
    chain = f"{_chain_text(result.chain)}, {duration(result.chain_seconds)}"
    if result.makespan <= result.chain_seconds * (1 + 1e-9):
        yield f"  limited by the longest chain of jobs, so that more workers do not help: {chain}"
    else:
        yield f"  limited by the number of workers; however many there are, the longest chain of jobs remains: {chain}"
    if measured.machine.device != "cuda":
        yield "  no GPU was measured; `bench` on a machine with one shows what GPUs take."


def _chain_text(chain: Sequence[str]) -> str:
    """Write a chain of jobs, the name of a run only where it changes.

    >>> _chain_text(["a network", "b network", "b attack 1/2", "b record"])
    'a network -> b network -> attack 1/2 -> record'
    """
    words, run = [], ""
    for name in chain:
        run_before, (run, _, part) = run, name.partition(" ")
        words.append(part if run == run_before else name)
    return " -> ".join(words)


def _workers_text(machine: Machine, workers: int) -> str:
    """Name the workers by what was measured.

    >>> cpu = Machine(device="cpu", name="cpu (some)", threads=1, jobs=2, torch="2", commit=None)
    >>> _workers_text(cpu, 2)
    'on 2 CPU workers of 1 thread each like cpu (some)'
    """
    some = "" if workers == 1 else "s"
    if machine.device == "cuda":
        return f"on {workers} GPU{some} like {machine.name}"
    each = f"{threads_text(machine.threads)}{'' if workers == 1 else ' each'}"
    return f"on {workers} CPU worker{some} of {each} like {machine.name}"
