"""The rules about what a method exports: plain, within its budget, and the same out of its artifact."""

from __future__ import annotations

import torch
from torch import nn

from benchmark.artifact.measure import measure_export, weights_in_groups
from benchmark.artifact.pack import pack
from benchmark.artifact.unpack import unpack
from benchmark.conformance.trial import Trial, batch, digits, fingerprint
from benchmark.networks.resnet import NetworkPlan, convolutions, prunable_shapes, prunable_sizes
from methods.allocation import allocation_text, weight_budget
from methods.granularity import layer_budgets


class Broken(Exception):
    """A rule is broken; the message says what was observed."""


def export_leaves_untouched(trial: Trial) -> str:
    """Compare the network before and after its export, and look for memory that both share."""
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
    """Check the form of every phase's export."""
    sizes = prunable_sizes(trial.architecture)
    for _, model, _, _ in trial.stages:
        exported = trial.method.export(model)
        measure_export(exported, sizes, budget=sum(sizes.values()), binary=False)
        if training := [name for name, module in exported.named_modules() if module.training]:
            raise Broken(f"{training[0] or 'the network'} is in training mode")
        logits = exported(batch(0).images)
        if not torch.isfinite(logits).all():
            raise Broken("logits are not finite")
        if not torch.equal(unpack(_packed(exported, trial)).network(batch(0).images), logits):
            raise Broken("the network read back from its artifact computes other logits")
    return f"{len(sizes)} convolutions, {sum(sizes.values()):,} weights, in eval mode, finite, packed and unpacked"


def _packed(exported: nn.Module, trial: Trial) -> bytes:
    plan = trial.architecture
    if not isinstance(plan, NetworkPlan):
        raise Broken("`resize` returns an architecture of its own, which the artifact format cannot describe")
    return pack(exported, plan, dataset=digits().info.name, image_size=(digits().info.height, digits().info.width))


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
    shares = dict(zip(sizes, layer_budgets(list(prunable_shapes(trial.full_size).values()), trial.target), strict=True))
    for name, kept in (layer for layers in _kept(trial) for layer in layers.items()):
        if kept > shares[name]:
            raise Broken(
                f"{name} keeps {kept:,} weights, its share at {allocation_text(split)} is {shares[name]:,}; "
                "refuse what the method does not follow"
            )
    return f"{len(shares)} layers within their shares"


def groups_are_whole(trial: Trial) -> str | None:
    """Compare the weights of the groups that are not all zero with each layer's share."""
    granularity = trial.target.granularity
    if granularity == "weight":
        return None
    shapes = prunable_shapes(trial.full_size)
    shares = dict(zip(shapes, layer_budgets(list(shapes.values()), trial.target), strict=True))
    for network in _final_networks(trial):
        for name, grouped in weights_in_groups(network, granularity).items():
            if grouped > shares[name]:
                raise Broken(f"{name} has weights in groups of {grouped:,} together, its share is {shares[name]:,}")
    return f"{sum(shares.values()):,} weights in whole groups"


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
