"""AutoAttack and PGD as anyone would write them who gives speed no thought.

AutoAttack is one call of the package. The network is taken as it is: its layout, separate batch norms, parameters that
require gradients. Nothing here imports the project's evaluation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STANDARD_TARGETS = 9


def plain_autoattack(
    model: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float, seed: int, batch_size: int
) -> Tensor:
    """Return which images survive AutoAttack standard, by one plain call of the package.

    Args:
        model: network in eval mode on [0, 1] images.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64.
        epsilon: radius of the Linf ball, in (0, 1) pixels.
        seed: of every attack.
        batch_size: images per call of an attack.

    Returns:
        (N,) bool; False also for images that are misclassified without an attack.
    """
    from pyautoattack import AutoAttack

    adversary = AutoAttack(model, eps=epsilon, norm="Linf", version="standard", seed=seed, device=images.device)
    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    targets = min(STANDARD_TARGETS, classes - 1)
    adversary.apgd_targeted.n_target_classes = adversary.fab.n_target_classes = targets
    with torch.random.fork_rng(devices=[images.device] if images.device.type == "cuda" else []):
        _, predicted = adversary.run_standard_evaluation(images, labels, batch_size=batch_size)
    survives: Tensor = predicted == labels
    return survives


def plain_pgd(
    model: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float, step_size: float, steps: int, seed: int
) -> Tensor:
    """Return which images are classified correctly at every point of a PGD attack, gradients by `loss.backward()`.

    The clean image, the random start and the point after each step count. The parameters get gradients too, as they do
    in a plain loop; they are dropped after every step.

    Args:
        model: network in eval mode on [0, 1] images.
        images: (N, C, H, W) float32 in [0, 1], one batch.
        labels: (N,) int64.
        epsilon: radius of the Linf ball, in (0, 1) pixels.
        step_size: of one signed step, in pixels.
        steps: gradient steps.
        seed: of the random start.

    Returns:
        (N,) bool.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(images.shape, generator=generator).to(images.device)
    adversarial = (images + epsilon * (2 * noise - 1)).clamp(0, 1)
    with torch.no_grad():
        robust: Tensor = model(images).argmax(1) == labels
    for _ in range(steps):
        adversarial = adversarial.detach().requires_grad_(True)
        logits = model(adversarial)
        F.cross_entropy(logits, labels, reduction="sum").backward()
        model.zero_grad()
        robust &= logits.argmax(1) == labels
        assert adversarial.grad is not None, "after `backward`"
        moved = adversarial.detach() + step_size * adversarial.grad.sign()
        adversarial = torch.min(torch.max(moved, images - epsilon), images + epsilon).clamp(0, 1)
    with torch.no_grad():
        robust &= model(adversarial).argmax(1) == labels
    return robust
