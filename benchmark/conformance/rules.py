"""The contract of `methods/base.py` as rules, each for one method on one target.

A rule returns what it observed, or None if it does not apply to the target, or raises `Broken`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from benchmark.conformance.exports import (
    Broken,
    allocation_is_kept,
    budget_is_kept,
    export_is_plain,
    export_leaves_untouched,
    groups_are_whole,
    levels_are_binary,
)
from benchmark.conformance.trial import CountingObjective, Trial, batch, fingerprint

EPOCH_BUDGETS = (1, 2, 3, 4, 5, 7, 10, 20, 40, 100, 220, 400)


class Rule(NamedTuple):
    """One rule of the contract."""

    name: str
    meaning: str
    check: Callable[[Trial], str | None]


def builds_alike(trial: Trial) -> str:
    """Compare two builds under one seed."""
    first, second = fingerprint(trial.build()), fingerprint(trial.build(trial.fresh_method()))
    if first != second:
        raise Broken("two builds under one seed differ; draw random numbers from torch's global generator only")
    return f"twice {first[0][:12]}"


def phases_add_up(trial: Trial) -> str:
    """Add up the phases of many epoch budgets; a budget may be refused as too small, but no larger one than that."""
    few: list[int] = []
    for epochs in EPOCH_BUDGETS:
        try:
            phases = trial.method.phases(epochs, trial.target)
        except ValueError as error:
            few.append(epochs)
            if not str(error) or few != list(EPOCH_BUDGETS[: len(few)]) or epochs == EPOCH_BUDGETS[-1]:
                raise Broken(f"{epochs} epochs are refused, though not for being too few: {error}") from error
            continue
        lengths = [phase.epochs for phase in phases]
        if sum(lengths) != epochs or min(lengths) < 1:
            plan = ", ".join(f"{phase.name} {phase.epochs}" for phase in phases)
            raise Broken(f"{epochs} epochs are split into {plan or 'nothing'}")
    return f"{EPOCH_BUDGETS[len(few)]} to {EPOCH_BUDGETS[-1]} epochs" + (f", {few} are too few" if few else "")


def every_phase_trains(trial: Trial) -> str:
    """Look for a parameter that a dozen updates of each phase have changed."""
    for phase, _, changed, frozen in trial.stages:
        if not changed - frozen:
            raise Broken(f"phase {phase.name} declares {sorted(phase.trains)} trained, but no such parameter changes")
    return ", ".join(f"{phase.name} changes {len(changed)} tensors" for phase, _, changed, _ in trial.stages)


def frozen_stay(trial: Trial) -> str:
    """Look for a frozen parameter that changed."""
    for phase, _, changed, frozen in trial.stages:
        if broken := sorted(changed & frozen):
            raise Broken(f"phase {phase.name} trains {sorted(phase.trains)}, yet changes {', '.join(broken[:3])}")
    return ", ".join(f"{phase.name} freezes {len(frozen)} tensors" for phase, _, _, frozen in trial.stages)


def objective_is_called(trial: Trial) -> str:
    """Count the calls of the objective, and compare the losses of two batches."""
    losses = []
    for phase, model, _, _ in trial.stages:
        values = []
        for number in (0, 1):
            objective = CountingObjective(trial.objective())
            torch.manual_seed(0)
            network = copy.deepcopy(model)
            values.append(trial.method.loss(network, phase, batch(number), objective).item())
            if objective.calls == 0:
                raise Broken(f"the loss of phase {phase.name} never calls the objective it is given")
        if values[0] == values[1]:
            raise Broken(f"the loss of phase {phase.name} is {values[0]:g} whatever the batch")
        losses.append(f"{phase.name} {values[0]:.3f} and {values[1]:.3f}")
    return "losses of two batches: " + ", ".join(losses)


def gradients_arrive(trial: Trial) -> str:
    """Differentiate the loss of the network as built, in training mode, and of the final export by their input."""
    training = _reached("training", trial.build().train())
    return f"{training}, {_reached('export', trial.method.export(trial.stages[-1].model))}"


def _reached(name: str, network: nn.Module) -> str:
    images, labels, _ = batch(0)
    images = images.requires_grad_()
    loss = F.cross_entropy(network(images), labels)
    gradient = torch.autograd.grad(loss, images, allow_unused=True)[0] if loss.requires_grad else None
    reached = 0 if gradient is None else int(gradient.flatten(1).any(1).sum())
    if 2 * reached <= len(images):
        raise Broken(f"attacks are blind, {name}: the gradient reaches {reached} of {len(images)} images")
    return f"{name}: {reached} of {len(images)} images"


def state_is_whole(trial: Trial) -> str:
    """Load the state of every phase into a newly built network, and compare the exports."""
    for index, (phase, model, _, _) in enumerate(trial.stages):
        method = trial.fresh_method()
        restored = trial.build(method, seed=1)
        for earlier in trial.phases[: index + 1]:
            method.begin_phase(restored, earlier)
        restored.load_state_dict(model.state_dict())
        if fingerprint(method.export(restored)) != fingerprint(trial.method.export(model)):
            raise Broken(f"in phase {phase.name} the export depends on more than the network's parameters and buffers")
    return "same export in " + ", ".join(phase.name for phase in trial.phases)


def seeds_decide(trial: Trial) -> str:
    """Train twice with one seed and once with another."""
    again, other = trial.train(), trial.train(seed=1)
    if again != trial.outcome:
        raise Broken("two trainings with one seed differ; draw random numbers from torch's global generator only")
    if other.weights == trial.outcome.weights:
        raise Broken("trainings with seeds 0 and 1 end with the same network")
    return f"seed 0 twice {again.weights[:12]}, seed 1 {other.weights[:12]}"


def resume_is_exact(trial: Trial) -> str:
    """Interrupt a training in every epoch but the first, resume it, and compare its end with an undisturbed one's."""
    resumed = trial.train(interrupted=True)
    for epoch, (expected, got) in enumerate(zip(trial.outcome.losses, resumed.losses, strict=True), start=1):
        if expected != got:
            raise Broken(
                f"the loss of epoch {epoch} is {got:.6g} after a resume, {expected:.6g} without; keep what "
                "training changes in parameters and buffers"
            )
    if resumed.weights != trial.outcome.weights:
        raise Broken("a resumed training ends with another network than an undisturbed one")
    return f"{len(resumed.losses)} epochs, interrupted in each but the first, {resumed.weights[:12]}"


