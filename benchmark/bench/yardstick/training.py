"""Training steps in the plain form of a straightforward public implementation.

Masks and projections by a stable sort of all magnitudes, masks recomputed in every forward pass; `loss.backward()` in
the attack, which computes parameter gradients too; the contiguous layout; single precision; a CPU. TRADES is as its
authors wrote it: the gradient of the input alone, but the clean prediction recomputed in every attack step and once
more for the update. The fast objective handles stored perturbations image by image. Nothing is made slower than such
code is. Ties, random draws and starting weights are those of the benchmark, so that results compare bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.bench.steps import TrainingStep
from benchmark.training.augment import random_crop_flip
from benchmark.training.fast_objective import LEVELS, FastObjective
from benchmark.training.objectives import HalfCleanObjective, PgdObjective, TradesObjective
from methods.layers import CompressedConv2d, budget_groups


class _SortedMask(torch.autograd.Function):
    """Marks the largest magnitudes; its gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, magnitudes: Tensor, keep: int) -> Tensor:
        return sorted_mask(magnitudes, keep)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def sorted_mask(magnitudes: Tensor, keep: int) -> Tensor:
    """Mark the `keep` largest by a stable sort of everything: the earlier position wins a tie."""
    order = magnitudes.flatten().argsort(descending=True, stable=True)
    mask = torch.zeros(magnitudes.numel())
    mask[order[:keep]] = 1.0
    return mask.view_as(magnitudes)


class PlainConv2d(CompressedConv2d):
    """Recomputes its mask in every forward pass, if it has scores."""

    def forward(self, images: Tensor) -> Tensor:
        """Convolve (B, in, H, W) images with the weights that the scores select."""
        weight: Tensor = self.weight
        if self.scores is not None:
            mask: Tensor = _SortedMask.apply(self.scores.abs(), self.keep_count)  # type: ignore[no-untyped-call]
            weight = weight * mask
        return F.conv2d(images, weight, stride=self.stride, padding=self.padding)


class PlainStep(ABC):
    """Network, optimiser and settings of one training step; a subclass is its loss.

    Args:
        step: the benchmark's own, in the contiguous layout; its network, optimiser and batch are taken over.
    """

    def __init__(self, step: TrainingStep) -> None:
        self.model, self.optimizer, self.batch = step.model, step.optimizer, step.batch
        self.settings: Any = step.objective  # epsilon, step size, ...; never called
        self.generator = torch.Generator().manual_seed(step.objective.generator.initial_seed())
        self.adversarial: Tensor | None = None  # the last step's images

    def __call__(self) -> None:
        """Make one step."""
        loss = self.loss()
        self.optimizer.zero_grad()  # also what the attack left behind
        loss.backward()
        self.optimizer.step()
        self.constrain()

    @abstractmethod
    def loss(self) -> Tensor:
        """Attack, and return the scalar loss of the update."""

    def constrain(self) -> None:  # noqa: B027 - most need none
        """Restore the method's constraint on the weights after an update."""

    def images(self) -> Tensor:
        """Return the batch's images, cropped and mirrored at random."""
        return random_crop_flip(
            self.batch.images, padding=self.settings.crop_padding, flip=self.settings.flip, generator=self.generator
        )

    def project(self, adversarial: Tensor, images: Tensor) -> Tensor:
        """Move points to the nearest ones in the epsilon ball around `images` and in [0, 1]."""
        epsilon: float = self.settings.epsilon
        return torch.min(torch.max(adversarial, images - epsilon), images + epsilon).clamp(0, 1)

    def attacked(self) -> tuple[Tensor, Tensor]:
        """Return the augmented images and what PGD makes of them."""
        images, settings = self.images(), self.settings
        noise = torch.rand(images.shape, generator=self.generator)
        adversarial = self.project(images + settings.epsilon * (2 * noise - 1), images)
        for _ in range(settings.num_steps):
            adversarial = adversarial.detach().requires_grad_(True)
            F.cross_entropy(self.model(adversarial), self.batch.labels, reduction="sum").backward()
            adversarial = self.project(adversarial.detach() + settings.step_size * _sign(adversarial), images)
        self.adversarial = adversarial
        return images, adversarial


class _PgdStep(PlainStep):
    def loss(self) -> Tensor:
        _, adversarial = self.attacked()
        return F.cross_entropy(self.model(adversarial), self.batch.labels)


