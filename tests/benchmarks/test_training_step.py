"""How long one PGD-10 training step of edge-popup takes, against a plain implementation written here.

    make bench

The plain one selects masks by a full sort in every forward pass, lets the attack's `loss.backward()` compute parameter
gradients too, and keeps the contiguous layout. ResNet34, 1% of the weights kept. Quote the ratio of the medians.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from benchmark.models import NetworkPlan
from benchmark.training.objectives import PgdObjective
from methods.base import Batch, Target
from methods.edge_popup import EdgePopup
from methods.layers import CompressedConv2d, compressed_layers

EPSILON, STEP = 8 / 255, 2 / 255
FULL = NetworkPlan("resnet34", 10, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
SMALL = replace(FULL, name="resnet18", width=0.25)  # for the test of equality
TARGET = Target(keep_ratio=0.01, weights="binary", allocation=0.1)
METHOD = EdgePopup()
PHASE = METHOD.phases(1, TARGET)[0]


class SortedMask(torch.autograd.Function):
    @staticmethod
    def forward(ctx, magnitudes, keep):
        order = magnitudes.flatten().argsort(descending=True, stable=True)
        mask = torch.zeros(magnitudes.numel())
        mask[order[:keep]] = 1.0
        return mask.view_as(magnitudes)

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class PlainConv2d(CompressedConv2d):
    """Chooses its mask anew in every forward pass."""

    def forward(self, images):
        weight = self.weight * SortedMask.apply(self.scores.abs(), self.keep_count)
        return F.conv2d(images, weight, stride=self.stride, padding=self.padding)


def network(plan, *, plain):
    torch.manual_seed(0)
    model = METHOD.build(plan, TARGET)
    for layer in compressed_layers(model):
        layer.weight.requires_grad_(False)
        if plain:
            layer.__class__ = PlainConv2d
    return model.train()


def optimizer_of(model):
    scores = [layer.scores for layer in compressed_layers(model)]
    return torch.optim.SGD(scores, lr=0.1, momentum=0.9, weight_decay=5e-4)


def batch_of(size):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(size, 3, 32, 32, generator=generator)
    return Batch(images, torch.randint(10, (size,), generator=generator), torch.arange(size))


def plain_step(model, optimizer, batch, num_steps):
    generator = torch.Generator().manual_seed(2)
    noise = torch.rand(batch.images.shape, generator=generator)
    adversarial = (batch.images + EPSILON * (2 * noise - 1)).clamp(0, 1)
    for _ in range(num_steps):
        adversarial = adversarial.detach().requires_grad_(True)
        F.cross_entropy(model(adversarial), batch.labels).backward()
        moved = adversarial.detach() + STEP * adversarial.grad.sign()
        moved = torch.min(torch.max(moved, batch.images - EPSILON), batch.images + EPSILON)
        adversarial = moved.clamp(0, 1)
    optimizer.zero_grad()
    F.cross_entropy(model(adversarial), batch.labels).backward()
    optimizer.step()


def our_step(model, optimizer, batch, num_steps):
    objective = PgdObjective(
        epsilon=EPSILON,
        step_size=STEP,
        num_steps=num_steps,
        random_start=True,
        train_mode_attack=True,
        attack_bf16=False,
        update_bf16=False,
        crop_padding=0,
        flip=False,
        generator=torch.Generator().manual_seed(2),
    )
    optimizer.zero_grad(set_to_none=True)
    METHOD.loss(model, PHASE, batch, objective).backward()
    optimizer.step()
    METHOD.after_step(model, PHASE, 0)


def test_both_steps_make_the_same_update():
    """Same layout, hence the same sums: three steps agree to float tolerance."""
    ours, plain = network(SMALL, plain=False), network(SMALL, plain=True)
    our_optimizer, plain_optimizer = optimizer_of(ours), optimizer_of(plain)
    for _ in range(3):
        our_step(ours, our_optimizer, batch_of(4), 2)
        plain_step(plain, plain_optimizer, batch_of(4), 2)
    for our_layer, plain_layer in zip(compressed_layers(ours), compressed_layers(plain), strict=True):
        assert torch.allclose(our_layer.scores, plain_layer.scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [32])
def test_step_time_against_the_plain_implementation(benchmark, size):
    """The two are timed in turn, so that a busy machine slows both."""
    ours = network(FULL, plain=False).to(memory_format=torch.channels_last)
    plain = network(FULL, plain=True)
    our_optimizer, plain_optimizer, batch = optimizer_of(ours), optimizer_of(plain), batch_of(size)
    our_batch = batch._replace(images=batch.images.contiguous(memory_format=torch.channels_last))
    our_step(ours, our_optimizer, our_batch, 1)  # warm up
    seconds = {"ours": [], "plain": []}

    def timed(name, step, *arguments):
        started = time.perf_counter()
        step(*arguments)
        seconds[name].append(time.perf_counter() - started)

    def one_round():
        timed("plain", plain_step, plain, plain_optimizer, batch, 10)
        timed("ours", our_step, ours, our_optimizer, our_batch, 10)

    benchmark.pedantic(one_round, rounds=3)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    benchmark.extra_info.update({name: round(value, 2) for name, value in medians.items()})
    benchmark.extra_info["speed-up"] = round(medians["plain"] / medians["ours"], 2)
    print(
        f"\nbatch {size}: plain {medians['plain']:.1f}s, ours {medians['ours']:.1f}s, "
        f"{medians['plain'] / medians['ours']:.2f} times as fast"
    )
