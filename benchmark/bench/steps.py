"""One training step of each method's own kind, ready to be timed. Used by `bench` and by the timings under tests/.

A case is a method and its objective. The step is the loop's: zero the gradients, loss, backward, optimiser, and the
method's own `after_step`; data loading, validation and checkpoints are not part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmark.errors import UserError
from benchmark.networks.resnet import NetworkPlan
from benchmark.suite.registry import resolve
from benchmark.training.fast_objective import FastObjective, PerturbationStore
from benchmark.training.objectives import HalfCleanObjective, PgdObjective, TradesObjective
from benchmark.training.schedule import make_optimizer, set_trainable
from methods.base import Batch, Method, Phase, Target

CASES: tuple[str, ...] = ("at/pgd", "edge_popup/pgd", "edge_popup/fast", "hydra/trades", "atmc/half_clean")

EPSILON, STEP_SIZE, FAST_STEP = 8 / 255, 2 / 255, 4 / 255
CROP_PADDING, FILL = 4, 0.5
TRADES_BETA = 6.0
PRECISIONS = ("fp32", "bf16-attack", "bf16")

# What each method compresses to, and the phase that is timed: the one in which it does what it is known for.
TARGETS = {
    "at": Target(),
    "edge_popup": Target(keep_ratio=0.01, weights="binary", allocation=0.1),
    "hydra": Target(keep_ratio=0.01, allocation=0.1),
    "atmc": Target(keep_ratio=0.01, allocation=0.1),
}
_PHASES = {"at": "train", "edge_popup": "search", "hydra": "prune", "atmc": "sparse"}


@dataclass
class TrainingStep:
    """A network, its optimiser and its objective; called, it makes the next training step on its batch."""

    method: Method
    phase: Phase
    model: nn.Module
    optimizer: torch.optim.Optimizer
    objective: PgdObjective
    batch: Batch
    steps: int = 0

    def __call__(self) -> None:
        """Make one step; on a GPU it returns before the device is done."""
        self.optimizer.zero_grad(set_to_none=True)
        self.method.loss(self.model, self.phase, self.batch, self.objective).backward()
        self.optimizer.step()
        self.method.after_step(self.model, self.phase, self.steps)
        self.steps += 1


def training_step(
    case: str,
    plan: NetworkPlan,
    batch: Batch,
    *,
    num_steps: int,
    precision: str = "fp32",
    channels_last: bool = True,
    seed: int = 0,
) -> TrainingStep:
    """Build the network, optimiser and objective of a case on the batch's device.

    Args:
        case: one of CASES; "hydra/trades" is timed while scores are trained, "atmc/half_clean" while it projects.
        plan: the network.
        batch: (B, C, H, W) float images in [0, 1], their labels, and their rows in a training set.
        num_steps: attack steps; the fast objective always makes one.
        precision: "fp32", "bf16-attack" or "bf16", as in a suite.
        channels_last: lay network and images out as training does; False keeps the contiguous layout.
        seed: of the network and of the attack.

    Returns:
        A callable that makes one training step each time.

    Raises:
        UserError: if the case or the precision is not known.
    """
    if case not in CASES:
        raise UserError(f"case {case!r} is not known; choose one of {', '.join(CASES)}")
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r} is not known; choose one of {', '.join(PRECISIONS)}")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    method, phase, model = _begin(case, plan, seed)
    model = model.to(batch.images.device, memory_format=layout)  # type: ignore[call-overload]
    images = batch.images.contiguous(memory_format=layout)
    optimizer = make_optimizer(phase, set_trainable(model, phase))
    objective = _objective(case.partition("/")[2], plan, batch, num_steps=num_steps, precision=precision, seed=seed)
    return TrainingStep(method, phase, model.train(), optimizer, objective, batch._replace(images=images))


def _begin(case: str, plan: NetworkPlan, seed: int) -> tuple[Method, Phase, nn.Module]:
    """Build the network and lead it to the phase that is timed."""
    name = case.partition("/")[0]
    method = resolve(name).create({}, case)
    target = TARGETS[name]
    torch.manual_seed(seed)
    model = method.build(plan, target)
    for phase in method.phases(6, target):
        method.begin_phase(model, phase)
        if phase.name == _PHASES[name]:
            return method, phase, model
    raise AssertionError(f"{name} has no phase {_PHASES[name]}")


def _objective(
    name: str, plan: NetworkPlan, batch: Batch, *, num_steps: int, precision: str, seed: int
) -> PgdObjective:
    device = batch.images.device
    common: dict[str, Any] = {
        "epsilon": EPSILON,
        "step_size": FAST_STEP if name == "fast" else STEP_SIZE,
        "num_steps": num_steps,
        "random_start": True,
        "train_mode_attack": name != "trades",
        "attack_bf16": precision != "fp32",
        "update_bf16": precision == "bf16",
        "crop_padding": CROP_PADDING,
        "flip": True,
        "generator": torch.Generator(device).manual_seed(seed),
    }
    if name == "fast":
        channels, height, width = batch.images.shape[1:]
        store = PerturbationStore(
            int(batch.rows.max()) + 1,
            (channels, height, width),
            padding=CROP_PADDING,
            epsilon=EPSILON,
            generator=torch.Generator(device).manual_seed(seed + 1),
            labels=batch.labels,
            num_classes=plan.num_classes,
            soft_target=None,
        )
        return FastObjective(**common, store=store, fill=FILL)
    if name == "trades":
        return TradesObjective(**common, beta=TRADES_BETA)
    return HalfCleanObjective(**common) if name == "half_clean" else PgdObjective(**common)