RULES = [
    Rule("build", "the same seed builds the same network, bit for bit", builds_alike),
    Rule("phases", "the epochs of all phases add up to the budget; too small a budget is a ValueError", phases_add_up),
    Rule("training", "every phase changes parameters it declares trained", every_phase_trains),
    Rule("frozen", "a phase changes no parameter it does not declare trained", frozen_stay),
    Rule("objective", "every phase's loss calls the objective and depends on the batch", objective_is_called),
    Rule("untouched", "export leaves the network as it was and shares no memory with it", export_leaves_untouched),
    Rule(
        "plain",
        "the export has plain layers, is in eval mode, finite, and the same when read from its artifact",
        export_is_plain,
    ),
    Rule("budget", "the export keeps at most as many weights as budgeted", budget_is_kept),
    Rule("allocation", "no layer keeps more weights than its share of the allocation", allocation_is_kept),
    Rule("groups", "groups of weights are kept or dropped as a whole, where the target has them", groups_are_whole),
    Rule("levels", "a binary layer has at most two nonzero values", levels_are_binary),
    Rule(
        "gradients",
        "the loss has a gradient with respect to most input images, in training and exported",
        gradients_arrive,
    ),
    Rule("state", "parameters and buffers are all that training changes", state_is_whole),
    Rule("seed", "the same seed trains the same network, another seed a different one", seeds_decide),
    Rule("resume", "an interrupted and resumed training ends with the same bits", resume_is_exact),
]
