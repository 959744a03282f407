"""The one training loop for all methods: phases, schedules, model selection, history and resuming."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmark.data.load import TrainingData
from benchmark.runtime.seeding import derive_seed
from benchmark.runtime.stopping import Stopped, between_updates
from benchmark.suite.experiment import Experiment
from benchmark.training.checkpoint import save_network
from benchmark.training.compiling import compile_network
from benchmark.training.epoch import as_training_images, train_epoch
from benchmark.training.first_phase import save_trained, take_over
from benchmark.training.history import EpochLine, append, read, truncate
from benchmark.training.memory import memory_errors_explained
from benchmark.training.position import Position
from benchmark.training.processes import joined
from benchmark.training.progress import report_seconds
from benchmark.training.run import Run
from benchmark.training.saving import Saver
from benchmark.training.schedule import (
    frozen_digest,
    learning_rate,
    make_optimizer,
    set_trainable,
)
from benchmark.training.selection import Validated, export_and_validate
from benchmark.training.state import FirstPhase, State, Trained, TrainingFailed
from methods.base import Method, Phase
from methods.sparse.step import DENSE, kernels_to_use, kernels_used
from methods.sparse.support import MISSING


def train(
    experiment: Experiment,
    method: Method,
    data: TrainingData,
    folder: Path,
    *,
    device: torch.device,
    report: Callable[[str], None],
    first_phase: FirstPhase | None = None,
) -> Trained:
    """Train one network, resuming from `folder/checkpoint.pt` if there is one.

    A killed and resumed run does the same arithmetic as an uninterrupted one: every epoch has its own random streams,
    and a complete checkpoint is written after each epoch, while the next one runs. A request to stop is met after the
    current update, by a checkpoint within the epoch. A finished training leaves `folder/network.safetensors`, from
    which later calls return at once.

    Where torchrun started several processes, all of them call this, and train the network together. One of them, of
    rank 0, writes the files and reports; all load them.

    Args:
        experiment: what to train.
        method: the configured method.
        data: training and validation images; test images are not accessible here.
        folder: holds checkpoint.pt and history.jsonl; files of training on other images are set aside there.
        device: where images and network live.
        report: receives one line per epoch, and one every few seconds within long epochs.
        first_phase: a finished dense training that replaces the method's first phase.

    Raises:
        Stopped: if a stop was requested; the checkpoint is on disk.
        TrainingFailed: if the loss stops being finite or the method trains what it declared frozen.
        UserError: if the checkpoint is damaged or cannot be written, or if memory runs out.
    """
    with (
        memory_errors_explained(experiment, device),
        joined(device, experiment.training.batch_norm) as processes,
    ):
        return _Loop(experiment, method, data, folder, device, report, first_phase, processes).train()


class _Loop(Run):
    """One call of `train`."""

    _advised = False  # whether this call has said what numba would gain

    def train(self) -> Trained:
        leftovers = self.leftovers()
        if leftovers.network is None:
            with Saver(self.folder / "checkpoint.pt") as saver, between_updates():
                self._train_phases(leftovers.checkpoint, saver)
            report_seconds(self.state.seconds, self.state.validation_seconds, self.report)
            if self.processes.main:
                if self.target.dense:
                    save_trained(self.folder, self.model, self.passes(), self.key)
                save_network(self.folder / "network.safetensors", self.best, vars(self.state), self.key)
        else:
            self.best, self.state = leftovers.network[0], State(**leftovers.network[1])
            self.replay_phase_beginnings()
            self.report("training is already finished")
        if self.processes.main:
            (self.folder / "checkpoint.pt").unlink(missing_ok=True)
        network = self.method.export(self.model)
        network.load_state_dict(self.best)
        return Trained(
            network,
            self.state.best_epoch,
            self.state.best_accuracy,
            self.phases,
            self.passes(),
            self.state.seconds,
            read(self.history) if self.processes.main else (),
            self.first_phase,
            True if any(frozen_digest(self.model, phase) for phase in self.phases) else None,  # `_check_frozen` raises
        )

    def _train_phases(self, checkpoint: Mapping[str, Any] | None, saver: Saver) -> None:
        if checkpoint is not None:
            self.restore(checkpoint)
        elif self.first_phase is not None:
            self.method.begin_phase(self.model, self.phases[0])
            take_over(self.model, self.first_phase)
            self.state.phase, self.state.first_phase_sha256 = 1, self.first_phase.weights_sha256
            self.report(f"phase {self.phases[0].name} is that of {self.first_phase.spec.run}")
        done = self.epochs_before(self.state.phase) + self.state.epoch
        if self.processes.main:
            truncate(self.history, done - self.taken_over)
        for index in range(self.state.phase, len(self.phases)):
            resumed = checkpoint if checkpoint is not None and index == self.state.phase else None
            self._train_phase(index, resumed, saver)

    def _train_phase(self, index: int, resumed: Mapping[str, Any] | None, saver: Saver) -> None:
        phase = self.phases[index]
        trained = set_trainable(self.model, phase)
        if resumed is None:
            torch.manual_seed(derive_seed(self.experiment.seed, "begin", index))
            self.method.begin_phase(self.model, phase)
            self.state.phase, self.state.epoch, self.state.step = index, 0, 0
            self.state.frozen_digest = frozen_digest(self.model, phase)
        if not trained:
            raise TrainingFailed(f"phase {phase.name} trains {sorted(phase.trains)}, but the network has none of these")
        optimizer = make_optimizer(phase, trained)
        if resumed is not None:
            optimizer.load_state_dict(resumed["optimizer"])
        batch_size = self.experiment.training.batch_size
        batch, steps = self.training.images[:batch_size], phase.epochs * len(self.training) // batch_size
        if self.processes.size == 1:  # what is exchanged within a pass, and batches of many sizes, cannot be compiled
            compile_network(self.model, as_training_images(batch), self.objective, steps=steps, report=self.report)
        position = Position() if resumed is None else Position(**(resumed.get("position") or {}))
        for epoch in range(self.state.epoch, phase.epochs):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(phase, epoch)
            self._train_epoch(phase, epoch, position, optimizer, saver)
            self.save(optimizer, saver)
            position = Position()
            self.processes.leave_if_requested()

    def _train_epoch(
        self, phase: Phase, epoch: int, position: Position, optimizer: torch.optim.Optimizer, saver: Saver
    ) -> None:
        """Train, export, validate, and select; leave with a checkpoint within the epoch if a stop is requested."""
        started, batch_size = time.perf_counter(), self.experiment.training.batch_size
        try:
            loss = train_epoch(
                *(self.method, self.model, phase, self.objective, optimizer, self.training, position),
                epoch=epoch,
                first_step=self.state.step,
                batch_size=batch_size,
                seed=derive_seed(self.experiment.seed, "epoch", self.state.phase, epoch),
                report=self.report,
                processes=self.processes,
            )
            self.processes.check_same(self.model)
            validated = export_and_validate(
                *(self.method, self.model, self.training, self.validation, self.experiment, self.processes)
            )
        except Stopped:
            # Validation, which may take long, is left too: it changes nothing, so that a checkpoint after all updates
            # of the epoch loses none of them, and the resumed run validates again.
            self.state.seconds += time.perf_counter() - started
            self.save(optimizer, saver, position)
            raise
        if self.state.phase == len(self.phases) - 1 and validated.robust >= self.state.best_accuracy:
            # Only the last phase's networks are compressed to the target.
            self.state.best_accuracy = validated.robust
            self.state.best_epoch = self.epochs_before(self.state.phase) + epoch + 1
            self.best = {name: value.detach().cpu().clone() for name, value in validated.network.state_dict().items()}
        self.state.step += position.updates
        self.state.epoch = epoch + 1
        self.state.seconds += time.perf_counter() - started
        self.state.validation_seconds += validated.seconds
        self._check_frozen(phase)
        self._log(phase, epoch, loss, validated)

    def _check_frozen(self, phase: Phase) -> None:
        if frozen_digest(self.model, phase) != self.state.frozen_digest:
            raise TrainingFailed(f"{self.method.name} changed parameters that phase {phase.name} declares frozen")

    def _log(self, phase: Phase, epoch: int, loss: float, validated: Validated) -> None:
        line = EpochLine(
            epoch=self.epochs_before(self.state.phase) + epoch + 1,
            phase=phase.name,
            lr=learning_rate(phase, epoch),
            loss=loss,
            validation_clean_accuracy=validated.clean,
            validation_robust_accuracy=validated.robust,
            kept_weights=validated.kept_weights,
            seconds=round(self.state.seconds, 3),
            validation_seconds=round(validated.seconds, 3),
        )
        if self.processes.main:
            append(self.history, line)
        self.report(line.text(self.experiment.training.epochs))
        if not self._advised and kernels_used(self.model) == kernels_to_use() == DENSE:
            self._advised = True
            self.report(f"{phase.name:<10} {MISSING}")
