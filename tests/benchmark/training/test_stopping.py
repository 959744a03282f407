"""A training that is asked to stop leaves after the current update, and its resumption ends with the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from benchmark.data.load import load_training
from benchmark.errors import UserError
from benchmark.runtime import stopping
from benchmark.runtime.hashing import tensors_sha256
from benchmark.runtime.stopping import Stopped
from benchmark.suite.experiment import (
    ArchitectureSpec,
    AttackSpec,
    FastSpec,
    MethodSpec,
    SoftTargetSpec,
    TrainingSpec,
)
from benchmark.suite.settings import EvaluationSpec
from benchmark.training import history, loop, saving, selection
from benchmark.training.checkpoint import save_checkpoint
from benchmark.training.loop import train
from benchmark.training.position import Position
from benchmark.training.progress import Progress
from methods.at import AT
from methods.atmc import Atmc
from methods.edge_popup import EdgePopup
from methods.hydra import Hydra

CPU = torch.device("cpu")
UPDATES = 3  # of an epoch: 24 images in batches of 8


@pytest.fixture(scope="module")
def digits():
    return load_training("digits", None, limit=24)


@pytest.fixture
def make_training(make_experiment, digits):
    """Return the maker of a function that trains in a folder and returns the training and its lines."""

    def make(method, objective="pgd", epochs=2, weights="binary", batch_norm="synchronised"):
        soft = SoftTargetSpec(enabled=objective == "fast")
        schedule = TrainingSpec(
            epochs=epochs,
            batch_size=8,
            attack=AttackSpec(num_steps=1),
            fast=FastSpec(soft_target=soft),
            selection_steps=1,
            selection_images=20,
            batch_norm=batch_norm,
        )
        experiment = make_experiment(
            dataset="digits",
            epsilon="32/255",
            architecture=ArchitectureSpec(name="resnet6", width=0.0625),
            method=MethodSpec(name=method.name, target="x:Y"),
            weights=weights,
            keep_ratio=method.own_axes.get("keep_ratio", 0.3),
            allocation=1.0,
            objective=objective,
            training=schedule,
            evaluation=EvaluationSpec(images=8),
        )

        def run(folder):
            folder.mkdir(exist_ok=True)
            lines = []
            return train(experiment, method, digits, folder, device=CPU, report=lines.append), lines

        return run

    return make


@pytest.fixture
def stop_after(monkeypatch):
    """Return a function that requests a stop in that update, or step of validation, counted from the call; 0 for never.

    A signal comes while an update is being made, and is noticed after it.
    """

    def arm(number, where="update"):
        left = [number]
        stopping._request.reason = None

        def count_down():
            left[0] -= 1
            if left[0] == 0:
                stopping.request_stop("SIGTERM")

        def counted(progress):
            count_down()
            count(progress)

        def poll():
            count_down()
            stopping.leave_if_requested()

        monkeypatch.setattr(Progress, "count", counted if where == "update" else count)
        monkeypatch.setattr(selection, "leave_if_requested", poll if where == "validation" else leave_if_requested)

    count, leave_if_requested = Progress.count, stopping.leave_if_requested
    yield arm
    stopping._request.reason = None


@dataclass(frozen=True)
class Drawing(AT):
    """Draws from torch's global generator in every update."""

    name: ClassVar[str] = "drawing"

    def after_step(self, model, phase, step):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 1e-3 * torch.randn_like(parameter)


# Stops after updates counted over the whole training: the first and the last of an epoch, within one, across phases.
CASES = [
    (AT(), "pgd", 2, (1, 3, 5)),
    (Drawing(), "pgd", 2, (2, 4)),
    (EdgePopup(), "pgd", 2, (2, 6)),
    (EdgePopup(), "fast", 2, (1, 2, 3, 4, 5)),
    (Hydra(), "trades", 3, (1, 4, 6, 8)),
    (Atmc(interval=2), "half_clean", 3, (2, 3, 7, 8)),
    (Atmc(interval=2, bn_recalibrate=True), "fast", 3, (5, 7, 9)),
]


@pytest.mark.parametrize(("method", "objective", "epochs", "stops"), CASES, ids=lambda value: str(value)[:12])
def test_a_training_stopped_within_epochs_ends_with_the_same_bits(
    tmp_path, make_training, stop_after, method, objective, epochs, stops
):
    run = make_training(method, objective, epochs, "fp" if method.name == "drawing" else "binary")
    whole, _ = run(tmp_path / "whole")

    before = 0
    for stop in stops:
        stop_after(stop - before)
        with pytest.raises(Stopped, match="SIGTERM"):
            run(tmp_path / "broken")
        before = stop
    stop_after(0)
    resumed, lines = run(tmp_path / "broken")

    epoch_done, updates = divmod(stops[-1], UPDATES)
    epoch_done, updates = (epoch_done, updates) if updates else (epoch_done - 1, UPDATES)
    assert f"resumed within epoch {epoch_done + 1}/{epochs}, after {updates} of {UPDATES} updates" in lines
    assert tensors_sha256(resumed.network.state_dict()) == tensors_sha256(whole.network.state_dict())
    assert [line.loss for line in resumed.history] == [line.loss for line in whole.history]
    assert resumed.selected_epoch == whole.selected_epoch
    assert resumed.seconds > 0


