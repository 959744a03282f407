"""Learning rates follow the phase, in fractions of its epochs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from benchmark.training.schedule import even_batches, learning_rate, make_optimizer
from methods.base import Phase

WEIGHTS = frozenset({"weights"})


@pytest.mark.parametrize("epochs", [1, 7, 400])
def test_a_cosine_falls_from_the_full_rate_towards_zero(epochs):
    phase = Phase("train", epochs, WEIGHTS, lr=0.2)

    rates = [learning_rate(phase, epoch) for epoch in range(epochs)]

    assert rates == pytest.approx([0.2 * (1 + math.cos(math.pi * epoch / epochs)) / 2 for epoch in range(epochs)])
    assert rates[0] == 0.2
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0


@pytest.mark.parametrize(
    ("epochs", "drops"),
    [(400, (200, 300)), (20, (10, 15)), (6, (3, 5)), (2, (1, 2)), (1, (1, 1))],
)
def test_a_step_schedule_divides_by_ten_at_half_and_three_quarters(epochs, drops):
    phase = Phase("train", epochs, WEIGHTS, lr=0.1, schedule="step")

    rates = [learning_rate(phase, epoch) for epoch in range(epochs)]

    first, second = drops
    expected = [0.1] * first + [0.01] * (second - first) + [0.001] * (epochs - second)
    assert rates == pytest.approx(expected)


def test_milestones_of_the_phase_are_used():
    phase = Phase("train", 10, WEIGHTS, lr=1.0, schedule="step", milestones=(0.2, 0.4, 0.9))

    rates = [learning_rate(phase, epoch) for epoch in range(10)]

    assert rates == pytest.approx([1, 1, 0.1, 0.1, *[0.01] * 5, 0.001])


def test_sgd_takes_momentum_and_weight_decay_of_the_phase():
    parameter = nn.Parameter(torch.ones(2))
    phase = Phase("train", 1, WEIGHTS, lr=0.5, momentum=0.7, weight_decay=0.01)

    optimizer = make_optimizer(phase, [parameter])

    settings = optimizer.param_groups[0]
    assert type(optimizer) is torch.optim.SGD
    assert (settings["lr"], settings["momentum"], settings["weight_decay"]) == (0.5, 0.7, 0.01)
    assert not settings["nesterov"]
    assert settings["params"] == [parameter]


def test_adam_adds_the_weight_decay_to_the_gradient():
    phase = Phase("train", 1, WEIGHTS, lr=0.5, optimizer="adam", weight_decay=0.01)

    optimizer = make_optimizer(phase, [nn.Parameter(torch.ones(2))])

    assert type(optimizer) is torch.optim.Adam  # not AdamW, which decays the weights themselves
    assert not optimizer.defaults.get("decoupled_weight_decay", False)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.5, 0.01)


@pytest.mark.parametrize("batch_size", [2, 3, 16, 100])
@pytest.mark.parametrize("count", [2, 3, 17, 48, 99])
def test_batches_hold_every_row_once_and_at_least_two(count, batch_size):
    batches = even_batches(torch.arange(count), batch_size)

    sizes = [len(batch) for batch in batches]
    assert torch.equal(torch.cat(batches), torch.arange(count))
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2 and max(sizes) <= max(batch_size, 3)
