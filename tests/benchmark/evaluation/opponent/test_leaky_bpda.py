"""PGD through leaky ReLUs breaks a plateau that no gradient leads off, and keeps the network's forward pass."""

from __future__ import annotations

import pytest
import torch

from benchmark.attacks import pgd
from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.fast import AttackedNetwork, ComputeBatch
from benchmark.evaluation.opponent.leaky_bpda import leaky_bpda
from benchmark.evaluation.probes import Attackable

EPSILON = 0.1
MARGINS = (0.02, 0.06, 0.09, 0.11, 0.2)


def attack(network, images, epsilon=EPSILON):
    """Return the broken rows and their points."""
    attacked, forward = AttackedNetwork(network, ComputeBatch(print)), Attackable(network).eval()
    pixels = as_float_images(images.images)
    turns = list(leaky_bpda(attacked, pixels, images.labels, epsilon=epsilon, forward=forward))
    return torch.cat([rows for rows, _ in turns]), torch.cat([points for _, points in turns])


def test_a_plateau_that_pgd_does_not_leave_is_broken(plateau):
    images = plateau.at(*MARGINS)
    pixels = as_float_images(images.images)
    adversarial = pgd(
        plateau,
        pixels,
        images.labels,
        epsilon=EPSILON,
        step_size=EPSILON / 4,
        num_steps=20,
        random_start=False,
        generator=torch.Generator(),
    )
    assert (plateau(adversarial).argmax(1) == images.labels).all()

    rows, points = attack(plateau, images)

    assert sorted(rows.tolist()) == [0, 1, 2]
    assert (plateau(points).argmax(1) == 1).all()
    assert (points - pixels[rows]).abs().max() <= EPSILON + 1e-6
    assert points.min() >= 0 and points.max() <= 1


def test_an_honest_network_is_broken_exactly_where_the_margin_is_within_the_ball(linear):
    assert sorted(attack(linear, linear.at(*MARGINS))[0].tolist()) == [0, 1, 2]
    assert len(attack(linear, linear.at(0.11, 0.3))[0]) == 0


def test_a_trained_network_with_a_large_margin_is_not_broken(viewed, make_images):
    images = make_images(8)
    data = type(images)(images.images[:, :1], viewed(as_float_images(images.images[:, :1])).argmax(1))

    assert len(attack(viewed, data, epsilon=1e-5)[0]) == 0


@pytest.mark.parametrize("network", ["viewed", "plateau"])
def test_the_forward_pass_is_the_networks_own(network, request, make_images):
    network = request.getfixturevalue(network)
    passes = []

    def forward(images):
        logits = network(images)
        passes.append((images.detach().clone(), logits.detach().clone()))
        return logits

    images = as_float_images(make_images(8).images[:, :1])
    attacked = AttackedNetwork(network, ComputeBatch(print))
    list(leaky_bpda(attacked, images, network(images).argmax(1), epsilon=EPSILON, forward=forward))

    assert passes
    with torch.no_grad():
        assert all(torch.equal(network(points), logits) for points, logits in passes)