@pytest.mark.parametrize("poll", [1, 2])
def test_a_stop_in_validation_leaves_it_and_loses_no_update(tmp_path, make_training, stop_after, poll):
    """Of the second epoch's: the best network so far is in the checkpoint, too."""
    run = make_training(Atmc(interval=2, bn_recalibrate=True), "fast", 3)
    whole, _ = run(tmp_path / "whole")
    polls = 3 + 2  # recalibration's batches, and the attack's step and end, in every epoch

    stop_after(polls + poll, "validation")
    with pytest.raises(Stopped):
        run(tmp_path / "broken")
    stop_after(0)
    resumed, lines = run(tmp_path / "broken")

    assert lines[0] == f"resumed within epoch 2/3, after {UPDATES} of {UPDATES} updates"
    assert tensors_sha256(resumed.network.state_dict()) == tensors_sha256(whole.network.state_dict())
    assert [line.loss for line in resumed.history] == [line.loss for line in whole.history]


def test_a_stop_while_an_epoch_is_logged_leaves_after_its_checkpoint(tmp_path, make_training, stop_after, monkeypatch):
    run = make_training(AT(), epochs=3)
    whole, _ = run(tmp_path / "whole")

    def append(path, line):
        history.append(path, line)
        stopping.request_stop("SIGUSR1")

    with monkeypatch.context() as patch, pytest.raises(Stopped, match="SIGUSR1"):
        patch.setattr(loop, "append", append)
        run(tmp_path / "broken")
    stop_after(0)
    resumed, lines = run(tmp_path / "broken")

    assert lines[0] == "resumed after epoch 1/3"
    assert tensors_sha256(resumed.network.state_dict()) == tensors_sha256(whole.network.state_dict())


def test_a_checkpoint_of_an_earlier_version_resumes(tmp_path, make_training, monkeypatch):
    """It was written between two epochs, and has no position."""
    run = make_training(EdgePopup(), "fast", epochs=3)
    whole, _ = run(tmp_path / "whole")

    def save(path, state):
        del state["position"]
        save_checkpoint(path, state)

    def append(path, line):
        history.append(path, line)
        if line.epoch == 2:
            raise ZeroDivisionError

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(saving, "save_checkpoint", save)
        patch.setattr(loop, "append", append)
        run(tmp_path / "broken")
    resumed, lines = run(tmp_path / "broken")

    assert lines[0] == "resumed after epoch 1/3"
    assert tensors_sha256(resumed.network.state_dict()) == tensors_sha256(whole.network.state_dict())


def test_a_position_saved_on_a_gpu_is_restored_on_a_cpu():
    """There it draws from the epoch's seed again: a generator of the one device has no use for the other's state."""
    position, generator = Position(updates=1), torch.Generator().manual_seed(5)
    position.save_generators(generator)
    on_gpu = {**position.generators, "objective": torch.zeros(16, dtype=torch.uint8), "device": torch.zeros(16)}
    Position(1, None, on_gpu).restore_generators(generator)
    assert generator.initial_seed() == 5


def test_a_stop_whose_checkpoint_cannot_be_written_is_a_failure(tmp_path, make_training, stop_after, monkeypatch):
    run = make_training(AT())

    def fail(path, state):
        raise UserError(f"{path.name} cannot be written (No space left on device)")

    monkeypatch.setattr(saving, "save_checkpoint", fail)
    stop_after(2)
    with pytest.raises(UserError, match="No space left"):
        run(tmp_path / "broken")


def test_local_batch_norm_resumes_only_on_the_same_number_of_processes(tmp_path, make_training, stop_after):
    run = make_training(AT(), batch_norm="local")
    stop_after(2)
    with pytest.raises(Stopped):
        run(tmp_path / "broken")
    stop_after(0)
    path = tmp_path / "broken" / "checkpoint.pt"
    torch.save({**torch.load(path, weights_only=True), "processes": 3}, path)

    with pytest.raises(
        UserError, match="was begun with 3 processes, each with its own batch norm, and there are 1 now"
    ):
        run(tmp_path / "broken")
    assert path.exists()
