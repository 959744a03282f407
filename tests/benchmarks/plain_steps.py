"""The yardstick: training steps in the plain form of a straightforward public implementation.

Masks and projections by a stable sort of all magnitudes, masks anew in every forward pass; `loss.backward()` in the
attack, which computes parameter gradients too; the contiguous layout; single precision. TRADES is as its authors wrote
it: the gradient of the input alone, but the clean prediction anew in every attack step and once more for the update.
The fast objective handles stored perturbations image by image. Nothing is made slower than such code is. Ties, random
draws and starting weights are those of the benchmark, so that results can be compared bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmark.bench.steps import (
    CROP_PADDING,
    EPSILON,
    FAST_STEP,
    FILL,
    STEP_SIZE,
    TRADES_BETA,
    training_step,
)
from benchmark.training.augment import random_crop_flip
from benchmark.training.fast_objective import LEVELS
from methods.base import Batch
from methods.layers import CompressedConv2d, budget_groups


def sorted_mask(magnitudes, keep):
    """Mark the `keep` largest by a stable sort of everything: the earlier position wins a tie."""
    order = magnitudes.flatten().argsort(descending=True, stable=True)
    mask = torch.zeros(magnitudes.numel())
    mask[order[:keep]] = 1.0
    return mask.view_as(magnitudes)


class SortedMask(torch.autograd.Function):
    @staticmethod
    def forward(ctx, magnitudes, keep):
        return sorted_mask(magnitudes, keep)

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class PlainConv2d(CompressedConv2d):
    """Chooses its mask anew in every forward pass, if it has scores."""

    def forward(self, images):
        weight = self.weight
        if self.scores is not None:
            weight = weight * SortedMask.apply(self.scores.abs(), self.keep_count)
        return F.conv2d(images, weight, stride=self.stride, padding=self.padding)


def project(adversarial, images):
    return torch.min(torch.max(adversarial, images - EPSILON), images + EPSILON).clamp(0, 1)


def pgd(model, images, labels, num_steps, generator):
    noise = torch.rand(images.shape, generator=generator)
    adversarial = project(images + EPSILON * (2 * noise - 1), images)
    for _ in range(num_steps):
        adversarial = adversarial.detach().requires_grad_(True)
        F.cross_entropy(model(adversarial), labels, reduction="sum").backward()
        adversarial = project(adversarial.detach() + STEP_SIZE * adversarial.grad.sign(), images)
    return adversarial


def kl(model, adversarial, images, reduction):
    return F.kl_div(F.log_softmax(model(adversarial), 1), F.softmax(model(images), 1), reduction=reduction)


@dataclass
class PlainStep:
    """Network, optimiser and generator of one case; a subclass is its step."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batch: Batch
    num_steps: int
    generator: torch.Generator
    adversarial: Any = None  # the last step's images

    def __call__(self):
        loss = self.loss()
        self.optimizer.zero_grad()  # also what the attack left behind
        loss.backward()
        self.optimizer.step()
        self.constrain()

    def images(self):
        return random_crop_flip(self.batch.images, padding=CROP_PADDING, flip=True, generator=self.generator)

    def attacked(self):
        images = self.images()
        self.adversarial = pgd(self.model, images, self.batch.labels, self.num_steps, self.generator)
        return images, self.adversarial

    def constrain(self):
        pass


class PgdStep(PlainStep):
    def loss(self):
        _, adversarial = self.attacked()
        return F.cross_entropy(self.model(adversarial), self.batch.labels)


class TradesStep(PlainStep):
    def loss(self):
        images = self.images()
        noise = torch.randn(images.shape, generator=self.generator)
        adversarial = project(images + 0.001 * noise, images)
        self.model.eval()
        for _ in range(self.num_steps):
            adversarial = adversarial.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(kl(self.model, adversarial, images, "sum"), adversarial)
            adversarial = project(adversarial.detach() + STEP_SIZE * gradient.sign(), images)
        self.model.train()
        self.adversarial = adversarial
        clean = F.cross_entropy(self.model(images), self.batch.labels)
        return clean + TRADES_BETA * kl(self.model, adversarial, images, "batchmean")


class HalfCleanStep(PlainStep):
    def loss(self):
        images, adversarial = self.attacked()
        clean = F.cross_entropy(self.model(images), self.batch.labels)
        return 0.5 * clean + 0.5 * F.cross_entropy(self.model(adversarial), self.batch.labels)

    @torch.no_grad()
    def constrain(self):
        """Project onto the budget."""
        for layers in budget_groups(self.model):
            mask = sorted_mask(torch.cat([layer.weight.abs().flatten() for layer in layers]), layers[0].keep_count)
            for layer, part in zip(layers, mask.split([layer.weight.numel() for layer in layers]), strict=True):
                layer.weight.mul_(part.view_as(layer.weight))


class FastStep(PlainStep):
    levels: torch.Tensor

    def draws(self):
        """Draw crop offsets and flips in the benchmark's order."""
        count = len(self.batch.images)
        tops, lefts = torch.randint(2 * CROP_PADDING + 1, (2, count, 1), generator=self.generator)
        flips = torch.rand(count, generator=self.generator) < 0.5
        return list(zip(tops.flatten().tolist(), lefts.flatten().tolist(), flips.tolist(), strict=True))

    def loss(self):
        height, width = self.batch.images.shape[2:]
        draws, images, start = self.draws(), [], []
        for image, row, (top, left, flip) in zip(self.batch.images, self.batch.rows.tolist(), draws, strict=True):
            window = slice(top, top + height), slice(left, left + width)
            crop = F.pad(image, (CROP_PADDING,) * 4, value=FILL)[:, *window]
            stored = self.levels[row, :, *window].float() * (EPSILON / LEVELS)
            images.append(crop.flip(2) if flip else crop)
            start.append(stored.flip(2) if flip else stored)
        images = torch.stack(images)
        adversarial = (images + torch.stack(start)).requires_grad_(True)
        F.cross_entropy(self.model(adversarial), self.batch.labels, reduction="sum").backward()
        adversarial = project(adversarial.detach() + FAST_STEP * adversarial.grad.sign(), images)
        steps = ((adversarial - images) * (LEVELS / EPSILON)).round().to(torch.int8)
        for row, step, (top, left, flip) in zip(self.batch.rows.tolist(), steps, draws, strict=True):
            self.levels[row, :, top : top + height, left : left + width] = step.flip(2) if flip else step
        self.adversarial = adversarial
        return F.cross_entropy(self.model(adversarial), self.batch.labels)


STEPS = {"pgd": PgdStep, "fast": FastStep, "trades": TradesStep, "half_clean": HalfCleanStep}


def plain_training_step(case, plan, batch, *, num_steps):
    """Return a callable that makes one plain training step of a case of `benchmark.bench.steps` each time."""
    ours = training_step(case, plan, batch, num_steps=num_steps, channels_last=False)
    for module in ours.model.modules():
        if isinstance(module, CompressedConv2d):
            module.__class__ = PlainConv2d
    step = STEPS[case.partition("/")[2]](ours.model, ours.optimizer, batch, num_steps, torch.Generator().manual_seed(0))
    if case.endswith("/fast"):
        step.levels = ours.objective.store.levels
    return step
