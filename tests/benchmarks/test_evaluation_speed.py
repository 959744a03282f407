"""How long PGD-20 and AutoAttack take, against the plain forms of the yardstick, and that their verdicts agree.

    make bench

A quarter-width ResNet10 that a few seconds of training on digits made neither safe nor hopeless. Quote the ratios of
the medians; on larger images they are larger, for there is more to compute beside the calls.
"""

from __future__ import annotations

import copy
import statistics
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.bench.yardstick.evaluation import plain_autoattack, plain_pgd
from benchmark.data.load import Images, load_test, load_training
from benchmark.evaluation.accuracy import pgd_verdicts, prepare
from benchmark.evaluation.autoattack import autoattack
from benchmark.networks.resnet import NetworkPlan, plain_conv

EPSILON, IMAGES = 32 / 255, 48


@pytest.fixture(scope="module")
def networks():
    """Return the same trained network twice: contiguous with trainable parameters, and as evaluations prepare it."""
    torch.manual_seed(0)
    plan = NetworkPlan("resnet10", 10, (0.3,), (0.4,), width=0.25)
    model, data = plan(conv=plain_conv, norm=nn.BatchNorm2d), load_training("digits", None).train
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(6):
        for rows in torch.randperm(len(data)).split(64):
            images = F.interpolate(data.images[rows].float() / 255, scale_factor=2)
            noisy = (images + 0.25 * torch.randn_like(images).sign()).clamp(0, 1)
            optimizer.zero_grad()
            F.cross_entropy(model(noisy), data.labels[rows]).backward()
            optimizer.step()
    return model.eval(), prepare(copy.deepcopy(model), "cpu").eval()


@pytest.fixture(scope="module")
def digits():
    """Return test digits, doubled in width and height."""
    data = load_test("digits", None, limit=IMAGES).test
    return Images(F.interpolate(data.images.float(), scale_factor=2).byte(), data.labels)


def compare(benchmark, name, plain, ours, *, rounds):
    """Time the two in turn, so that a busy machine slows both; check the verdicts and print the ratio."""
    assert torch.equal(plain(), ours())
    seconds = {"plain": [], "ours": []}

    def one_round():
        for which, run in (("plain", plain), ("ours", ours)):
            started = time.perf_counter()
            run()
            seconds[which].append(time.perf_counter() - started)

    benchmark.pedantic(one_round, rounds=rounds)
    medians = {which: statistics.median(values) for which, values in seconds.items()}
    ratio = medians["plain"] / medians["ours"]
    benchmark.extra_info.update({"speed-up": round(ratio, 2)})
    print(f"\n{name}: plain {medians['plain']:.2f}s, ours {medians['ours']:.2f}s, {ratio:.2f} times as fast")


def test_pgd_against_the_plain_form(benchmark, networks, digits):
    images, settings = digits.images.float() / 255, {"epsilon": EPSILON, "step_size": EPSILON / 4, "steps": 20}
    compare(
        benchmark,
        "PGD-20",
        lambda: plain_pgd(networks[0], images, digits.labels, seed=0, **settings),
        lambda: pgd_verdicts(networks[1], digits, seed=0, restarts=1, batch_size=IMAGES, **settings),
        rounds=5,
    )


def test_autoattack_against_one_plain_call(benchmark, networks, digits):
    images, settings = digits.images.float() / 255, {"epsilon": EPSILON, "seed": 0, "batch_size": IMAGES}
    compare(
        benchmark,
        "AutoAttack",
        lambda: plain_autoattack(networks[0], images, digits.labels, **settings),
        lambda: autoattack(networks[1], digits, num_classes=10, report=lambda line: None, **settings).verdicts,
        rounds=1,
    )
