"""The networks inside the cheats: one trained on clean images, hence not robust, and one trained adversarially."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from benchmark.attacks import pgd
from benchmark.data.load import load_training
from benchmark.evaluation.accuracy import as_float_images
from benchmark.models import NetworkPlan, plain_conv

EPSILON = 32 / 255  # the data set's own
STEPS, BATCH = 300, 64


@cache
def plain_base() -> nn.Module:
    """Return a network for digits that was trained on clean images for three seconds; nobody writes into it."""
    return _trained(attack_steps=0)


@cache
def robust_base() -> nn.Module:
    """Return one that was trained on images of PGD in two steps."""
    return _trained(attack_steps=2)


def _trained(attack_steps: int) -> nn.Module:
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
        if attack_steps:
            images = pgd(
                model,
                images,
                labels,
                epsilon=EPSILON,
                step_size=EPSILON / 2,
                num_steps=attack_steps,
                random_start=True,
                generator=generator,
            )
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        schedule.step()
    return model.requires_grad_(False).eval()
