"""A work order: everything a worker process needs to run one experiment, written to its work folder as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from benchmark.errors import UserError
from benchmark.files.plain import refuse_links
from benchmark.results.store import write_atomic
from benchmark.suite.experiment import Experiment
from benchmark.suite.settings import Strict

FAILURE = "failed.txt"  # in the work folder: why the run failed


class WorkOrder(Strict):
    """One experiment, and settings that do not change its result."""

    experiment: Experiment
    out: Path  # records go to out/records, everything else to out/work
    data_dir: Path | None
    device: Literal["cpu", "cuda", "auto"]  # auto: the GPU if the worker finds one
    threads: int  # torch threads; float sums depend on it, so a resumed run keeps its first value
    command: str  # what the user typed
    trained_for: str | None = None  # protocol of the record whose artifact is measured again; None: train a network
    shards: int = Field(default=1, ge=1)  # of AutoAttack, whose random draws depend on them
    processes: int = Field(default=1, ge=1)  # that train this network together, each on a GPU of its own
    lease_seconds: float = Field(default=60.0, gt=0)  # after which a silent worker counts as dead

    @property
    def folder(self) -> Path:
        """Where checkpoint, history, log and traceback of this run lie."""
        return work_folder(self.out, self.experiment.run)

    @property
    def journal(self) -> Path:
        """Where finished batches of AutoAttack lie until the record is written; raises UserError if it is a link."""
        return refuse_links(self.folder / "autoattack", self.out)

    def save(self) -> Path:
        """Write the order into the work folder and return its path."""
        path = self.folder / "order.json"
        write_atomic(path, self.model_dump_json(indent=2) + "\n")
        return path


def work_folder(out: Path, run: str) -> Path:
    """Return the work folder of a run by its name; raises UserError if it lies behind a link below `out`."""
    return refuse_links(out / "work" / run, out)


def has_begun(folder: Path) -> bool:
    """Return whether a run has left something to resume from: a checkpoint, or the network of a finished training."""
    return (folder / "checkpoint.pt").exists() or (folder / "network.safetensors").exists()


def started_threads(out: Path, experiment: Experiment) -> int | None:
    """Return the thread count of a run that has begun: resuming with another one would change its float sums."""
    folder = work_folder(out, experiment.run)
    if not has_begun(folder) or not (folder / "order.json").exists():
        return None
    return load_order(folder / "order.json").threads


def load_order(path: Path) -> WorkOrder:
    """Read a work order.

    Raises:
        UserError: if the file is damaged or was written by another version.
    """
    try:
        return WorkOrder.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"work order {path} cannot be read; delete it, or its folder to train this run again") from None
