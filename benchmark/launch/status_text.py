"""What `status` prints: running, abandoned, failed, stopped and waiting runs, then the totals."""

from __future__ import annotations

from collections.abc import Iterator

from benchmark.launch.status import RunStatus, State, Status, Worker
from benchmark.runtime.progress import duration

SHOWN = 20  # at most, of each state but "running"
_NOTES: dict[State, str] = {
    "running": "",
    "abandoned": "; the next `run` takes over what a dead process left",
    "failed": "; `run` tries them again",
    "stopped": "; the same `run` command resumes them",
    "waiting": "",
}


def status_lines(status: Status) -> Iterator[str]:
    """Yield the lines for an output folder."""
    for state, note in _NOTES.items():
        runs = [run for run in status.runs if run.state == state]
        if not runs:
            continue
        yield f"{state}: {len(runs)}{note}"
        if state == "waiting":
            continue
        shown = runs if state == "running" else runs[:SHOWN]
        for run in shown:
            yield from _run_lines(run)
        if len(shown) < len(runs):
            yield f"  and {len(runs) - len(shown)} more"
    yield f"{status.out}: {status.records:,} records, {_count(status)}"


def _run_lines(run: RunStatus) -> Iterator[str]:
    yield f"  {run.run}{_epoch(run)}"
    for worker in run.workers:
        if worker.alive or run.state != "running":
            yield f"    {_worker(worker)}"
    if run.reason:
        yield f"    {run.reason}"
    if run.line:
        yield f"    {run.line}"


def _epoch(run: RunStatus) -> str:
    if run.epochs is None:
        return ""
    left = "" if run.seconds_left is None else f", training ends in about {duration(run.seconds_left)}"
    return f"  epoch {run.epoch}/{run.epochs}{left if run.state == 'running' else ''}"


def _worker(worker: Worker) -> str:
    where = f"host {worker.host}, process {worker.pid}"
    if worker.alive:
        return f"{worker.part}: {where}, since {worker.since} UTC"
    return f"{worker.part}: abandoned by {where}, which had it since {worker.since} UTC"


def _count(status: Status) -> str:
    states = [run.state for run in status.runs]
    return ", ".join(f"{states.count(state)} {state}" for state in _NOTES if state in states) or "nothing else"
