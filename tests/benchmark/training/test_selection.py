"""Recalibrated batch-norm statistics equal an independent computation, and nothing else changes."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from benchmark.networks.resnet import plain_conv
from benchmark.training import selection
from benchmark.training.selection import recalibrate

BATCH, COUNT = 7, 24  # batches of 6


@pytest.fixture(params=["affine", "not affine"])
def network(request, make_plan):
    """Return a plain network whose statistics are far from those of any image; LBN included."""
    model = make_plan()(conv=plain_conv, norm=partial(nn.BatchNorm2d, affine=request.param == "affine")).eval()
    for number, norm in enumerate(norms_of(model).values()):
        norm.running_mean.fill_(5.0)
        norm.running_var.fill_(9.0)
        norm.num_batches_tracked.fill_(100)
        norm.momentum = 0.01 * (number + 1)
        if norm.affine:
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    return model.requires_grad_(False)


def norms_of(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}


def literal_statistics(model, images):
    """Average mean and unbiased variance of what enters each norm over batches of six, from explicit sums."""
    model = copy.deepcopy(model).train()
    seen = {name: [] for name in norms_of(model)}
    for name, norm in norms_of(model).items():
        norm.register_forward_pre_hook(lambda _, inputs, name=name: seen[name].append(inputs[0].double()))
    for start in range(0, COUNT, 6):
        model(images[start : start + 6].float() / 255)
    statistics = {}
    for name, batches in seen.items():
        means, variances = [], []
        for batch in batches:
            values = batch.transpose(0, 1).flatten(1)  # (channels, images and pixels)
            count = values.shape[1]
            mean = values.sum(1) / count
            means.append(mean)
            variances.append((values - mean[:, None]).square().sum(1) / (count - 1))
        statistics[name] = torch.stack(means).mean(0), torch.stack(variances).mean(0)
    return statistics


def test_every_norm_gets_the_mean_over_batches_of_mean_and_unbiased_variance(network, make_images):
    images = make_images(COUNT)
    expected = literal_statistics(network, images.images)

    recalibrate(network, images, batch_size=BATCH)

    assert "last_norm" in expected and len(expected) == len(norms_of(network))
    for name, norm in norms_of(network).items():
        mean, variance = expected[name]
        torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(norm.running_var.double(), variance, rtol=1e-6, atol=1e-6)
        assert int(norm.num_batches_tracked) == COUNT / 6


def test_old_statistics_leave_no_trace(network, make_images):
    other = copy.deepcopy(network)
    for norm in norms_of(other).values():
        norm.running_mean.fill_(float("nan"))
        norm.num_batches_tracked.fill_(3)

    for model in (network, other):
        recalibrate(model, make_images(COUNT), batch_size=BATCH)

    assert same_state(network, other) == set(network.state_dict())


def test_only_the_statistics_change_not_modes_momenta_or_random_numbers(network, make_images):
    network.add_module("dropout", nn.Dropout(0.5))
    network.normalize = nn.Sequential(network.normalize, network.dropout)  # a layer that would draw in train mode
    before, momenta = copy.deepcopy(network), [norm.momentum for norm in norms_of(network).values()]
    numbers = torch.get_rng_state()

    recalibrate(network, make_images(COUNT), batch_size=BATCH)

    changed = set(network.state_dict()) - same_state(network, before)
    assert changed == {
        f"{name}.{part}"
        for name in norms_of(network)
        for part in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert [norm.momentum for norm in norms_of(network).values()] == momenta
    assert not any(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), numbers)


def test_only_the_first_images_count(network, make_images, monkeypatch):
    monkeypatch.setattr(selection, "RECALIBRATION_IMAGES", COUNT)
    images, more, other = make_images(COUNT), make_images(2 * COUNT), copy.deepcopy(network)
    more.images[:COUNT] = images.images

    recalibrate(network, images, batch_size=BATCH)
    recalibrate(other, more, batch_size=BATCH)

    assert same_state(network, other) == set(network.state_dict())


def same_state(one, other):
    """Return the names of the tensors that are equal in two networks."""
    second = other.state_dict()
    return {name for name, value in one.state_dict().items() if torch.equal(value, second[name])}
