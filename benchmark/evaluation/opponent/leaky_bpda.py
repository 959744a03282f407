"""PGD whose backward pass goes through inactive ReLUs too, and so reaches what they hide.

Plateaus, staircases and gates are made of units that are inactive on nearly all images, and no gradient passes an
inactive unit. BPDA (Athalye, Carlini and Wagner 2018) replaces them by something similar that has a gradient: here a
leaky ReLU. The forward pass stays the network's own, so that adversarial images really break the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmark.attacks import ascent_step
from benchmark.evaluation.fast import AttackedNetwork
from benchmark.evaluation.health.gradient_checks import summed_margin

STEPS = 20
# Of the radius: the first half of the steps crosses the ball, the second removes the rest of the margin.
STEP_SIZES = (0.25, 0.08)


def summed_mean_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of all other logits minus the label's, summed over the batch.

    On plateaus the largest other logit is one of many equal ones, and its gradient leads to no class in particular.
    """
    label = logits.gather(1, labels[:, None]).sum()
    others = (logits.sum() - label) / (logits.shape[1] - 1)
    return others - label


# Slope for inputs below zero, and loss. The steeper slope passes through two layers of inactive units; the flatter one
# distorts the gradients of the other units less.
VARIANTS = ((0.1, summed_mean_margin), (0.03, summed_margin))


def leaky_bpda(
    attacked: AttackedNetwork,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    forward: Callable[[Tensor], Tensor],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Attack with PGD through leaky ReLUs, from the image itself and without random draws.

    Only ReLUs are replaced, the only activation that an artifact can have.

    Args:
        attacked: the network whose ReLUs leak in the backward pass.
        images: (B, C, H, W) in [0, 1], classified correctly.
        labels: (B,) int64.
        epsilon: radius of the Linf ball, in (0, 1) pixels.
        forward: passes images to the network and returns logits with an input gradient, as `Attackable` does.

    Yields:
        (K,) rows that are misclassified within the ball, and the (K, C, H, W) points; no row twice.
    """
    survivors = torch.arange(len(images), device=images.device)
    for slope, loss in VARIANTS:
        points = images[survivors]
        for step in range(STEPS + 1):
            if not len(survivors):
                return
            size = epsilon * STEP_SIZES[2 * step >= STEPS]
            with attacked.leaking(slope):
                moved, logits = ascent_step(
                    forward, points, images[survivors], labels[survivors], epsilon=epsilon, step_size=size, loss=loss
                )  # the logits are those before the step
            wrong = logits.argmax(1) != labels[survivors]
            yield survivors[wrong], points[wrong]
            survivors, points = survivors[~wrong], moved[~wrong]
