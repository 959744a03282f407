"""How long training steps take, against the plain implementations in `plain_steps.py`.

    make bench

Quote the ratio of the medians: all variants are timed in turn, so that a busy machine slows all of them.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmark.bench.steps import training_step
from benchmark.networks.resnet import NetworkPlan
from methods.base import Batch

# Test folders are no packages.
_SPEC = importlib.util.spec_from_file_location("plain_steps", Path(__file__).with_name("plain_steps.py"))
_MODULE = importlib.util.module_from_spec(_SPEC)
sys.modules["plain_steps"] = _MODULE
_SPEC.loader.exec_module(_MODULE)
plain_training_step = _MODULE.plain_training_step

RESNET34 = NetworkPlan("resnet34", 10, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
RESNET18 = replace(RESNET34, name="resnet18")
SMALL = replace(RESNET18, width=0.25)  # for the tests of equality
# Ours in order of speed; the contiguous one gives the plain one's bits.
VARIANTS = {
    "contiguous": {"channels_last": False},
    "channels_last": {},
    "bf16-attack": {"precision": "bf16-attack"},
}


def batch_of(size):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(size, 3, 32, 32, generator=generator)
    return Batch(images, torch.randint(10, (size,), generator=generator), 2 * torch.arange(size))


@pytest.fixture
def all_cores():
    """Time what a user waits for: training uses all cores, other tests one."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


def last_images(model):
    """Return a list whose only entry becomes the batch of the last forward pass in train mode."""
    seen = [None]
    model.register_forward_pre_hook(lambda module, inputs: seen.__setitem__(0, inputs[0].detach().clone()))
    return seen


@pytest.mark.parametrize("case", ["at/pgd", "edge_popup/pgd", "edge_popup/fast", "atmc/half_clean"])
def test_three_steps_give_the_plain_steps_bits(case):
    """Adversarial images, trained parameters, and batch-norm statistics; in the same layout, hence the same sums."""
    ours = training_step(case, SMALL, batch_of(6), num_steps=2, channels_last=False)
    plain = plain_training_step(case, SMALL, batch_of(6), num_steps=2)
    before = {name: value.clone() for name, value in ours.model.named_parameters()}
    seen = last_images(ours.model)

    for _ in range(3):
        ours()
        plain()

        assert torch.equal(seen[0], plain.adversarial)
        for (name, value), expected in zip(ours.model.named_parameters(), plain.model.parameters(), strict=True):
            assert torch.equal(value, expected), name
        # The plain network never sets the buffer `mask`.
        for (name, value), expected in zip(ours.model.named_buffers(), plain.model.buffers(), strict=True):
            assert name.endswith("mask") or torch.equal(value, expected), name
    assert any(not torch.equal(value, before[name]) for name, value in ours.model.named_parameters())
    if case.endswith("/fast"):
        assert torch.equal(ours.objective.store.levels, plain.levels)


def test_trades_finds_the_plain_steps_adversarial_images():
    """The updates differ: the plain one shows the clean images to batch norm twice."""
    ours = training_step("hydra/trades", SMALL, batch_of(6), num_steps=3, channels_last=False)
    plain = plain_training_step("hydra/trades", SMALL, batch_of(6), num_steps=3)
    seen = last_images(ours.model)

    ours()
    plain()

    assert torch.equal(seen[0], plain.adversarial)


@pytest.mark.parametrize(
    ("case", "plan", "size"),
    [
        ("edge_popup/pgd", RESNET34, 32),
        ("edge_popup/pgd", RESNET34, 128),
        ("edge_popup/fast", RESNET34, 64),
        ("hydra/trades", RESNET18, 32),
        ("atmc/half_clean", RESNET18, 32),
    ],
    ids=lambda value: value.name if isinstance(value, NetworkPlan) else str(value),
)
def test_step_time_against_the_plain_implementation(benchmark, all_cores, case, plan, size):
    steps = {"plain": plain_training_step(case, plan, batch_of(size), num_steps=10)}
    for name, options in VARIANTS.items():
        steps[name] = training_step(case, plan, batch_of(size), num_steps=10, **options)
        replace(steps[name], objective=replace(steps[name].objective, num_steps=1))()  # warm up
    seconds = {name: [] for name in steps}

    def one_round():
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)

    benchmark.pedantic(one_round, rounds=3)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {name: medians["plain"] / medians[name] for name in VARIANTS}
    benchmark.extra_info.update({name: round(value, 2) for name, value in medians.items()})
    benchmark.extra_info.update({f"{name} speed-up": round(value, 2) for name, value in ratios.items()})
    shown = ", ".join(f"{name} {medians[name]:.2f}s ({ratio:.2f}x)" for name, ratio in ratios.items())
    print(f"\n{case} {plan.name} batch {size}: plain {medians['plain']:.1f}s, {shown}")
