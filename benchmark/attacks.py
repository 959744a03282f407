"""Linf PGD as pure functions, used by the training objectives and the evaluation; independent of methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.runtime.part import WHOLE, BatchPart

TRADES_START = 0.001  # standard deviation of the initial noise, for pixels in [0, 1]


@contextmanager
def input_gradients_only(model: nn.Module) -> Iterator[None]:
    """Freeze all parameters inside the block, so that an attack computes only the input's gradient."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def project(adversarial: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """Project `adversarial` onto the epsilon ball around `images` within [0, 1]."""
    return torch.minimum(torch.maximum(adversarial, images - epsilon), images + epsilon).clamp(0.0, 1.0)


def random_point(images: Tensor, epsilon: float, generator: torch.Generator, part: BatchPart = WHOLE) -> Tensor:
    """Draw uniformly from the epsilon ball around each image, then clip to [0, 1]."""
    noise = part.drawn(lambda count: _noise(torch.rand, count, images, generator), len(images))
    return project(images + epsilon * (2.0 * noise - 1.0), images, epsilon)


def _noise(draw: Callable[..., Tensor], count: int, images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw `count` tensors like those in `images`."""
    shape = (count, *images.shape[1:])
    return draw(shape, generator=generator, device=images.device, dtype=images.dtype)


def summed_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy summed over the batch; (B, classes) logits, (B,) int64 labels."""
    return F.cross_entropy(logits, labels, reduction="sum")


def summed_kl(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Return KL(probabilities || softmax(logits)) summed over the batch; both (B, classes)."""
    return F.kl_div(F.log_softmax(logits, 1), probabilities, reduction="sum")


def ascent_step(
    model: Callable[[Tensor], Tensor],
    adversarial: Tensor,
    images: Tensor,
    target: Tensor,
    *,
    epsilon: float,
    step_size: float,
    loss: Callable[[Tensor, Tensor], Tensor] = summed_cross_entropy,
) -> tuple[Tensor, Tensor]:
    """Take one signed gradient step that increases `loss(logits, target)`, and project it.

    Returns:
        The next point (B, C, H, W), and the logits (B, classes) at the point before the step.
    """
    with torch.enable_grad():
        point = adversarial.detach().requires_grad_(True)
        logits = model(point)
        (gradient,) = torch.autograd.grad(loss(logits.float(), target), point)
    return project(point.detach() + step_size * gradient.sign(), images, epsilon), logits.detach()


def pgd(
    model: nn.Module,
    images: Tensor,  # (B, C, H, W) in [0, 1]
    labels: Tensor,  # (B,) int64
    *,
    epsilon: float,
    step_size: float,
    num_steps: int,
    random_start: bool,
    generator: torch.Generator,
    part: BatchPart = WHOLE,
) -> Tensor:
    """Return the last point of a PGD attack (Madry et al. 2018); the caller sets mode and precision of `model`.

    Runs exactly `num_steps` forward and backward passes; the returned point itself is not evaluated.
    DEVIATION: the paper's released code returns the worst of the first `num_steps` points instead of the last.

    Returns:
        (B, C, H, W) images within epsilon of `images` and within [0, 1], detached.
    """
    adversarial = random_point(images, epsilon, generator, part) if random_start else images
    with input_gradients_only(model):
        for _ in range(num_steps):
            adversarial, _ = ascent_step(model, adversarial, images, labels, epsilon=epsilon, step_size=step_size)
    return adversarial


def trades_attack(
    model: nn.Module,
    images: Tensor,  # (B, C, H, W) in [0, 1]
    *,
    epsilon: float,
    step_size: float,
    num_steps: int,
    generator: torch.Generator,
    part: BatchPart = WHOLE,
) -> Tensor:
    """Return images whose predictions are far from those of `images` in KL divergence (Zhang et al. 2019).

    Starts with Gaussian noise. The clean prediction does not change during the attack, so it is computed once.
    """
    noise = part.drawn(lambda count: _noise(torch.randn, count, images, generator), len(images))
    adversarial = project(images + TRADES_START * noise, images, epsilon)
    with input_gradients_only(model):
        with torch.no_grad():
            probabilities = F.softmax(model(images).float(), 1)
        for _ in range(num_steps):
            adversarial, _ = ascent_step(
                model, adversarial, images, probabilities, epsilon=epsilon, step_size=step_size, loss=summed_kl
            )
    return adversarial
