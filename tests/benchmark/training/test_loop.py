"""The training loop: resume is bit-identical, frozen parts stay frozen, selection uses the exported network."""

from __future__ import annotations

import copy
import json
import re
import threading
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from benchmark.data.load import load_training
from benchmark.errors import UserError
from benchmark.networks.resnet import convolutions
from benchmark.runtime.hashing import tensors_sha256
from benchmark.suite.experiment import (
    ArchitectureSpec,
    AttackSpec,
    Experiment,
    FastSpec,
    MethodSpec,
    SoftTargetSpec,
    TrainingSpec,
)
from benchmark.suite.settings import EvaluationSpec
from benchmark.training import loop, saving, selection
from benchmark.training.loop import train
from benchmark.training.selection import recalibrate
from benchmark.training.state import TrainingFailed
from methods.allocation import weight_budget
from methods.at import AT
from methods.atmc import Atmc
from methods.base import Phase
from methods.edge_popup import EdgePopup
from methods.hydra import Hydra
from methods.prune_finetune import MagnitudePruning, RandomPruning
from methods.rst import RST
from methods.small_dense import SmallDense
from methods.sparse import step as sparse_step
from methods.sparse.support import MISSING

CPU = torch.device("cpu")


def experiment(method, **changes):
    settings = {
        "suite": "test",
        "preset": "own",
        "dataset": "digits",
        "epsilon": "32/255",
        "architecture": ArchitectureSpec(name="resnet6", width=0.0625),
        "method": MethodSpec(name=method.name, target="x:Y"),
        "weights": "binary",
        "keep_ratio": method.own_axes.get("keep_ratio", 0.3),
        "allocation": 1.0,
        "training": TrainingSpec(epochs=3, batch_size=16, attack=AttackSpec(num_steps=2), selection_steps=2),
        "evaluation": EvaluationSpec(images=8),
        "seed": 0,
    }
    return Experiment(**{**settings, **changes})


@pytest.fixture(scope="module")
def digits():
    return load_training("digits", None, limit=48)


class Stopped(Exception):
    """Simulates a kill; raised from the progress report."""


def stop_after(epochs):
    seen = []

    def report(line):
        if "loss" in line:
            seen.append(line)
            if len(seen) == epochs:
                raise Stopped

    return report


def ignore(line):
    pass


# Kills within phases and between any two; the objective `fast` also has perturbations to restore.
RESUMED = [
    (AT(), "pgd", 3, (1, 2)),
    (AT(), "fast", 3, (2,)),
    (EdgePopup(), "pgd", 3, (1, 2)),
    (EdgePopup(), "fast", 3, (3,)),
    (Hydra(), "trades", 5, (2, 3, 4, 5)),
    (Hydra(binary_phases="finetune"), "fast", 5, (4, 5)),
    (Atmc(interval=2), "half_clean", 6, (4, 5, 6)),
    (Atmc(interval=2, bn_recalibrate=True), "pgd", 4, (3, 4)),
    (MagnitudePruning(), "clean", 4, (3, 4)),
    (RandomPruning(), "pgd", 4, (3, 4)),
    (RST(), "pgd", 3, (2,)),
    (SmallDense(), "pgd", 3, (2,)),
]


@pytest.mark.parametrize(
    ("method", "objective", "epochs", "kills"),
    RESUMED,
    ids=[f"{method.name}-{objective}" for method, objective, *_ in RESUMED],
)
@pytest.mark.parametrize("weights", ["fp", "binary"])
def test_a_killed_and_resumed_run_ends_with_the_same_bits(tmp_path, digits, method, weights, objective, epochs, kills):
    schedule = TrainingSpec(
        epochs=epochs,
        batch_size=16,
        attack=AttackSpec(num_steps=1),
        selection_steps=1,
        fast=FastSpec(soft_target=SoftTargetSpec(enabled=weights == "fp")),
    )
    setting = experiment(method, weights=weights, objective=objective, training=schedule)

    def losses(folder):
        return [json.loads(line)["loss"] for line in (folder / "history.jsonl").read_text().splitlines()]

    whole = tmp_path / "whole"
    whole.mkdir()
    unkilled = train(setting, method, digits, whole, device=CPU, report=ignore)
    assert len(losses(whole)) == epochs
    broken, finished = tmp_path / "broken", 0
    broken.mkdir()
    for killed_in in kills:  # each session but the first resumes, and is killed later than the one before
        with pytest.raises(Stopped):  # before the checkpoint of epoch `killed_in` is written
            train(setting, method, digits, broken, device=CPU, report=stop_after(killed_in - finished))
        finished = killed_in - 1
    resumed = train(setting, method, digits, broken, device=CPU, report=ignore)

    assert tensors_sha256(resumed.network.state_dict()) == tensors_sha256(unkilled.network.state_dict())
    assert resumed.validation_robust_accuracy == unkilled.validation_robust_accuracy
    assert resumed.selected_epoch == unkilled.selected_epoch
    assert losses(broken) == losses(whole)


