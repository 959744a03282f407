"""The budget that a record states, and the weights that its layers keep, must follow from its resolved experiment."""

from __future__ import annotations

import math

from benchmark.networks.resnet import NetworkPlan, prunable_shapes
from benchmark.results.record import Record
from benchmark.submission.training_claims import differing
from benchmark.suite.experiment import Experiment
from benchmark.suite.target import target_of
from methods.allocation import allocation_text, weight_budget
from methods.granularity import layer_budgets


def check_budget(record: Record, experiment: Experiment) -> list[str]:
    """Return where a record's budget or layers contradict the network that its experiment names."""
    spec, compression = experiment.architecture, record.compression
    channels = record.dataset.image_shape[0]
    zeros, ones = (0.0,) * channels, (1.0,) * channels
    plan = NetworkPlan(spec.name, record.dataset.num_classes, zeros, ones, spec.width, spec.last_norm)
    shapes = prunable_shapes(plan)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    budget = weight_budget(sum(sizes.values()), experiment.keep_ratio)
    reasons = differing({"budget": (compression.budget, budget)}, "its network and keep ratio give")
    if {layer.name: layer.weights for layer in compression.layers} != sizes:
        if record.architecture.prunable_weights > budget:  # only a network made small enough may differ
            reasons.append(f"layers: they are not those of {spec.name} of width {spec.width:g}")
        return reasons
    if experiment.granularity != "weight" or (experiment.allocation != "global" and experiment.keep_ratio < 1):
        try:
            shares = layer_budgets(list(shapes.values()), target_of(experiment))
        except ValueError as error:
            return [*reasons, f"layers: {error}"]
        over = [layer.name for layer, share in zip(compression.layers, shares, strict=True) if layer.kept > share]
        text = allocation_text(experiment.allocation)
        reasons += [f"layers: {name} keeps more than its share under {text}" for name in over[:1]]
    return reasons
