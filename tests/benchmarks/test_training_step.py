"""How long training steps take, against the plain implementations of the yardstick.

    make bench

Quote the ratio of the medians: all variants are timed in turn, so that a busy machine slows all of them.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import replace

import pytest
import torch

from benchmark.bench.yardstick.training import plain_training_step

SMALL = ("architecture.name=resnet18", "architecture.width=0.25")  # for the tests of equality
FULL = ("architecture.width=1.0",)
# Ours in order of speed; the contiguous one gives the plain one's bits.
VARIANTS = {"contiguous": ("fp32", False), "channels_last": ("fp32", True), "bf16-attack": ("bf16-attack", True)}


@pytest.fixture
def make_pair(make_step):
    """Return the maker of a step and its plain form: the same network, six images far apart in the training set."""

    def make(case, steps):
        made = [
            make_step(case, *SMALL, f"training.attack.num_steps={steps}", batch_size=12, channels_last=False)
            for _ in range(2)
        ]
        ours, plain = (replace(step, batch=type(step.batch)(*(part[::2] for part in step.batch))) for step in made)
        return ours, plain_training_step(plain)

    return make


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
def test_three_steps_give_the_plain_steps_bits(case, make_pair):
    """Adversarial images, trained parameters, and batch-norm statistics; in the same layout, hence the same sums."""
    ours, plain = make_pair(case, 2)
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


def test_trades_finds_the_plain_steps_adversarial_images(make_pair):
    """The updates differ: the plain one shows the clean images to batch norm twice."""
    ours, plain = make_pair("hydra/trades", 3)
    seen = last_images(ours.model)

    ours()
    plain()

    assert torch.equal(seen[0], plain.adversarial)


@pytest.mark.parametrize(
    ("case", "network", "size"),
    [
        ("edge_popup/pgd", "resnet34", 32),
        ("edge_popup/pgd", "resnet34", 128),
        ("edge_popup/fast", "resnet34", 64),
        ("hydra/trades", "resnet18", 32),
        ("atmc/half_clean", "resnet18", 32),
    ],
)
def test_step_time_against_the_plain_implementation(benchmark, all_cores, make_step, case, network, size):
    def make(precision, channels_last):
        settings = (f"architecture.name={network}", *FULL, f"training.precision={precision}")
        return make_step(case, *settings, batch_size=size, channels_last=channels_last)

    steps = {"plain": plain_training_step(make("fp32", channels_last=False))}
    for name, variant in VARIANTS.items():
        steps[name] = make(*variant)
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
    print(f"\n{case} {network} batch {size}: plain {medians['plain']:.1f}s, {shown}")