@pytest.mark.parametrize("objective", ["pgd", "fast"])
def test_a_run_killed_between_copying_and_writing_a_checkpoint_resumes_from_the_previous_one(
    tmp_path, digits, monkeypatch, objective
):
    """The history is then two epochs ahead."""
    method, schedule = EdgePopup(), TrainingSpec(epochs=5, batch_size=16, attack=AttackSpec(num_steps=1))
    setting = experiment(method, objective=objective, training=schedule)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    unkilled = train(setting, method, digits, whole, device=CPU, report=ignore)

    def save(path, state, write=saving.save_checkpoint):
        if state["state"]["epoch"] < 3:  # the kill comes before the third one is written
            write(path, state)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(saving, "save_checkpoint", save)
        train(setting, method, digits, broken, device=CPU, report=stop_after(4))
    lines = []
    resumed = train(setting, method, digits, broken, device=CPU, report=lines.append)

    assert lines[0] == "resumed after epoch 2/5"
    assert tensors_sha256(resumed.network.state_dict()) == tensors_sha256(unkilled.network.state_dict())
    assert [line.loss for line in resumed.history] == [line.loss for line in unkilled.history]


def test_a_checkpoint_written_late_holds_the_state_of_its_own_epoch(tmp_path, digits, monkeypatch):
    """The next epoch changes network, optimiser and stored perturbations before writing starts."""
    method, setting = EdgePopup(), experiment(EdgePopup(), objective="fast")
    next_epoch = threading.Event()

    def save(path, state, write=saving.save_checkpoint):
        assert next_epoch.wait(timeout=600)
        write(path, state)

    def report(line):
        if "   2/3" in line and "loss" in line:
            next_epoch.set()
            raise Stopped

    monkeypatch.setattr(saving, "save_checkpoint", save)
    with pytest.raises(Stopped):
        train(setting, method, digits, tmp_path, device=CPU, report=report)
    lines = []
    resumed = train(setting, method, digits, tmp_path, device=CPU, report=lines.append)

    (tmp_path / "whole").mkdir()
    unkilled = train(setting, method, digits, tmp_path / "whole", device=CPU, report=ignore)
    assert lines[0] == "resumed after epoch 1/3"
    assert tensors_sha256(resumed.network.state_dict()) == tensors_sha256(unkilled.network.state_dict())


