"""What a keep ratio and an allocation do to the layers of a network, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from benchmark.data.catalog import DATASETS
from benchmark.networks.resnet import NetworkPlan, prunable_shapes
from benchmark.suite.experiment import Experiment
from benchmark.suite.target import target_of
from methods.allocation import auto_constant, closest_exponent, weight_budget
from methods.granularity import layer_budgets

NEARLY_EMPTY = 16  # weights; a layer with fewer can hardly pass on any signal


def target_warning(experiment: Experiment) -> str:
    """Warn when a target leaves layers whole, with nothing to choose, or nearly empty."""
    if experiment.keep_ratio == 1.0 or experiment.allocation == "global":
        return ""
    network = full_network(experiment)
    sizes, kept = layer_sizes(network), layer_budgets(list(layer_shapes(network).values()), target_of(experiment))
    whole = [name for (name, size), count in zip(sizes.items(), kept, strict=True) if count == size]
    starved = [name for (name, size), count in zip(sizes.items(), kept, strict=True) if count < min(NEARLY_EMPTY, size)]
    automatic = auto_constant(experiment.allocation) is not None
    parts = []
    if whole:
        less = "a smaller constant" if automatic else "a larger p"
        parts.append(f"keeps {_some(whole)} whole, nothing to choose there; {less} takes from small layers")
    if starved:
        more = "a larger constant" if automatic else "a smaller p"
        parts.append(f"keeps fewer than {NEARLY_EMPTY} weights of {_some(starved)}; {more} gives small layers more")
    unspent = weight_budget(sum(sizes.values()), experiment.keep_ratio) - sum(kept)
    if unspent:
        parts.append(f"leaves {unspent:,} weights of its budget unspent, as only whole groups are kept")
    return "; ".join(parts)


def closest_exponent_of(experiment: Experiment) -> float | None:
    """Return the exponent p whose layer budgets are closest to an automatic allocation's; None for other targets."""
    c = auto_constant(experiment.allocation)
    if c is None or experiment.keep_ratio == 1.0:
        return None
    return closest_exponent(list(layer_sizes(full_network(experiment)).values()), experiment.keep_ratio, c)


@lru_cache(maxsize=256)
def layer_shapes(network: NetworkPlan) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of each convolution's weight; remembered, because the cells of a grid share few networks."""
    return prunable_shapes(network)


def layer_sizes(network: NetworkPlan) -> Mapping[str, int]:
    """Return the weights per convolution."""
    return {name: math.prod(shape) for name, shape in layer_shapes(network).items()}


def full_network(experiment: Experiment) -> NetworkPlan:
    """Return the network before the method's `resize`; a data set outside the catalog counts as CIFAR-10."""
    facts = DATASETS.get(experiment.dataset, DATASETS["cifar10"])
    spec = experiment.architecture
    return NetworkPlan(spec.name, facts.num_classes, facts.mean, facts.std, spec.width, spec.last_norm)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more layers"
