"""The networks inside the cheats: plain, hardened against random changes of the pixels, and trained adversarially."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.attacks import pgd
from benchmark.data.load import load_training
from benchmark.evaluation.accuracy import as_float_images
from benchmark.models import NetworkPlan, plain_conv

EPSILON = 32 / 255  # the data set's own
STEPS, BATCH, SIDE = 300, 64, 8


@cache
def plain_base() -> nn.Module:
    """Return a network for digits that was trained on clean images for a few seconds; nobody writes into it."""
    return _trained(lambda model, images, labels, generator: images)


@cache
def hardened_base() -> nn.Module:
    """Return one that was trained on noise, stripes and squares: few of those that Square tries break it."""
    return _trained(lambda model, images, labels, generator: images + random_changes(len(images), generator))


@cache
def robust_base() -> nn.Module:
    """Return one that was trained on images of PGD in two steps."""

    def attacked(model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        settings = {"epsilon": EPSILON, "step_size": EPSILON / 2, "num_steps": 2}
        return pgd(model, images, labels, random_start=True, generator=generator, **settings)

    return _trained(attacked)


def random_changes(count: int, generator: torch.Generator) -> Tensor:
    """Return (count, 1, 8, 8) changes by epsilon: a random sign for every pixel, column or square of two pixels."""
    shape = (count, 1, SIDE, SIDE)
    squares = _signs((count, 1, SIDE // 2, SIDE // 2), generator).repeat_interleave(2, 2).repeat_interleave(2, 3)
    kinds = torch.stack([_signs(shape, generator), _signs((count, 1, 1, SIDE), generator).expand(shape), squares])
    return EPSILON * kinds[torch.randint(3, (count,), generator=generator), torch.arange(count)]


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(2, shape, generator=generator) - 1.0


def _trained(change: Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]) -> nn.Module:
    data = load_training("digits", None)
    plan = NetworkPlan("resnet6", 10, data.info.mean, data.info.std, width=1 / 8, last_norm=True)
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = plan(conv=plain_conv, norm=nn.BatchNorm2d)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(data.train), (BATCH,), generator=generator)
        images, labels = as_float_images(data.train.images[rows]), data.train.labels[rows]
        images = change(model, images, labels, generator).clamp(0, 1)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        schedule.step()
    return model.requires_grad_(False).eval()
