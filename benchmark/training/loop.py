"""The one training loop for all methods: phases, schedules, model selection, history and resuming."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.data.load import TrainingData
from benchmark.networks.resnet import convolutions, network_plan
from benchmark.runtime.seeding import derive_seed
from benchmark.suite.experiment import Experiment
from benchmark.suite.target import drawn_of, target_of
from benchmark.training.checkpoint import TrainingKey, save_network
from benchmark.training.compiling import compile_network
from benchmark.training.epoch import as_training_images, train_epoch
from benchmark.training.first_phase import save_trained, take_over
from benchmark.training.history import EpochLine, append, read, truncate
from benchmark.training.leftovers import load_leftovers
from benchmark.training.make_objective import make_objective
from benchmark.training.memory import memory_errors_explained
from benchmark.training.progress import report_seconds
from benchmark.training.saving import Saver
from benchmark.training.schedule import frozen_digest, learning_rate, make_optimizer, set_trainable
from benchmark.training.selection import recalibrate, validate
from benchmark.training.state import FirstPhase, State, Trained, TrainingFailed
from methods.base import Method, Phase
from methods.counted import redraw


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
    and a complete checkpoint is written after each epoch, while the next one runs. A finished training leaves
    `folder/network.safetensors`, from which later calls return at once.

    Args:
        experiment: what to train.
        method: the configured method.
        data: training and validation images; test images are not accessible here.
        folder: holds checkpoint.pt and history.jsonl; files of training on other images are set aside there.
        device: where images and network live.
        report: receives one line per epoch, and one every few seconds within long epochs.
        first_phase: a finished dense training that replaces the method's first phase.

    Raises:
        TrainingFailed: if the loss stops being finite or the method trains what it declared frozen.
        UserError: if the checkpoint is damaged or cannot be written, or if memory runs out.
    """
    with memory_errors_explained(experiment, device):
        return _Run(experiment, method, data, folder, device, report, first_phase).train()


