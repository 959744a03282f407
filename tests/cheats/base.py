"""The networks inside the cheats: hardened against random pixel changes, or trained adversarially."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.attacks import pgd
from benchmark.data.load import load_training
from benchmark.evaluation.accuracy import as_float_images
from benchmark.networks.resnet import NetworkPlan, plain_conv

EPSILON = 32 / 255  # of the data set
BATCH, SIDE = 64, 8
BEYOND = 1.3  # size of the noise in training, relative to epsilon


@cache
def hardened_base() -> nn.Module:
    """Return a network for digits trained on noise, stripes and squares, so that Square rarely breaks it."""
    return _trained(lambda model, images, labels, generator: images + random_changes(len(images), generator), steps=600)


@cache
def robust_base() -> nn.Module:
    """Return a network trained on images of two-step PGD."""

    def attack(model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        settings = {"epsilon": EPSILON, "step_size": EPSILON / 2, "num_steps": 2}
        return pgd(model, images, labels, random_start=True, generator=generator, **settings)

    return _trained(attack, steps=300)


def random_changes(count: int, generator: torch.Generator) -> Tensor:
    """Return (count, 1, 8, 8) changes like Square's: stripes, with or without a square, small squares, or noise."""
    shape, places = (count, 1, SIDE, SIDE), torch.arange(SIDE)
    stripes = _signs((count, 1, 1, SIDE), generator).expand(shape)
    side = torch.randint(3, SIDE, (count, 1), generator=generator)
    starts = (torch.rand(2, count, 1, generator=generator) * (SIDE + 1 - side)).floor()
    rows, columns = ((places >= start) & (places < start + side) for start in starts)
    covered = rows[:, None, :, None] & columns[:, None, None, :]
    square = torch.where(covered, _signs((count, 1, 1, 1), generator), stripes)
    small = _signs((count, 1, SIDE // 2, SIDE // 2), generator).repeat_interleave(2, 2).repeat_interleave(2, 3)
    kinds = torch.stack([_signs(shape, generator), stripes, square, small])
    return BEYOND * EPSILON * kinds[torch.randint(len(kinds), (count,), generator=generator), torch.arange(count)]


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(2, shape, generator=generator) - 1.0


def _trained(change: Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor], *, steps: int) -> nn.Module:
    data = load_training("digits", None)
    plan = NetworkPlan("resnet6", 10, data.info.mean, data.info.std, width=1 / 8, last_norm=True)
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = plan(conv=plain_conv, norm=nn.BatchNorm2d)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(len(data.train), (BATCH,), generator=generator)
        images, labels = as_float_images(data.train.images[rows]), data.train.labels[rows]
        images = change(model, images, labels, generator).clamp(0, 1)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        schedule.step()
    return model.requires_grad_(False).eval()
