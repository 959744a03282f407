"""A short training of a method, which the rules inspect. One `Trial` is one method on one target."""

from __future__ import annotations

import copy
import importlib.util
import json
import operator
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark.data.load import TrainingData, load_training
from benchmark.evaluation.accuracy import as_float_images
from benchmark.networks.resnet import network_plan
from benchmark.runtime.hashing import tensors_sha256
from benchmark.runtime.seeding import derive_seed
from benchmark.suite.experiment import ArchitectureSpec, AttackSpec, Experiment, MethodSpec, TrainingSpec
from benchmark.suite.registry import ResolvedMethod
from benchmark.suite.settings import EvaluationSpec
from benchmark.suite.suite import validated
from benchmark.training.loop import train
from benchmark.training.make_objective import make_objective
from benchmark.training.schedule import make_optimizer, set_trainable
from methods.base import Architecture, Batch, Method, Objective, Phase, Target
from methods.layers import parameters_by_role

IMAGES, BATCH = 48, 16
UPDATES = 12  # in an epoch, and in a phase inspected alone: enough to reach what a method does every ten updates
BUDGETS = (4, 5, 6, 8, 10, 15, 20, 50, 100)  # epochs of a trial: the first the method accepts
WIDTH = 0.125
CPU = torch.device("cpu")


class Stage(NamedTuple):
    """A phase after its first dozen updates."""

    phase: Phase
    model: nn.Module  # a copy, only to be inspected
    changed: frozenset[str]  # parameters that the updates changed
    frozen: frozenset[str]  # parameters that the phase declares frozen


@dataclass(frozen=True)
class Outcome:
    """What a whole training ended with."""

    network: nn.Module = field(compare=False)  # the selected one
    weights: str  # its hash
    losses: tuple[float, ...]  # one per epoch


class Interrupted(Exception):
    """Simulates a kill: raised from the progress report."""


@dataclass
class CountingObjective:
    """Counts how often a method asks for the objective's loss."""

    objective: Objective
    calls: int = 0

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the objective's loss."""
        self.calls += 1
        return self.objective(model, batch)