class _Run:
    """The state of one call of `train`."""

    def __init__(
        self,
        experiment: Experiment,
        method: Method,
        data: TrainingData,
        folder: Path,
        device: torch.device,
        report: Callable[[str], None],
        first_phase: FirstPhase | None,
    ) -> None:
        self.experiment, self.method, self.folder, self.report = experiment, method, folder, report
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
        self.objective = make_objective(experiment, data, torch.Generator(device=device))
        torch.manual_seed(derive_seed(experiment.seed, "build"))
        plan = method.resize(network_plan(experiment.architecture, data.info), self.target)
        self.model = method.build(plan, self.target)
        if (drawn := drawn_of(experiment)) is not None:
            redraw(self.model, drawn)
        self.model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.best: dict[str, Tensor] = {}
        self.state = State()

    def train(self) -> Trained:
        dense = self.target.dense
        leftovers = load_leftovers(self.folder, self.key, dense=dense, first_phase=self.first_phase, report=self.report)
        if leftovers.network is None:
            with Saver(self.folder / "checkpoint.pt") as saver:
                self._train_phases(leftovers.checkpoint, saver)
            report_seconds(self.state.seconds, self.state.validation_seconds, self.report)
            if dense:
                save_trained(self.folder, self.model, self._passes(), self.key)
            save_network(self.folder / "network.safetensors", self.best, vars(self.state), self.key)
        else:
            self.best, self.state = leftovers.network[0], State(**leftovers.network[1])
            self._replay_phase_beginnings()
            self.report("training is already finished")
        (self.folder / "checkpoint.pt").unlink(missing_ok=True)
        network = self.method.export(self.model)
        network.load_state_dict(self.best)
        return Trained(
            network,
            self.state.best_epoch,
            self.state.best_accuracy,
            self.phases,
            self._passes(),
            self.state.seconds,
            read(self.history),
            self.first_phase,
            True if any(frozen_digest(self.model, phase) for phase in self.phases) else None,  # `_check_frozen` raises
        )

    def _train_phases(self, checkpoint: Mapping[str, Any] | None, saver: Saver) -> None:
        if checkpoint is not None:
            self._restore(checkpoint)
        elif self.first_phase is not None:
            self.method.begin_phase(self.model, self.phases[0])
            take_over(self.model, self.first_phase)
            self.state.phase, self.state.first_phase_sha256 = 1, self.first_phase.weights_sha256
            self.report(f"phase {self.phases[0].name} is that of {self.first_phase.spec.run}")
        done = self._epochs_before(self.state.phase) + self.state.epoch
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
        compile_network(self.model, as_training_images(batch), self.objective, steps=steps, report=self.report)
        for epoch in range(self.state.epoch, phase.epochs):
            started = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(phase, epoch)
            loss, updates = train_epoch(
                *(self.method, self.model, phase, self.objective, optimizer, self.training),
                epoch=epoch,
                first_step=self.state.step,
                batch_size=batch_size,
                seed=derive_seed(self.experiment.seed, "epoch", index, epoch),
                report=self.report,
            )
            self.state.step += updates
            trained_until = time.perf_counter()
            network = self.method.export(self.model)
            if self.method.bn_recalibrate:
                recalibrate(network, self.training, batch_size=self.experiment.training.batch_size)
            clean, robust = validate(network, self.validation, self.experiment)
            last_phase = index == len(self.phases) - 1  # only the last phase's networks are compressed to the target
            if last_phase and robust >= self.state.best_accuracy:
                self.state.best_accuracy = robust
                self.state.best_epoch = self._epochs_before(index) + epoch + 1
                self.best = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
            self.state.epoch = epoch + 1
            now = time.perf_counter()
            self.state.seconds += now - started
            self.state.validation_seconds += now - trained_until
            self._check_frozen(phase)
            self._log(phase, epoch, loss, clean, robust, now - trained_until, network)
            self._save(optimizer, saver)

    def _check_frozen(self, phase: Phase) -> None:
        if frozen_digest(self.model, phase) != self.state.frozen_digest:
            raise TrainingFailed(f"{self.method.name} changed parameters that phase {phase.name} declares frozen")

    def _passes(self) -> int:
        images = len(self.training) * (self.experiment.training.epochs - self.taken_over)
        return round(images * self.experiment.passes_per_image) + (self.first_phase.passes if self.first_phase else 0)

    def _epochs_before(self, index: int) -> int:
        return sum(phase.epochs for phase in self.phases[:index])

    def _log(
        self,
        phase: Phase,
        epoch: int,
        loss: float,
        clean: float,
        robust: float,
        validation_seconds: float,
        network: nn.Module,
    ) -> None:
        kept = sum(int(conv.weight.count_nonzero()) for conv in convolutions(network).values())
        line = EpochLine(
            epoch=self._epochs_before(self.state.phase) + epoch + 1,
            phase=phase.name,
            lr=learning_rate(phase, epoch),
            loss=loss,
            validation_clean_accuracy=clean,
            validation_robust_accuracy=robust,
            kept_weights=kept,
            seconds=round(self.state.seconds, 3),
            validation_seconds=round(validation_seconds, 3),
        )
        append(self.history, line)
        self.report(line.text(self.experiment.training.epochs))

    def _replay_phase_beginnings(self) -> None:
        """Repeat a method's changes of the network's structure at the beginning of phases; state dicts lack them."""
        for phase in self.phases[: self.state.phase + 1]:
            self.method.begin_phase(self.model, phase)

    def _save(self, optimizer: torch.optim.Optimizer, saver: Saver) -> None:
        changing = {
            **vars(self.key),
            "state": vars(self.state),
            "model": self.model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "objective": self.objective.state_dict(),
        }
        saver.save(changing, {"best": self.best})

    def _restore(self, checkpoint: Mapping[str, Any]) -> None:
        self.state = State(**checkpoint["state"])
        self._replay_phase_beginnings()
        self.model.load_state_dict(checkpoint["model"])
        self.objective.load_state_dict(checkpoint["objective"])
        self.best = checkpoint["best"]
        done = self._epochs_before(self.state.phase) + self.state.epoch
        self.report(f"resumed after epoch {done}/{self.experiment.training.epochs}")
