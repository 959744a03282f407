"""A work order: everything a worker process needs to run one experiment, written to its work folder as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from benchmark.errors import UserError
from benchmark.files.plain import refuse_links
from benchmark.launch.lease_file import MAX_SECONDS
from benchmark.launch.trackers import TrackerName
from benchmark.results.store import write_atomic
from benchmark.suite.experiment import Experiment
from benchmark.suite.settings import Strict

ORDER = "order.json"  # in the work folder: with which the run has begun
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
    track: TrackerName | None = None  # to which the history is sent, too
    lease_seconds: float = Field(default=60.0, gt=0, le=MAX_SECONDS)  # after which a silent worker counts as dead

    @property
    def folder(self) -> Path:
        """Where checkpoint, history, log and traceback of this run lie."""
        return work_folder(self.out, self.experiment.run)

    @property
    def journal(self) -> Path:
        """Where finished batches of AutoAttack lie until the record is written; raises UserError if it is a link."""
        return refuse_links(self.folder / "autoattack", self.out)

    @property
    def path(self) -> Path:
        """Where the order lies for its workers; orders with other shards lie beside each other."""
        return self.folder / (ORDER if self.shards == 1 else f"order-{self.shards}-shards.json")

    def save(self) -> Path:
        """Write the order into the work folder and return its path."""
        write_atomic(self.path, self.model_dump_json(indent=2) + "\n")
        return self.path

    def save_beginning(self) -> None:
        """Write the order, also as the one with which its run has begun; see `started_threads`."""
        self.save()
        if self.path.name != ORDER:
            write_atomic(self.folder / ORDER, self.model_dump_json(indent=2) + "\n")

    def issue(self) -> WorkOrder:
        """Write the order for its workers, and return it as they find it: a run that has begun keeps its threads."""
        threads = started_threads(self.out, self.experiment) or self.threads
        order = self if threads == self.threads else self.model_copy(update={"threads": threads})
        order.save()
        return order


def work_folder(out: Path, run: str) -> Path:
    """Return the work folder of a run by its name; raises UserError if it lies behind a link below `out`."""
    return refuse_links(out / "work" / run, out)


def has_begun(folder: Path) -> bool:
    """Return whether a run has left something to resume from: a checkpoint, or the network of a finished training."""
    return (folder / "checkpoint.pt").exists() or (folder / "network.safetensors").exists()


def started_order(out: Path, experiment: Experiment) -> WorkOrder | None:
    """Return the order with which a run has begun; None if it has not."""
    folder = work_folder(out, experiment.run)
    return load_order(folder / ORDER) if has_begun(folder) and (folder / ORDER).exists() else None


def started_threads(out: Path, experiment: Experiment) -> int | None:
    """Return the thread count of a run that has begun: resuming with another one would change its float sums."""
    started = started_order(out, experiment)
    return None if started is None else started.threads


def load_order(path: Path) -> WorkOrder:
    """Read a work order.

    Raises:
        UserError: if the file is damaged or was written by another version.
    """
    try:
        return WorkOrder.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"there is no work order {path} ({error.strerror}); give the order.json of a work folder"
        ) from None
    except ValidationError:
        raise UserError(f"work order {path} cannot be read; delete it, or its folder to train this run again") from None
