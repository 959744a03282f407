"""Several processes train the network that one process trains: the same masks, weights and perturbations.

This file is also the program of the processes that the tests start: a pair of them for all cases.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmark.data.load import load_training
from benchmark.networks.resnet import network_plan
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
from benchmark.training import loop
from benchmark.training.epoch import train_epoch
from benchmark.training.loop import train
from benchmark.training.make_objective import make_objective
from benchmark.training.position import Position
from benchmark.training.processes import ALONE, joined
from benchmark.training.schedule import even_batches, make_optimizer, set_trainable
from methods.atmc import Atmc
from methods.base import Target
from methods.edge_popup import EdgePopup
from methods.hydra import Hydra
from methods.sparse.step import DENSE, keep_kernels

CPU = torch.device("cpu")
METHODS = {"edge_popup": EdgePopup(), "hydra": Hydra(), "atmc": Atmc(interval=1)}
UPDATES = 3  # of a phase
SEED = 1


@dataclass(frozen=True)
class Case:
    """Some updates in every phase of a method."""

    method: str
    objective: str
    batch_size: int = 8
    batch_norm: str = "synchronised"
    given_images: bool = False  # one update in float32 on adversarial images that depend on the images alone

    @property
    def images(self) -> int:
        return self.batch_size if self.given_images else UPDATES * self.batch_size

    def __str__(self) -> str:
        kind = "-given" if self.given_images else ""
        return f"{self.method}-{self.objective}-{self.batch_size}-{self.batch_norm}{kind}"


OBJECTIVES = ("pgd", "fast", "trades")
EQUAL = [Case(method, objective) for method in METHODS for objective in OBJECTIVES]
EQUAL += [Case("atmc", "half_clean")]
EQUAL += [Case("edge_popup", objective, batch_size=2) for objective in (*OBJECTIVES, "half_clean")]
GRADIENTS = [
    Case(method, objective, batch_size=24, given_images=True)
    for method in METHODS
    for objective in ("pgd", "trades", "half_clean")
]
LOCAL = [Case("hydra", "trades", batch_norm="local"), Case("edge_popup", "fast", 2, batch_norm="local")]


def experiment_of(case: Case) -> Experiment:
    return Experiment(
        suite="test",
        preset="own",
        dataset="digits",
        epsilon="32/255",
        architecture=ArchitectureSpec(name="resnet6", width=0.0625),
        method=MethodSpec(name=case.method, target="x:Y"),
        weights="binary",
        keep_ratio=0.3,
        allocation=1.0,
        objective=case.objective,
        training=TrainingSpec(
            epochs=3,
            batch_size=case.batch_size,
            attack=AttackSpec(num_steps=1),
            fast=FastSpec(soft_target=SoftTargetSpec(enabled=True)),
            batch_norm=case.batch_norm,
        ),
        evaluation=EvaluationSpec(images=8),
        seed=0,
    )


@contextmanager
def everything_in_float64():
    """Compute in double precision also what training turns into float32: images, logits and perturbations."""
    single = Tensor.float
    Tensor.float = Tensor.double
    try:
        yield
    finally:
        Tensor.float = single


def with_given_images(objective):
    """Return the objective with images in place of its attack's, the same on any number of processes."""

    class Given(type(objective)):
        def attack(self, model, images, labels):
            return (images + self.epsilon * (images - 0.5).sign()).clamp(0, 1)

    return Given(**{name: getattr(objective, name) for name in objective.__dataclass_fields__})


def trained(case: Case, processes=ALONE) -> dict[str, Tensor]:
    """Train some updates in every phase; return the network after each phase, last gradients, losses, perturbations."""
    experiment, method = experiment_of(case), METHODS[case.method]
    data = load_training("digits", None, limit=case.images)
    target = Target(experiment.keep_ratio, experiment.weights, experiment.allocation)
    objective = make_objective(experiment, data, torch.Generator(), processes)
    torch.manual_seed(0)
    model = method.build(network_plan(experiment.architecture, data.info), target)
    model.to(memory_format=torch.channels_last)
    keep_kernels(model, DENSE)  # as with several processes; some ReLUs in here are so near to 0 that rounding decides
    if case.given_images:
        objective = with_given_images(objective)
    else:
        model.double()
    results, phases = {}, method.phases(experiment.training.epochs, target)
    # Later phases begin with weights that differ by rounding, which is much in float32.
    for index, phase in enumerate(phases[:1] if case.given_images else phases):
        optimizer = make_optimizer(phase, set_trainable(model, phase))
        method.begin_phase(model, phase)
        loss = train_epoch(
            *(method, model, phase, objective, optimizer, data.train, Position()),
            epoch=0,
            first_step=0,
            batch_size=case.batch_size,
            seed=SEED + index,
            report=lambda line: None,
            processes=processes,
        )
        processes.check_same(model)
        results[f"{phase.name}/loss"] = torch.tensor(loss, dtype=torch.float64)
        for name, value in model.state_dict().items():
            if isinstance(value, Tensor):
                results[f"{phase.name}/{name}"] = value.clone()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                results[f"{phase.name}/gradient of {name}"] = parameter.grad.clone()
    return {**results, **objective.state_dict()}


def trained_precisely(case: Case, processes=ALONE) -> dict[str, Tensor]:
    if case.given_images:
        return trained(case, processes)
    with everything_in_float64():
        return trained(case, processes)


def start_pair(folder: Path, *arguments: str) -> list[subprocess.Popen]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen([sys.executable, __file__, str(folder), *arguments], env={**environment, "RANK": str(rank)})
        for rank in range(2)
    ]


