"""The trackers that `--track` names: one small adapter each. Their packages are imported when a run is opened."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from benchmark.errors import UserError, suggestion

TrackerName = Literal["tensorboard", "wandb", "trackio"]
Values = Mapping[str, float | str]

_INSTALL: dict[TrackerName, str] = {
    "tensorboard": "pip install -e '.[tensorboard]'",
    "wandb": "pip install -e '.[wandb]'",
    # Not an extra of this project: it asks for an older Pillow than the one that is pinned here.
    "trackio": "pip install trackio",
}


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker learns about a run.

    Attributes:
        name: of the run.
        project: what the run belongs to: its suite.
        id: the same whenever the run is resumed.
        config: of the experiment, as plain data.
        folder: for a tracker that writes files.
        next_epoch: the first epoch that it has not got, from 1.
    """

    name: str
    project: str
    id: str
    config: Mapping[str, Any]
    folder: Path
    next_epoch: int


class Tracker(Protocol):
    """An open run of a tracker."""

    def log(self, epoch: int, values: Values) -> None:
        """Take the values of one epoch."""

    def close(self) -> None:
        """Write everything out; nothing follows."""


def check_tracker(name: str, *, here: bool = True) -> TrackerName:
    """Return the name of a tracker, whose package must be installed if it is used `here`.

    Raises:
        UserError: if there is no such tracker, or it is not installed.
    """
    for known in get_args(TrackerName):
        if name == known:
            if here and importlib.util.find_spec(known) is None:
                raise UserError(f"--track {known} needs a package that is not installed: {_INSTALL[known]}")
            tracker: TrackerName = known
            return tracker
    names = get_args(TrackerName)
    raise UserError(f"unknown tracker {name!r}.{suggestion(name, names)} Known: {', '.join(names)}")


def open_tracker(name: TrackerName, run: TrackedRun) -> Tracker:
    """Open a run, a new one or the one that it continues; raises whatever the tracker raises."""
    kinds: dict[TrackerName, Callable[[TrackedRun], Tracker]] = {
        "tensorboard": _TensorBoard,
        "wandb": _Wandb,
        "trackio": _Trackio,
    }
    check_tracker(name)
    return kinds[name](run)


class _TensorBoard:
    """Event files, one folder for each run."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What was written of later epochs before a kill is dropped by whoever reads the files.
        purge = {"purge_step": run.next_epoch} if run.next_epoch > 1 else {}
        self._writer: Any = SummaryWriter(str(run.folder / run.name), **purge)
        if run.next_epoch == 1:
            self._writer.add_text("config", f"```\n{json.dumps(run.config, indent=2)}\n```", 0)

    def log(self, epoch: int, values: Values) -> None:
        for name, value in values.items():
            if isinstance(value, str):
                self._writer.add_text(name, value, epoch)
            else:
                self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """Weights & Biases; its environment variables, such as WANDB_MODE and WANDB_PROJECT, apply."""

    def __init__(self, run: TrackedRun) -> None:
        wandb: Any = importlib.import_module("wandb")

        run.folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", run.project),
            name=run.name,
            id=run.id,
            resume="allow",
            config=dict(run.config),
            dir=str(run.folder),
        )

    def log(self, epoch: int, values: Values) -> None:
        self._run.log(dict(values), step=epoch)

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """Trackio, which keeps its runs in a folder of its own, see TRACKIO_DIR."""

    def __init__(self, run: TrackedRun) -> None:
        self._trackio: Any = importlib.import_module("trackio")
        self._trackio.init(project=run.project, name=f"{run.name}-{run.id}", config=dict(run.config), resume="allow")

    def log(self, epoch: int, values: Values) -> None:
        self._trackio.log(dict(values), step=epoch)

    def close(self) -> None:
        self._trackio.finish()
