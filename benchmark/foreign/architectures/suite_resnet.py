"""The suite's own residual networks, under the key names of `benchmark.networks.resnet`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn

from benchmark.networks.resnet import NetworkPlan, plain_conv
from benchmark.networks.shapes import SHAPES

NAMES = tuple(SHAPES)


def build(name: str, num_classes: int, channels: int, state: Mapping[str, Tensor]) -> nn.Module:
    """Return the network, whose state dict holds its normalisation; before loading, the mean is 0 and the std 1."""
    plan = plan_for(name, num_classes, (0.0,) * channels, (1.0,) * channels, state)
    return network_for(plan, state)


def plan_for(
    name: str, num_classes: int, mean: tuple[float, ...], std: tuple[float, ...], state: Mapping[str, Tensor]
) -> NetworkPlan:
    """Return the plan with the width and the last batch norm of a state dict; full width without one.

    Args:
        name: a key of `SHAPES`.
        num_classes: number of logits.
        mean: per channel, of pixels in [0, 1].
        std: per channel.
        state: tensors by key; may be empty.
    """
    stem = state.get("conv1.weight")
    width = 1.0 if stem is None else len(stem) / SHAPES[name].widths[0]
    last_norm = not state or any(key.startswith("last_norm.") for key in state)
    return NetworkPlan(name, num_classes, mean, std, width, last_norm)


def network_for(plan: NetworkPlan, state: Mapping[str, Tensor]) -> nn.Module:
    """Return the plain network of a plan, with batch norms that are affine if those of the state dict are."""
    affine = not state or "bn1.weight" in state
    return plan(conv=plain_conv, norm=partial(nn.BatchNorm2d, affine=affine))