def test_a_full_disk_stops_the_run_after_the_next_epoch(tmp_path, digits, monkeypatch):
    def fail(state, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(UserError, match=r"cannot be written .*No space left"):
        train(experiment(AT()), AT(), digits, tmp_path, device=CPU, report=ignore)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2


def test_the_time_of_validation_is_recorded_per_epoch_and_reported_at_the_end(tmp_path, digits):
    lines = []
    trained = train(experiment(AT()), AT(), digits, tmp_path, device=CPU, report=lines.append)

    parts = [line.validation_seconds for line in trained.history]
    assert len(parts) == 3 and all(part > 0 for part in parts)
    assert sum(parts) < trained.seconds
    assert re.search(r"  validation \d+\.\ds  ", lines[0])
    assert lines[-1].startswith("trained in ") and "of these validation" in lines[-1]


def test_validation_can_be_limited_to_the_first_images(tmp_path, digits, monkeypatch):
    seen = []
    monkeypatch.setattr(selection, "validate", lambda network, images, *_: (seen.append(images), (0.0, 0.0))[1])
    plain = experiment(AT())
    limited = experiment(AT(), training=plain.training.model_copy(update={"selection_images": 5}))

    train(limited, AT(), digits, tmp_path, device=CPU, report=ignore)

    assert all(torch.equal(images.images, digits.validation.images[:5]) for images in seen) and len(seen) == 3
    assert limited.run_hash != plain.run_hash


def test_running_out_of_memory_ends_training_in_one_sentence(tmp_path, digits, monkeypatch):
    def allocate(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(loop, "train_epoch", allocate)
    with pytest.raises(UserError, match="ran out of memory on cpu with batches of 16 images"):
        train(experiment(AT()), AT(), digits, tmp_path, device=CPU, report=ignore)


def test_a_run_killed_after_training_keeps_its_selected_network(tmp_path, digits):
    """If the evaluation was killed, training is complete and does not run again."""
    setting = experiment(EdgePopup())
    first = train(setting, EdgePopup(), digits, tmp_path, device=CPU, report=ignore)
    lines = []
    second = train(setting, EdgePopup(), digits, tmp_path, device=CPU, report=lines.append)

    assert tensors_sha256(second.network.state_dict()) == tensors_sha256(first.network.state_dict())
    assert second.selected_epoch == first.selected_epoch
    assert lines == ["training is already finished"]


def test_different_seeds_give_different_networks(tmp_path, digits):
    hashes = set()
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        trained = train(experiment(AT(), seed=seed), AT(), digits, folder, device=CPU, report=ignore)
        hashes.add(tensors_sha256(trained.network.state_dict()))
    assert len(hashes) == 2


def test_a_checkpoint_of_another_experiment_is_set_aside(tmp_path, digits):
    with pytest.raises(Stopped):
        train(experiment(AT()), AT(), digits, tmp_path, device=CPU, report=stop_after(2))
    before, lines = (tmp_path / "checkpoint.pt").read_bytes(), []

    trained = train(experiment(AT(), seed=5), AT(), digits, tmp_path, device=CPU, report=lines.append)

    assert "set aside: " in lines[0] and "belongs to run" in lines[0] and "training starts over" in lines[0]
    assert (tmp_path / "set-aside-1" / "checkpoint.pt").read_bytes() == before
    assert [line.epoch for line in trained.history] == list(range(1, len(trained.history) + 1))


def test_the_selected_network_is_the_best_exported_one_not_the_last(tmp_path, digits):
    """The history and the selection agree; ties go to the later epoch."""
    trained = train(experiment(EdgePopup()), EdgePopup(), digits, tmp_path, device=CPU, report=ignore)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    best = max(lines, key=lambda line: (line["validation_robust_accuracy"], line["epoch"]))
    assert trained.selected_epoch == best["epoch"]
    assert trained.validation_robust_accuracy == best["validation_robust_accuracy"]


@pytest.mark.parametrize("allocation", [1.0, "global"])
def test_a_better_network_of_an_earlier_phase_is_not_selected(tmp_path, digits, monkeypatch, allocation):
    """Such a network is not compressed yet."""
    accuracies = iter([0.9, 0.8, 0.2, 0.3, 0.1])
    monkeypatch.setattr(selection, "validate", lambda *_: (1.0, next(accuracies)))
    method, schedule = MagnitudePruning(pretrain_share=0.4), TrainingSpec(epochs=5, batch_size=16)
    setting = experiment(method, allocation=allocation, objective="clean", training=schedule)

    trained = train(setting, method, digits, tmp_path, device=CPU, report=ignore)

    assert [(phase.name, phase.epochs) for phase in trained.phases] == [("pretrain", 2), ("finetune", 3)]
    assert (trained.selected_epoch, trained.validation_robust_accuracy) == (4, 0.3)
    weights = [conv.weight for conv in convolutions(trained.network).values()]
    budget = weight_budget(sum(weight.numel() for weight in weights), 0.3)
    assert sum(int(weight.count_nonzero()) for weight in weights) == budget


def test_passes_count_every_forward_and_backward_of_a_training_image(tmp_path, digits):
    trained = train(experiment(AT()), AT(), digits, tmp_path, device=CPU, report=ignore)
    assert trained.passes == 48 * 3 * (2 + 1)


def test_the_mode_and_statistics_of_the_exported_network_are_for_evaluation(tmp_path, digits):
    trained = train(experiment(AT()), AT(), digits, tmp_path, device=CPU, report=ignore)
    assert not trained.network.training
    assert not any(parameter.requires_grad for parameter in trained.network.parameters())


@pytest.mark.parametrize("weights", ["fp", "binary"])
def test_recalibration_changes_the_final_statistics_but_not_training(tmp_path, digits, weights):
    """Equal losses show that neither the trained network nor its random numbers are affected."""
    runs = {}
    for method in (Atmc(interval=2), Atmc(interval=2, bn_recalibrate=True)):
        folder = tmp_path / str(method.bn_recalibrate)
        folder.mkdir()
        trained = train(experiment(method, weights=weights), method, digits, folder, device=CPU, report=ignore)
        again = copy.deepcopy(trained.network)
        recalibrate(again, digits.train, batch_size=16)
        lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        own = tensors_sha256(trained.network.state_dict()) == tensors_sha256(again.state_dict())
        runs[method.bn_recalibrate] = own, [line["loss"] for line in lines]

    assert runs[True][0] and not runs[False][0]
    assert runs[True][1] == runs[False][1]


def spy(function, name, events):
    """Wrap a function so that each call records its name."""

    def called(*arguments, **settings):
        events.append(name)
        return function(*arguments, **settings)

    return called


@dataclass(frozen=True)
class Recalibrated(AT):
    """Has no such field, only the attribute."""

    name: ClassVar[str] = "recalibrated"
    bn_recalibrate = True


def test_every_epochs_network_is_recalibrated_before_it_is_validated_if_the_method_says_so(
    tmp_path, digits, monkeypatch
):
    events = []
    for name in ("recalibrate", "validate"):
        monkeypatch.setattr(selection, name, spy(getattr(selection, name), name, events))

    for method in (AT(), Recalibrated()):
        folder = tmp_path / method.name
        folder.mkdir()
        train(experiment(method), method, digits, folder, device=CPU, report=ignore)

    assert events == ["validate"] * 3 + ["recalibrate", "validate"] * 3


@dataclass(frozen=True)
class Meddler(EdgePopup):
    """Breaks its promise: changes the weights it declared frozen."""

    name: ClassVar[str] = "meddler"

    def after_step(self, model, phase, step):
        with torch.no_grad():
            next(p for n, p in model.named_parameters() if n.endswith("conv1.weight")).add_(1.0)


def test_a_method_that_changes_frozen_parameters_fails(tmp_path, digits):
    with pytest.raises(TrainingFailed, match="declares frozen"):
        train(experiment(Meddler()), Meddler(), digits, tmp_path, device=CPU, report=ignore)


@dataclass(frozen=True)
class Spendthrift(AT):
    """Plans more epochs than its budget."""

    name: ClassVar[str] = "spendthrift"

    def phases(self, epochs, target):
        return [Phase("train", epochs + 1, frozenset({"weights"}), 0.1)]


def test_phases_must_add_up_to_the_epoch_budget(tmp_path, digits):
    with pytest.raises(TrainingFailed, match="plans 4 epochs, the budget is 3"):
        train(experiment(Spendthrift()), Spendthrift(), digits, tmp_path, device=CPU, report=ignore)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, digits):
    method = AT(lr=1e30)
    with pytest.raises(TrainingFailed, match="lower the learning rate"):
        train(experiment(method, weights="fp"), method, digits, tmp_path, device=CPU, report=ignore)


@pytest.mark.parametrize(("most", "times"), [(1.0, 1), (0.0, 0)])  # share of a dense pass that may be sparse
def test_without_numba_one_line_says_what_it_would_gain(digits, tmp_path, monkeypatch, most, times):
    monkeypatch.setattr(sparse_step, "MAX_SHARE", most)
    monkeypatch.setattr(sparse_step, "kernels", lambda: None)
    monkeypatch.setattr(sparse_step, "kernel_name", lambda: None)
    lines = []

    train(experiment(EdgePopup()), EdgePopup(), digits, tmp_path, device=CPU, report=lines.append)

    assert [line.endswith(MISSING) for line in lines].count(True) == times
    assert "extra `fast`" in MISSING


def test_with_numba_nothing_is_said_about_it(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(sparse_step, "kernel_name", lambda: "sparse")
    lines = []

    train(experiment(EdgePopup()), EdgePopup(), digits, tmp_path, device=CPU, report=lines.append)

    assert not any("numba" in line for line in lines)