@dataclass(frozen=True, eq=False)
class Trial:
    """One method on one target; what several rules inspect is computed once, when first needed."""

    resolved_method: ResolvedMethod
    target: Target

    @cached_property
    def method(self) -> Method:
        """The method with its default options."""
        return self.resolved_method.create({}, "check")

    @cached_property
    def full_size(self) -> Architecture:
        """The architecture whose weights the budget is a share of."""
        return network_plan(self.experiment(0, epochs=1).architecture, digits().info)

    @cached_property
    def architecture(self) -> Architecture:
        """The architecture the method asks for."""
        return self.method.resize(self.full_size, self.target)

    @cached_property
    def phases(self) -> Sequence[Phase]:
        """The phases of a short training.

        Raises:
            ValueError: the method's own, if it accepts no budget up to a hundred epochs.
        """
        for epochs in BUDGETS[:-1]:
            try:
                return self.method.phases(epochs, self.target)
            except ValueError:
                continue
        return self.method.phases(BUDGETS[-1], self.target)

    @cached_property
    def stages(self) -> list[Stage]:
        """Every phase after a dozen updates, as the training loop would make them."""
        model, objective = self.build(), self.objective()
        return [self._stage(model, index, phase, objective) for index, phase in enumerate(self.phases)]

    @cached_property
    def outcome(self) -> Outcome:
        """What an undisturbed training with seed 0 ends with."""
        return self.train()

    def build(self, method: Method | None = None, *, seed: int = 0) -> nn.Module:
        """Build the network as the training loop does."""
        torch.manual_seed(derive_seed(seed, "build"))
        return (method or self.method).build(self.architecture, self.target)

    def objective(self) -> Objective:
        """Return the method's own objective, freshly seeded."""
        return make_objective(self.experiment(0, epochs=1), digits(), torch.Generator().manual_seed(0))

    def fresh_method(self) -> Method:
        """Return the method from a newly executed module, without anything that the old one remembered."""
        return replace(self.resolved_method, cls=_imported_again(self.resolved_method.cls)).create({}, "check")

    def train(self, *, seed: int = 0, interrupted: bool = False) -> Outcome:
        """Train from start to end; if `interrupted`, stop in every epoch but the first and resume."""
        experiment = self.experiment(seed, epochs=sum(phase.epochs for phase in self.phases))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for _ in range(experiment.training.epochs):
                report = _interrupt_in_second_epoch() if interrupted else _discard
                try:
                    trained = train(experiment, self.fresh_method(), digits(), folder, device=CPU, report=report)
                    break
                except Interrupted:
                    continue
            lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
        losses = tuple(float(json.loads(line)["loss"]) for line in lines)
        return Outcome(trained.network, tensors_sha256(trained.network.state_dict()), losses)

    def experiment(self, seed: int, *, epochs: int) -> Experiment:
        """Return the experiment a user would have written.

        Raises:
            UserError: if the method asks for an objective that does not exist.
        """
        cls = self.resolved_method.cls
        settings = {
            "suite": "check",
            "preset": "own",
            "dataset": "digits",
            "train_images": IMAGES,
            "epsilon": "32/255",
            "architecture": ArchitectureSpec(
                name="resnet6", width=WIDTH, last_norm=bool(cls.own_axes.get("last_norm", True))
            ),
            "method": MethodSpec(name=cls.name, target=self.resolved_method.target),
            "weights": self.target.weights,
            "keep_ratio": self.target.keep_ratio,
            "allocation": self.target.allocation,
            "granularity": self.target.granularity,
            "objective": cls.objective,
            "training": TrainingSpec(
                epochs=epochs, batch_size=IMAGES // UPDATES, attack=AttackSpec(num_steps=1), selection_steps=1
            ),
            "evaluation": EvaluationSpec(images=8),
            "seed": seed,
        }
        return validated(Experiment, settings, cls.name)

    def _stage(self, model: nn.Module, index: int, phase: Phase, objective: Objective) -> Stage:
        trained = set_trainable(model, phase)
        torch.manual_seed(derive_seed(0, "begin", index))
        self.method.begin_phase(model, phase)
        roles = parameters_by_role(model).items()
        frozen = frozenset(name for role, part in roles if role not in phase.trains for name in part)
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        optimizer = make_optimizer(phase, trained) if trained else None
        model.train()
        for step in range(UPDATES if optimizer else 0):
            assert optimizer is not None, "there are steps only with an optimiser"
            optimizer.zero_grad(set_to_none=True)
            self.method.loss(model, phase, batch(step), objective).backward()
            optimizer.step()
            self.method.after_step(model, phase, step)
        changed = frozenset(name for name, value in model.named_parameters() if not torch.equal(value, before[name]))
        return Stage(phase, copy.deepcopy(model), changed, frozen)


@cache
def digits() -> TrainingData:
    """Return a few images of the digits that are part of the package."""
    return load_training("digits", None, limit=IMAGES)


def batch(number: int) -> Batch:
    """Return the `number`-th mini-batch; they repeat."""
    rows = (torch.arange(BATCH) + number * BATCH) % len(digits().train)
    return Batch(as_float_images(digits().train.images[rows]), digits().train.labels[rows], rows)


def fingerprint(model: nn.Module) -> tuple[str, str]:
    """Return what changes if a bit of the network's state does: a hash of its tensors, and the rest as text."""
    state = model.state_dict()
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return tensors_sha256(tensors), repr([(name, value) for name, value in state.items() if name not in tensors])


def _discard(line: str) -> None:
    pass


def _interrupt_in_second_epoch() -> Callable[[str], None]:
    """Return a report that raises when the second epoch is over, but before its checkpoint is written."""
    seen: list[str] = []

    def report(line: str) -> None:
        if "loss" in line:
            seen.append(line)
        if len(seen) == 2:
            raise Interrupted

    return report


def _imported_again(cls: type[Method]) -> type[Method]:
    """Execute the module of a class again, beside the one in use, and return its class."""
    used = sys.modules[cls.__module__]
    assert used.__spec__ is not None and used.__spec__.loader is not None, "the module was imported"
    module = importlib.util.module_from_spec(used.__spec__)
    sys.modules[cls.__module__] = module  # dataclasses and pickle look a class's module up by name
    try:
        used.__spec__.loader.exec_module(module)
    finally:
        sys.modules[cls.__module__] = used
    fresh: type[Method] = operator.attrgetter(cls.__qualname__)(module)
    return fresh