def end_pair(pair: list[subprocess.Popen]) -> None:
    try:
        assert [process.wait(timeout=600) for process in pair] == [0, 0]
    finally:
        for process in pair:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """Return a function that returns what two processes trained in a case."""
    folder = tmp_path_factory.mktemp("pair")
    end_pair(start_pair(folder))
    return lambda case: torch.load(folder / f"{case}.pt", weights_only=True)


@pytest.mark.parametrize("case", EQUAL, ids=str)
def test_three_updates_in_float64_give_the_masks_and_weights_of_one_process(by_two, case):
    one, two = trained_precisely(case), by_two(case)

    assert one.keys() == two.keys()
    for name, value in one.items():
        if value.dtype.is_floating_point:
            torch.testing.assert_close(
                two[name], value, rtol=0, atol=1e-8, msg=lambda text, name=name: f"{name}: {text}"
            )
        else:  # masks, perturbations in their steps, and batch norm's counters
            assert torch.equal(two[name], value), name
    if case.method != "atmc":
        assert any(name.endswith("mask") for name in one)


def test_some_of_these_updates_have_no_image_for_a_process():
    order = torch.randperm(6, generator=torch.Generator().manual_seed(SEED))
    shares = [len({int(row) % 2 for row in rows}) for rows in even_batches(order, 2)]
    assert 1 in shares


@pytest.mark.parametrize("case", GRADIENTS, ids=str)
def test_gradients_in_float32_are_those_of_one_process(by_two, case):
    one, two = trained_precisely(case), by_two(case)

    names = [name for name in one if "/gradient of " in name]
    assert names
    for name in names:
        scale = float(one[name].abs().max())
        assert scale > 0
        assert float((one[name] - two[name]).abs().max()) <= 1e-4 * scale, name


def test_a_process_that_cannot_connect_ends_and_says_so():
    lines = (
        "import threading, torch",
        "from benchmark.training import processes",
        "processes.JOIN_SECONDS = 0.1",
        "processes.dist.init_process_group = lambda *args, **options: threading.Event().wait()",
        "with processes.joined(torch.device('cpu'), 'local'): pass",
    )
    environment = {**os.environ, "RANK": "0", "WORLD_SIZE": "2"}
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 1
    assert ended.stderr.endswith("the processes of this training did not connect within 0.1 s\n")


@pytest.mark.parametrize("case", LOCAL, ids=str)
def test_local_batch_norm_is_another_training_with_equal_networks_on_all_processes(by_two, case):
    """That they are equal, `trained` has checked."""
    one, two = trained_precisely(case), by_two(case)
    assert all(bool(value.isfinite().all()) for value in two.values())
    statistics = [name for name in one if name.endswith("running_mean")]
    assert any(not torch.allclose(one[name], two[name], rtol=1e-4) for name in statistics)


LONG = "EVERY_METHOD" in os.environ  # on all images, and with the objective that is named
WHOLE = {"edge_popup": "fast", "hydra": "trades", "atmc": "pgd"} if LONG else {"edge_popup": "pgd"}


def final_accuracies(folder: Path) -> dict[str, list[float]]:
    """Train whole networks with three seeds and return the validation accuracies of their last epochs, by method."""
    data, accuracies = load_training("digits", None, limit=None if LONG else 600), {}
    for name, objective in WHOLE.items():
        accuracies[name] = []
        schedule = TrainingSpec(epochs=9 if LONG else 6, batch_size=32, attack=AttackSpec(num_steps=1))
        schedule = schedule.model_copy(update={"selection_steps": 2})
        for seed in range(3):
            changes = {"training": schedule, "seed": seed, "epsilon": "16/255", "keep_ratio": 0.5, "weights": "fp"}
            experiment = Experiment(**{**dict(experiment_of(Case(name, objective))), **changes})
            place = folder / f"{name}-{seed}"
            place.mkdir(parents=True, exist_ok=True)
            history = train(experiment, METHODS[name], data, place, device=CPU, report=lambda line: None).history
            accuracies[name] += [history[-1].validation_clean_accuracy] if history else []  # of the first process
    return accuracies


@pytest.mark.slow
def test_the_final_accuracy_of_three_seeds_lies_within_their_spread(tmp_path):
    """With EVERY_METHOD set in the environment, of all methods on all images: the long form."""
    end_pair(start_pair(tmp_path, "accuracies"))
    by_two = json.loads((tmp_path / "accuracies.json").read_text())
    for name, one in final_accuracies(tmp_path / "one").items():
        two = by_two[name]
        print(f"{name}: {one} by one process, {two} by two")
        spread = max(max(one) - min(one), max(two) - min(two))
        assert abs(sum(one) - sum(two)) / 3 <= spread, f"{name}: {one} by one process, {two} by two"
        assert sum(one) / 3 > 0.25, "they have learned something"


def main(folder: Path, what: str = "updates") -> None:
    """Train what the tests compare, as one of two processes."""
    torch.set_num_threads(1)
    with joined(CPU, "synchronised") as processes:
        if what == "accuracies":
            loop.joined = lambda device, batch_norm: nullcontext(processes)  # for all trainings
            accuracies = final_accuracies(folder / "two")
            if processes.main:
                (folder / "accuracies.json").write_text(json.dumps(accuracies))
            return
        for case in [*EQUAL, *GRADIENTS, *LOCAL]:
            result = trained_precisely(case, replace(processes, batch_norm=case.batch_norm))
            if processes.main:
                torch.save(result, folder / f"{case}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
