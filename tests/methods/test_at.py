"""AT trains a dense network: real weights with SGD, or signs of clipped latent weights with Adam."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch import nn

from benchmark.networks.resnet import convolutions
from benchmark.training.schedule import learning_rate, make_optimizer
from methods.at import AT
from methods.base import Target
from methods.layers import compressed_layers

BINARY, FULL = Target(weights="binary"), Target(weights="fp")


def test_the_default_hyperparameters_are_frozen():
    """A changed default would give old results another meaning under the same run hash."""
    assert asdict(AT()) == {"lr": 0.1, "binary_lr": 1e-4, "weight_decay": 5e-4}


def test_every_layer_of_a_binary_network_computes_with_signs_while_latent_weights_stay_clipped(
    make_plan, make_batch, make_objective, train_steps
):
    method = AT(binary_lr=0.5)  # large, so that every update would leave [-1, 1]
    model = method.build(make_plan(name="resnet34"), BINARY)
    start = [layer.weight.detach().clone() for layer in compressed_layers(model)]
    seen = []

    def look(model):
        layers = compressed_layers(model)
        seen.append(max(float(layer.weight.detach().abs().max()) for layer in layers))
        assert all(set(layer.effective_weight().unique().tolist()) <= {-1.0, 1.0} for layer in layers)

    train_steps(method, model, BINARY, make_batch(8), make_objective(), steps=2, after_each=look)

    assert len(start) == 37
    assert max(float(weight.abs().max()) for weight in start) <= 1.0
    assert seen == [1.0, 1.0]
    assert all(
        not torch.equal(layer.weight, before) for layer, before in zip(compressed_layers(model), start, strict=True)
    )


def test_a_full_precision_network_is_not_clipped(make_plan, make_batch, make_objective, train_steps):
    method = AT(lr=50.0)
    model = method.build(make_plan(), FULL)

    train_steps(method, model, FULL, make_batch(), make_objective(), steps=1)

    assert max(float(layer.weight.detach().abs().max()) for layer in compressed_layers(model)) > 1.0


@pytest.mark.parametrize("target", [BINARY, FULL], ids=["binary", "fp"])
def test_weights_start_kaiming_normal(make_plan, target):
    model = AT().build(make_plan(width=1 / 4), target)

    for layer in compressed_layers(model):
        scaled = layer.weight.detach().flatten() * (layer.fan_in / 2) ** 0.5
        assert abs(float(scaled.std()) - 1) < 5 / len(scaled) ** 0.5
        assert abs(float(scaled.mean())) < 5 / len(scaled) ** 0.5


@pytest.mark.parametrize("target", [BINARY, FULL], ids=["binary", "fp"])
def test_batch_norm_is_affine_everywhere(make_plan, target):
    model = AT().build(make_plan(), target)

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]

    assert len(norms) == 13
    assert all(norm.affine for norm in norms)


def test_a_full_precision_run_is_sgd_with_drops_at_half_and_three_quarters():
    (phase,) = AT().phases(8, FULL)

    optimizer = make_optimizer(phase, [nn.Parameter(torch.zeros(1))])

    assert phase.trains == {"weights", "norm"}
    assert isinstance(optimizer, torch.optim.SGD)
    settings = optimizer.param_groups[0]
    assert (settings["momentum"], settings["weight_decay"], settings["nesterov"]) == (0.9, 5e-4, False)
    rates = [learning_rate(phase, epoch) for epoch in range(8)]
    assert rates == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)


def test_a_binary_run_is_adam_with_a_cosine():
    (phase,) = AT().phases(4, BINARY)

    optimizer = make_optimizer(phase, [nn.Parameter(torch.zeros(1))])

    assert phase.trains == {"weights", "norm"}
    assert type(optimizer) is torch.optim.Adam
    assert (optimizer.param_groups[0]["betas"], optimizer.param_groups[0]["weight_decay"]) == ((0.9, 0.999), 5e-4)
    rates = [learning_rate(phase, epoch) for epoch in range(4)]
    assert rates == pytest.approx([1e-4, 0.85355339e-4, 0.5e-4, 0.14644661e-4])


@pytest.mark.parametrize("weights", ["fp", "binary"])
def test_a_pruned_target_is_refused_in_a_sentence(weights):
    refusal = AT().refusal(Target(keep_ratio=0.5, weights=weights))

    assert refusal == "at trains dense networks: keep_ratio must be 1, got 0.5"
    assert AT().refusal(Target(weights=weights)) is None


def test_a_binary_export_holds_only_signs_and_a_full_precision_one_the_weights(make_plan):
    binary, full = AT().build(make_plan(), BINARY), AT().build(make_plan(), FULL)

    binary_export, full_export = AT().export(binary), AT().export(full)

    assert {value for conv in convolutions(binary_export).values() for value in conv.weight.unique().tolist()} == {
        -1.0,
        1.0,
    }
    for conv, layer in zip(convolutions(full_export).values(), compressed_layers(full), strict=True):
        assert torch.equal(conv.weight, layer.weight)


@pytest.mark.parametrize("target", [BINARY, FULL], ids=["binary", "fp"])
def test_the_same_seed_builds_the_same_network(make_plan, target):
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        networks.append(torch.cat([value.flatten() for value in AT().build(make_plan(), target).parameters()]))

    assert torch.equal(networks[0], networks[1])
    assert not torch.equal(networks[0], networks[2])
