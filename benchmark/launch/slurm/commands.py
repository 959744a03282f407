"""The commands of SLURM that are asked: what is queued, what the site allows. Sites need not keep accounts (sacct)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass

from benchmark.errors import UserError
from benchmark.files.text import visible

NEEDED = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
TIMEOUT = 60  # seconds; a busy controller answers late


@dataclass(frozen=True)
class QueuedState:
    """What SLURM says of a job that is queued or runs.

    Attributes:
        state: such as "PENDING".
        reason: why it does not run yet, such as "Priority" or "ReqNodeNotAvail"; of a running job it means nothing.
    """

    state: str
    reason: str = ""


def check_commands() -> None:
    """Raise UserError unless the commands of SLURM are here."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"--launcher slurm needs {', '.join(missing)}, which this machine lacks; run it where you would run "
            "sbatch, usually on a login node, or choose another launcher"
        )


def queued_states() -> dict[str, QueuedState]:
    """Return the state of each job of this user that is queued or runs, by its id, such as "123_4".

    Raises:
        UserError: if SLURM does not answer.
    """
    lines = _answer("squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i|%T|%r").splitlines()
    parts = ([part.strip() for part in f"{line}||".split("|")] for line in lines)
    return {number: QueuedState(state, visible(reason)) for number, state, reason, *_ in parts}


def state_of(job: str) -> str | None:
    """Return the state of one job, such as "RUNNING"; None if it is neither queued nor runs, or nobody answers."""
    try:
        return _answer("squeue", "--noheader", f"--jobs={job}", "--format=%T").strip() or None
    except UserError:
        return None


def cancel(jobs: Collection[str]) -> None:
    """End jobs: those that run are signalled, save their state and leave.

    Raises:
        UserError: if SLURM refuses.
    """
    if jobs:
        _answer("scancel", "--quiet", *sorted(jobs))  # quiet: some may have ended by now


def largest_array() -> int:
    """Return how many jobs one array may have on this site.

    Raises:
        UserError: if SLURM does not answer.
    """
    match = re.search(r"MaxArraySize\s*=\s*([0-9]+)", _answer("scontrol", "show", "config"))
    return max(1, int(match[1])) if match else 1


def has_gpus(partition: str | None) -> bool:
    """Return whether a node of the partition has GPUs; None for any partition.

    Raises:
        UserError: if SLURM does not answer.
    """
    where = [] if partition is None else [f"--partition={partition}"]
    return "gpu" in _answer("sinfo", "--noheader", "--format=%G", *where)


def _answer(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True).stdout
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or error.stdout).strip().splitlines()
        raise UserError(
            f"{command[0]} failed: {reason[-1] if reason else f'exit code {error.returncode}'}; check the settings in "
            "--launcher-config, and that SLURM works"
        ) from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} has not answered for {TIMEOUT} s; try again when SLURM works") from None
