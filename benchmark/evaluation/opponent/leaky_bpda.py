"""PGD whose way back goes through inactive ReLUs, too: what they hide is found, and the network itself judges.

A plateau, a staircase and a gate are made of units that are off at nearly every image, and no gradient passes a unit
that is off. BPDA (Athalye, Carlini and Wagner 2018) attacks what computes nearly the same and has a gradient: here a
leaky ReLU. The way forward stays the network's own, so that whatever is found breaks the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.attacks import ascent_step
from benchmark.evaluation.fast import FoldedResNet
from benchmark.evaluation.health.gradient_checks import summed_margin

STEPS = 20
# Of the radius: half of the steps cross the ball, the others are for the last of a margin.
STEP_SIZES = (0.25, 0.08)


def summed_mean_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of all other logits minus the label's, summed over the batch.

    On plateaus the largest other logit is any of many equal ones, and its gradient leads to no class in particular.
    """
    label = logits.gather(1, labels[:, None]).sum()
    others = (logits.sum() - label) / (logits.shape[1] - 1)
    return others - label


# Slope for inputs below zero, and loss. The steeper slope sees through two layers of units that are off, the flatter
# one disturbs what the other units say less.
VARIANTS = ((0.1, summed_mean_margin), (0.03, summed_margin))


def leaky_bpda(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    forward: Callable[[Tensor], Tensor],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Attack with PGD through leaky ReLUs from the image itself; draws nothing at random.

    Only ReLUs are replaced, the one activation an artifact can hold.

    Args:
        network: whose ReLUs leak on the way back.
        images: (B, C, H, W) in [0, 1], classified right.
        labels: (B,) int64.
        epsilon: radius of the Linf ball, in (0, 1) pixels.
        forward: passes images to the network and returns logits with an input gradient, see `Attackable`.

    Yields:
        (K,) rows that are misclassified within the ball, and the (K, C, H, W) points; no row twice.
    """
    left = torch.arange(len(images), device=images.device)
    for slope, loss in VARIANTS:
        points = images[left]
        for step in range(STEPS + 1):
            if not len(left):
                return
            size = epsilon * STEP_SIZES[2 * step >= STEPS]
            with leaking(network, slope):
                moved, logits = ascent_step(
                    forward, points, images[left], labels[left], epsilon=epsilon, step_size=size, loss=loss
                )  # the logits are those before the step
            wrong = logits.argmax(1) != labels[left]
            yield left[wrong], points[wrong]
            left, points = left[~wrong], moved[~wrong]


@contextmanager
def leaking(network: nn.Module, slope: float) -> Iterator[None]:
    """Let ReLUs have this slope below zero inside the block, on the way back only."""
    if not isinstance(network, FoldedResNet):
        with _LeakyBackward(slope):
            yield
        return
    network.leak = slope
    try:
        yield
    finally:
        network.leak = 0.0


class _LeakyBackward(TorchDispatchMode):
    """Inside, the pass back through a ReLU is that of a leaky one."""

    def __init__(self, slope: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.slope = slope

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.threshold_backward.default:
            gradient, output, threshold = args
            return torch.where(output > threshold, gradient, self.slope * gradient)
        return func(*args, **(kwargs or {}))
