"""Counts weights and bits of an exported network, and refuses one that misses its target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from benchmark.artifact.groups import FOUR, BadGroups, group_bits, group_count, mask_of
from benchmark.networks.resnet import convolutions
from benchmark.results.fields import Granularity

FLOAT_BITS = 32


class BadExport(RuntimeError):
    """An exported network does not meet its target."""


@dataclass(frozen=True)
class LayerCount:
    """Number of weights and of nonzero weights of one convolution."""

    name: str
    weights: int
    kept: int


@dataclass(frozen=True)
class Measured:
    """Counts of an exported network."""

    layers: tuple[LayerCount, ...]  # in the order of the network
    prunable_weights: int
    all_parameters: int  # prunable weights and all other trained or running values
    budget: int
    kept_weights: int  # prunable weights that are not zero
    entropy_bound_bytes: int  # see `entropy_bound_bits`

    @property
    def density(self) -> float:
        """Kept weights divided by prunable weights."""
        return self.kept_weights / self.prunable_weights

    @property
    def density_all(self) -> float:
        """Nonzero values divided by all values, including those that are never pruned."""
        return (self.all_parameters - self.prunable_weights + self.kept_weights) / self.all_parameters


def measure_export(
    network: nn.Module,
    prunable: Mapping[str, int],
    *,
    budget: int,
    binary: bool,
    granularity: Granularity = "weight",
    seeded: bool = False,
) -> Measured:
    """Check an exported network against its target and count its weights and bits.

    Args:
        network: the plain network that a method exported.
        prunable: number of weights of each convolution by name, as the architecture defines them.
        budget: maximum number of kept weights.
        binary: whether a layer may have at most two nonzero values.
        granularity: what its masks keep together; all weights of a group that is not all zero count against the budget.
        seeded: whether a seed gives the kept weights again, so that they cost nothing.

    Raises:
        BadExport: if convolutions are missing or added, a value is not finite, more weights are kept than budgeted,
            the weights are not in groups of the granularity, or a layer of a binary network has more than two nonzero
            values.
    """
    layers = convolutions(network)
    sizes = {name: conv.weight.numel() for name, conv in layers.items()}
    if sizes != dict(prunable):
        wrong = sorted(set(sizes.items()) ^ set(prunable.items()))
        raise BadExport(f"exported convolutions differ from the architecture's: {wrong[:4]}")
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise BadExport(f"exported tensor {name} holds values that are not finite")
    total = sum(sizes.values())
    counts = tuple(LayerCount(name, sizes[name], int(conv.weight.count_nonzero())) for name, conv in layers.items())
    kept = sum(layer.kept for layer in counts)
    if kept > budget:
        raise BadExport(f"exported {kept:,} weights, but the budget is {budget:,}")
    if granularity != "weight" and (grouped := sum(weights_in_groups(network, granularity).values())) > budget:
        raise BadExport(f"the exported groups ({granularity}) hold {grouped:,} weights, but the budget is {budget:,}")
    if binary:
        for name, conv in layers.items():
            levels = nonzero_levels(conv)
            if levels > 2:
                raise BadExport(f"exported layer {name} has {levels} nonzero values, but a binary layer has at most 2")
    return Measured(
        layers=counts,
        prunable_weights=total,
        all_parameters=total + _other_values(network),
        budget=budget,
        kept_weights=kept,
        entropy_bound_bytes=math.ceil(
            entropy_bound_bits(network, binary=binary, granularity=granularity, seeded=seeded) / 8
        ),
    )


def entropy_bound_bits(
    network: nn.Module, *, binary: bool, granularity: Granularity = "weight", seeded: bool = False
) -> float:
    """Return the bits that an ideal coder needs for the network.

    Per convolution: log2 C(n, m) for the positions of m kept among n weights, or among n groups (2:4: log2 6 for each
    four weights, log2 3 or 1 for a rest of three or two), plus one bit per kept weight and 32 per level (binary), or 32
    bits per kept weight. Of weights from a seed only the level of a binary layer costs anything. Batch-norm statistics
    and parameters cost 32 bits per value; the fixed input normalisation and step counters cost nothing.
    """
    bits = float(FLOAT_BITS * _other_values(network))
    for conv in convolutions(network).values():
        bits += _position_bits(conv, granularity)
        kept, levels = int(conv.weight.count_nonzero()), nonzero_levels(conv)
        if seeded:
            bits += FLOAT_BITS * min(levels, 1) if binary else 0
        else:
            bits += kept + FLOAT_BITS * levels if binary else FLOAT_BITS * kept
    return bits


def _position_bits(conv: nn.Conv2d, granularity: Granularity) -> float:
    shape = tuple(conv.weight.shape)
    if granularity == "2:4":
        fours, rest = divmod(math.prod(shape[1:]), FOUR)
        return shape[0] * (fours * math.log2(6) + math.log2(max(rest, 1)))
    mask = mask_of(conv.weight.detach().cpu().numpy(), granularity)
    return log2_binomial(group_count(shape, granularity), int(group_bits(mask, granularity).sum()))


def weights_in_groups(network: nn.Module, granularity: Granularity) -> dict[str, int]:
    """Count the weights of all groups that are not all zero, by convolution.

    Raises:
        BadExport: if 2:4 keeps fewer weights of a group than are not zero.
    """
    counts = {}
    for name, conv in convolutions(network).items():
        try:
            counts[name] = int(mask_of(conv.weight.detach().cpu().numpy(), granularity).sum())
        except BadGroups as error:
            raise BadExport(f"exported layer {name}: {error}") from None
    return counts


def nonzero_levels(conv: nn.Conv2d) -> int:
    """Return the number of distinct nonzero weights of a convolution."""
    return len(conv.weight[conv.weight != 0].unique())


def _other_values(network: nn.Module) -> int:
    """Count the values outside the convolutions that training determines."""
    owned = {f"{name}.weight" for name in convolutions(network)}
    return sum(
        value.numel()
        for name, value in network.state_dict().items()
        if name not in owned and value.is_floating_point() and not name.startswith("normalize.")
    )


def log2_binomial(n: int, k: int) -> float:
    """Return the bits that say which k of n places are chosen."""
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)