class _TradesStep(PlainStep):
    def loss(self) -> Tensor:
        images = self.images()
        noise = torch.randn(images.shape, generator=self.generator)
        adversarial = self.project(images + 0.001 * noise, images)
        self.model.eval()
        for _ in range(self.settings.num_steps):
            adversarial = adversarial.detach().requires_grad_(True)
            divergence = _divergence(self.model, adversarial, images, "sum")
            (gradient,) = torch.autograd.grad(divergence, adversarial)
            adversarial = self.project(adversarial.detach() + self.settings.step_size * gradient.sign(), images)
        self.model.train()
        self.adversarial = adversarial
        clean, beta = F.cross_entropy(self.model(images), self.batch.labels), float(self.settings.beta)
        return clean + beta * _divergence(self.model, adversarial, images, "batchmean")


class _HalfCleanStep(PlainStep):
    def loss(self) -> Tensor:
        images, adversarial = self.attacked()
        clean = F.cross_entropy(self.model(images), self.batch.labels)
        return 0.5 * clean + 0.5 * F.cross_entropy(self.model(adversarial), self.batch.labels)

    @torch.no_grad()
    def constrain(self) -> None:
        """Project onto the budget."""
        for layers in budget_groups(self.model):
            mask = sorted_mask(torch.cat([layer.weight.abs().flatten() for layer in layers]), layers[0].keep_count)
            for layer, part in zip(layers, mask.split([layer.weight.numel() for layer in layers]), strict=True):
                layer.weight.mul_(part.view_as(layer.weight))


class _FastStep(PlainStep):
    def __init__(self, step: TrainingStep) -> None:
        super().__init__(step)
        self.levels: Tensor = self.settings.store.levels

    def loss(self) -> Tensor:
        settings, (height, width) = self.settings, self.batch.images.shape[2:]
        crops, starts, draws = [], [], self._draws()
        for image, row, (top, left, flip) in zip(self.batch.images, self.batch.rows.tolist(), draws, strict=True):
            window = slice(top, top + height), slice(left, left + width)
            crop = F.pad(image, (settings.crop_padding,) * 4, value=settings.fill)[:, *window]
            stored = self.levels[row, :, *window].float() * (settings.epsilon / LEVELS)
            crops.append(crop.flip(2) if flip else crop)
            starts.append(stored.flip(2) if flip else stored)
        images = torch.stack(crops)
        adversarial = (images + torch.stack(starts)).requires_grad_(True)
        F.cross_entropy(self.model(adversarial), self.batch.labels, reduction="sum").backward()
        adversarial = self.project(adversarial.detach() + settings.step_size * _sign(adversarial), images)
        steps = ((adversarial - images) * (LEVELS / settings.epsilon)).round().to(torch.int8)
        for row, step, (top, left, flip) in zip(self.batch.rows.tolist(), steps, draws, strict=True):
            self.levels[row, :, top : top + height, left : left + width] = step.flip(2) if flip else step
        self.adversarial = adversarial
        return F.cross_entropy(self.model(adversarial), self.batch.labels)

    def _draws(self) -> list[tuple[int, int, bool]]:
        """Draw crop offsets and flips in the benchmark's order."""
        count, padding = len(self.batch.images), self.settings.crop_padding
        tops, lefts = torch.randint(2 * padding + 1, (2, count, 1), generator=self.generator)
        flips = torch.rand(count, generator=self.generator) < 0.5
        return list(zip(tops.flatten().tolist(), lefts.flatten().tolist(), flips.tolist(), strict=True))


_STEPS: dict[type[PgdObjective], type[PlainStep]] = {
    PgdObjective: _PgdStep,
    FastObjective: _FastStep,
    TradesObjective: _TradesStep,
    HalfCleanObjective: _HalfCleanStep,
}


def plain_training_step(step: TrainingStep) -> PlainStep:
    """Return the plain form of a training step of the bundled suite `every_step.yaml`.

    Args:
        step: in the contiguous layout, on the CPU, of full-precision weights or of edge-popup's; used up.
    """
    for module in step.model.modules():
        if isinstance(module, CompressedConv2d):
            module.__class__ = PlainConv2d
    return _STEPS[type(step.objective)](step)


def _sign(adversarial: Tensor) -> Tensor:
    assert adversarial.grad is not None, "called after `backward`"
    return adversarial.grad.sign()


def _divergence(model: nn.Module, adversarial: Tensor, images: Tensor, reduction: str) -> Tensor:
    return F.kl_div(F.log_softmax(model(adversarial), 1), F.softmax(model(images), 1), reduction=reduction)
