"""One training in memory: its network, objective, images and state, which can be saved and restored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.data.load import TrainingData
from benchmark.errors import UserError
from benchmark.networks.resnet import network_plan
from benchmark.runtime.seeding import derive_seed
from benchmark.suite.experiment import Experiment
from benchmark.suite.target import drawn_of, target_of
from benchmark.training.checkpoint import TrainingKey
from benchmark.training.leftovers import Leftovers, load_leftovers
from benchmark.training.make_objective import make_objective
from benchmark.training.position import Position
from benchmark.training.processes import Processes
from benchmark.training.progress import resumed_text
from benchmark.training.saving import Saver
from benchmark.training.schedule import updates_per_epoch
from benchmark.training.state import FirstPhase, State, TrainingFailed
from methods.base import Method
from methods.counted import redraw
from methods.sparse.step import keep_kernels, kernels_used


class Run:
    """The state of one call of `train`, which has the same arguments, on one of the processes that make it.

    Raises:
        TrainingFailed: if the method plans another number of epochs than the experiment's.
    """

    def __init__(
        self,
        experiment: Experiment,
        method: Method,
        data: TrainingData,
        folder: Path,
        device: torch.device,
        report: Callable[[str], None],
        first_phase: FirstPhase | None,
        processes: Processes,
    ) -> None:
        self.experiment, self.method, self.folder, self.processes = experiment, method, folder, processes
        self.report = report if processes.main else _silent
        self.device, self.first_phase, self.history = device, first_phase, folder / "history.jsonl"
        self.key = TrainingKey(experiment.run_hash, data.sha256)
        self.training = data.train.to(device)
        self.validation = data.validation.first(experiment.training.selection_images).to(device)
        self.target = target_of(experiment)
        self.phases = tuple(method.phases(experiment.training.epochs, self.target))
        planned = sum(phase.epochs for phase in self.phases)
        if planned != experiment.training.epochs:
            raise TrainingFailed(f"{method.name} plans {planned} epochs, the budget is {experiment.training.epochs}")
        self.taken_over = self.phases[0].epochs if first_phase is not None else 0
        self.objective = make_objective(experiment, data, torch.Generator(device=device), processes)
        torch.manual_seed(derive_seed(experiment.seed, "build"))
        plan = method.resize(network_plan(experiment.architecture, data.info), self.target)
        self.model = method.build(plan, self.target)
        if (drawn := drawn_of(experiment)) is not None:
            redraw(self.model, drawn)
        self.model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.best: dict[str, Tensor] = {}
        self.state = State()

    def leftovers(self) -> Leftovers:
        """Read what an earlier call left in the folder.

        Raises:
            UserError: if a file is damaged, or if the processes of this training do not see the same files.
        """
        if not self.processes.main:
            self.processes.wait()  # the first one sets files aside
        dense = self.target.dense
        leftovers = load_leftovers(self.folder, self.key, dense=dense, first_phase=self.first_phase, report=self.report)
        if self.processes.main:
            self.processes.wait()
        checkpoint = leftovers.checkpoint or {}
        seen = f"{leftovers.network is None} {checkpoint.get('state')} {checkpoint.get('position') is None}"
        if not self.processes.agree_on(seen):
            raise UserError(
                f"the processes of this training do not see the same files in {self.folder}; "
                "their machines need a folder that all of them share"
            )
        return leftovers

    def passes(self) -> int:
        """Return the images sent forward and backward in the whole training, those of a reused first phase included."""
        images = len(self.training) * (self.experiment.training.epochs - self.taken_over)
        return round(images * self.experiment.passes_per_image) + (self.first_phase.passes if self.first_phase else 0)

    def epochs_before(self, index: int) -> int:
        """Return the number of epochs of the phases before phase number `index`."""
        return sum(phase.epochs for phase in self.phases[:index])

    def replay_phase_beginnings(self) -> None:
        """Repeat a method's changes of the network's structure at the beginning of phases; state dicts lack them."""
        for phase in self.phases[: self.state.phase + 1]:
            self.method.begin_phase(self.model, phase)

    def save(self, optimizer: torch.optim.Optimizer, saver: Saver, position: Position | None = None) -> None:
        """Save the state between two epochs, or at a position within one."""
        changing = {
            **vars(self.key),
            "state": vars(self.state),
            "model": self.model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "objective": self.objective.state_dict(),
            "position": None if position is None else vars(position),
            "processes": self.processes.size,
            "kernels": kernels_used(self.model),
        }
        if self.processes.main:
            saver.save(changing, {"best": self.best})

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Restore what `save` saved, but for optimiser and position, and report where training is resumed."""
        processes = checkpoint.get("processes", 1)  # as "position", not in checkpoints of earlier versions
        if self.experiment.training.batch_norm == "local" and processes != self.processes.size:
            raise UserError(
                f"{self.experiment.run} was begun with {processes} processes, each with its own batch norm, and there "
                f"are {self.processes.size} now; resume it with {processes}, or delete {self.folder} to start over"
            )
        if (kernels := checkpoint["kernels"]) is not None:
            keep_kernels(self.model, kernels)
        self.state = State(**checkpoint["state"])
        self.replay_phase_beginnings()
        self.model.load_state_dict(checkpoint["model"])
        self.objective.load_state_dict(checkpoint["objective"])
        self.best = checkpoint["best"]
        done = self.epochs_before(self.state.phase) + self.state.epoch
        updates = updates_per_epoch(len(self.training), self.experiment.training.batch_size)
        position = Position(**(checkpoint.get("position") or {}))
        self.report(resumed_text(done, self.experiment.training.epochs, position.updates, updates))


def _silent(line: str) -> None:
    """Report nothing: one process speaks for all."""
