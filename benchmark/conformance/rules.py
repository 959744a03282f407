"""The contract of `methods/base.py` as rules, each for one method on one target.

A rule returns what it saw, or None if it does not apply to the target, or raises `Broken`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from benchmark.artifact.measure import measure_export
from benchmark.conformance.trial import CountingObjective, Trial, batch, fingerprint
from benchmark.models import convolutions, prunable_sizes
from methods.allocation import allocate, weight_budget

EPOCH_BUDGETS = (1, 2, 3, 4, 5, 7, 10, 20, 40, 100, 220, 400)


class Broken(Exception):
    """A rule is broken; the message says what was seen."""


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
    """Add up the phases of many epoch budgets; a budget may be too small, but none above one that is not."""
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
        found = []
        for number in (0, 1):
            objective = CountingObjective(trial.objective())
            torch.manual_seed(0)
            network = copy.deepcopy(model)
            found.append(trial.method.loss(network, phase, batch(number), objective).item())
            if objective.calls == 0:
                raise Broken(f"the loss of phase {phase.name} never calls the objective it is given")
        if found[0] == found[1]:
            raise Broken(f"the loss of phase {phase.name} is {found[0]:g} whatever the batch")
        losses.append(f"{phase.name} {found[0]:.3f} and {found[1]:.3f}")
    return "losses of two batches: " + ", ".join(losses)


def export_leaves_untouched(trial: Trial) -> str:
    """Compare the network before and after its export, and look for memory both use."""
    for phase, model, _, _ in trial.stages:
        before, modes = fingerprint(model), [module.training for module in model.modules()]
        exported = trial.method.export(model)
        if fingerprint(model) != before or modes != [module.training for module in model.modules()]:
            raise Broken(f"export changed the network in phase {phase.name}")
        if shared := sorted(_storages(exported).keys() & _storages(model).keys()):
            raise Broken(f"the export shares the memory of {_storages(model)[shared[0]]}; copy it")
    return "unchanged in " + ", ".join(phase.name for phase in trial.phases)


def _storages(model: nn.Module) -> dict[int, str]:
    named = [*model.named_parameters(), *model.named_buffers()]
    return {value.untyped_storage().data_ptr(): name for name, value in named if value.numel()}


def export_is_plain(trial: Trial) -> str:
    """Check the form of what every phase exports."""
    sizes = prunable_sizes(trial.architecture)
    for _, model, _, _ in trial.stages:
        exported = trial.method.export(model)
        measure_export(exported, sizes, budget=sum(sizes.values()), binary=False)
        for name, module in exported.named_modules():
            if not type(module).__module__.startswith(("torch.nn.modules.", "benchmark.models")):
                raise Broken(f"{name or 'the network'} is a {type(module).__name__}, not a plain layer")
            if module.training:
                raise Broken(f"{name or 'the network'} is in training mode")
        logits = exported(batch(0).images)
        if not torch.isfinite(logits).all():
            raise Broken("logits are not finite")
    return f"{len(sizes)} convolutions, {sum(sizes.values()):,} weights, in eval mode, finite"


def budget_is_kept(trial: Trial) -> str:
    """Count the weights that are not zero."""
    kept = max(sum(layers.values()) for layers in _kept(trial))
    budget = weight_budget(sum(prunable_sizes(trial.full_size).values()), trial.target.keep_ratio)
    if kept > budget:
        raise Broken(f"{kept:,} weights are kept, {kept - budget:,} more than the budget of {budget:,}")
    return f"kept {kept:,} of a budget of {budget:,}" + (f", {budget - kept:,} fewer" if kept < budget else ", exactly")


def allocation_is_kept(trial: Trial) -> str | None:
    """Compare every layer with its share; a global budget has none, and a resized network has its own layers."""
    split, sizes = trial.target.allocation, prunable_sizes(trial.full_size)
    if split == "global" or trial.target.dense or sizes != prunable_sizes(trial.architecture):
        return None
    shares = dict(zip(sizes, allocate(list(sizes.values()), trial.target.keep_ratio, split), strict=True))
    for name, kept in (layer for layers in _kept(trial) for layer in layers.items()):
        if kept > shares[name]:
            raise Broken(
                f"{name} keeps {kept:,} weights, its share at p={split:g} is {shares[name]:,}; refuse what "
                "the method does not follow"
            )
    return f"{len(shares)} layers within their shares"


def _kept(trial: Trial) -> list[dict[str, int]]:
    return [
        {name: int(conv.weight.count_nonzero()) for name, conv in convolutions(network).items()}
        for network in _final_networks(trial)
    ]


def _final_networks(trial: Trial) -> list[nn.Module]:
    """Return what is exported a dozen updates into the last phase, and what the whole training selects."""
    return [trial.method.export(trial.stages[-1].model), trial.outcome.network]


def levels_are_binary(trial: Trial) -> str | None:
    """Count the distinct nonzero weights of each layer of a binary network."""
    if trial.target.weights != "binary":
        return None
    layers = [layer for network in _final_networks(trial) for layer in convolutions(network).items()]
    levels = [(name, conv.weight[conv.weight != 0].unique().tolist()) for name, conv in layers]
    for name, values in levels:
        if len(values) > 2:
            raise Broken(
                f"{name} has {len(values)} nonzero values, among them {values[0]:g}, {values[1]:g}, {values[2]:g}"
            )
    return f"at most {max(len(values) for _, values in levels)} nonzero values in a layer"


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
    """Load the state of every phase into a network built anew, and compare the exports."""
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
    """Break a training off again and again, go on each time, and compare its end with an undisturbed one's."""
    resumed = trial.train(interrupted=True)
    for epoch, (expected, got) in enumerate(zip(trial.outcome.losses, resumed.losses, strict=True), start=1):
        if expected != got:
            raise Broken(
                f"the loss of epoch {epoch} is {got:.6g} after a resume, {expected:.6g} without; keep what "
                "training changes in parameters and buffers"
            )
    if resumed.weights != trial.outcome.weights:
        raise Broken("a resumed training ends with another network than an undisturbed one")
    return f"{len(resumed.losses)} epochs, broken off in each but the first, {resumed.weights[:12]}"


RULES = [
    Rule("build", "the same seed builds the same network, bit for bit", builds_alike),
    Rule("phases", "the epochs of all phases add up to the budget; too small a budget is a ValueError", phases_add_up),
    Rule("training", "every phase changes parameters it declares trained", every_phase_trains),
    Rule("frozen", "a phase changes no parameter it does not declare trained", frozen_stay),
    Rule("objective", "every phase's loss calls the objective and depends on the batch", objective_is_called),
    Rule("untouched", "export leaves the network as it was and shares no memory with it", export_leaves_untouched),
    Rule("plain", "the export is the architecture in plain layers, in eval mode, finite", export_is_plain),
    Rule("budget", "the export keeps at most as many weights as budgeted", budget_is_kept),
    Rule("allocation", "no layer keeps more weights than its share under p", allocation_is_kept),
    Rule("levels", "a binary layer has at most two nonzero values", levels_are_binary),
    Rule("gradients", "the loss has a gradient by most input images, in training and exported", gradients_arrive),
    Rule("state", "parameters and buffers are all that training changes", state_is_whole),
    Rule("seed", "the same seed trains the same network, another seed another one", seeds_decide),
    Rule("resume", "a training broken off and resumed ends with the same bits", resume_is_exact),
]
