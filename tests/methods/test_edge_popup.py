"""Edge-popup never changes its random weights: it trains scores and keeps exactly the budget."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
import torch
from torch import nn

from benchmark.networks.resnet import convolutions
from benchmark.training.schedule import learning_rate, make_optimizer
from methods.allocation import allocate, weight_budget
from methods.base import Target
from methods.edge_popup import EdgePopup
from methods.layers import compressed_layers, parameters_by_role

BINARY, FULL = Target(0.1, "binary", 0.5), Target(0.1, "fp", 0.5)


def test_the_default_hyperparameters_are_frozen():
    """A changed default would give old results another meaning under the same run hash."""
    assert asdict(EdgePopup()) == {
        "score_init": "uniform",
        "score_scale": 0.01,
        "score_fan": "none",
        "binary_init": "pm1",
        "fp_init": "uniform_pm1",
        "scale_fan": "none",
        "lr": 0.1,
        "weight_decay": 5e-4,
    }


@pytest.mark.parametrize("target", [BINARY, FULL], ids=["binary", "fp"])
def test_training_changes_scores_and_masks_but_never_the_random_weights(
    make_plan, make_batch, make_objective, train_steps, target
):
    method = EdgePopup()
    model = method.build(make_plan(), target)
    weights = [layer.weight.detach().clone() for layer in compressed_layers(model)]
    scores = [layer.scores.detach().clone() for layer in compressed_layers(model)]
    masks = torch.cat([layer.mask.flatten() for layer in compressed_layers(model)])

    train_steps(method, model, target, make_batch(), make_objective())

    for layer, weight, score in zip(compressed_layers(model), weights, scores, strict=True):
        assert torch.equal(layer.weight, weight)
        assert bool((layer.scores != score).all())
    assert not torch.equal(torch.cat([layer.mask.flatten() for layer in compressed_layers(model)]), masks)


def test_the_only_trained_tensors_are_the_37_score_tensors(make_plan):
    method = EdgePopup()
    model = method.build(make_plan(name="resnet34"), BINARY)

    (phase,) = method.phases(3, BINARY)

    roles = parameters_by_role(model)
    trained = [name for role in phase.trains for name in roles[role]]
    assert len(trained) == 37
    assert all(name.endswith(".scores") for name in trained)
    assert roles["norm"] == {}
    assert not any(norm.affine for norm in model.modules() if isinstance(norm, nn.BatchNorm2d))


@pytest.mark.parametrize("weights", ["binary", "fp"])
@pytest.mark.parametrize("allocation", [0.0, 0.1, 0.5, 1.0])
def test_the_export_keeps_exactly_the_budget_of_every_layer(
    make_plan, make_batch, make_objective, train_steps, allocation, weights
):
    method, target = EdgePopup(), Target(0.2, weights, allocation)
    model = method.build(make_plan(), target)

    before = [int(conv.weight.count_nonzero()) for conv in convolutions(method.export(model)).values()]
    train_steps(method, model, target, make_batch(), make_objective(), steps=1)
    after = [int(conv.weight.count_nonzero()) for conv in convolutions(method.export(model)).values()]

    assert before == after == allocate([layer.weight.numel() for layer in compressed_layers(model)], 0.2, allocation)


def test_the_export_keeps_exactly_the_global_budget(make_plan, make_batch, make_objective, train_steps):
    method, target = EdgePopup(), Target(0.2, "binary", "global")
    model = method.build(make_plan(), target)

    train_steps(method, model, target, make_batch(), make_objective(), steps=2)

    total = sum(layer.weight.numel() for layer in compressed_layers(model))
    kept = sum(int(conv.weight.count_nonzero()) for conv in convolutions(method.export(model)).values())
    assert kept == weight_budget(total, 0.2)


def test_a_binary_export_holds_minus_one_zero_and_one(make_plan):
    model = EdgePopup().build(make_plan(), BINARY)

    export = EdgePopup().export(model)

    levels = {value for conv in convolutions(export).values() for value in conv.weight.unique().tolist()}
    assert levels == {-1.0, 0.0, 1.0}


def test_signs_are_fair_coins(make_plan):
    model = EdgePopup().build(make_plan(width=1 / 4), BINARY)

    signs = torch.cat([layer.weight.flatten() for layer in compressed_layers(model)]).detach()

    assert abs(float(signs.mean())) < 5 / len(signs) ** 0.5


def test_signed_kaiming_constant_has_one_magnitude_per_layer(make_plan):
    model = EdgePopup(binary_init="signed_kaiming_constant").build(make_plan(), BINARY)

    for layer in compressed_layers(model):
        level = math.sqrt(2 / math.prod(layer.weight.shape[1:]))
        assert layer.weight.unique().tolist() == pytest.approx([-level, level])


@pytest.mark.parametrize(("scale_fan", "allocation"), [("global", 0.5), ("layer", 0.5), ("layer", 1.0)])
def test_kaiming_gains_count_the_kept_share_of_the_network_or_of_the_layer(make_plan, scale_fan, allocation):
    method = EdgePopup(binary_init="signed_kaiming_constant", scale_fan=scale_fan)

    model = method.build(make_plan(), Target(0.1, "binary", allocation))

    for layer in compressed_layers(model):
        share = 0.1 if scale_fan == "global" else layer.keep_count / layer.weight.numel()
        level = math.sqrt(2 / (math.prod(layer.weight.shape[1:]) * share))
        assert layer.weight.unique().tolist() == pytest.approx([-level, level])


@pytest.mark.parametrize(("init", "bound"), [("kaiming_normal", math.inf), ("kaiming_uniform", math.sqrt(3))])
def test_kaiming_weights_have_variance_two_over_fan_in(make_plan, init, bound):
    model = EdgePopup(fp_init=init).build(make_plan(width=1 / 4), FULL)

    for layer in compressed_layers(model):
        scaled = layer.weight.detach().flatten() * math.sqrt(layer.fan_in / 2)
        assert float(scaled.square().mean()) == pytest.approx(1, abs=8 / len(scaled) ** 0.5)
        assert float(scaled.abs().max()) <= bound


@pytest.mark.parametrize(
    ("fan", "inner", "last"), [("all", True, True), ("last", False, True), ("all_but_last", True, False)]
)
def test_score_scales_are_divided_by_the_root_of_fan_in_if_set(make_plan, fan, inner, last):
    model = EdgePopup(score_fan=fan, score_scale=1.0).build(make_plan(width=1 / 4), BINARY)

    *others, final = compressed_layers(model)
    for layer, divided in [*((layer, inner) for layer in others), (final, last)]:
        bound = 1 / math.sqrt(layer.fan_in) if divided else 1.0
        assert 0.95 * bound < float(layer.scores.detach().abs().max()) <= bound


def test_layer_wise_scaling_without_layer_budgets_is_refused():
    refusal = EdgePopup(scale_fan="layer").refusal(Target(0.1, "binary", "global"))

    assert refusal == "edge_popup: scale_fan 'layer' needs budgets per layer; allocation is global"


def test_full_precision_weights_are_uniform_between_minus_one_and_one(make_plan):
    model = EdgePopup().build(make_plan(width=1 / 4), FULL)

    weights = torch.cat([layer.weight.flatten() for layer in compressed_layers(model)]).detach()

    assert -1 <= weights.min() < -0.999 and 0.999 < weights.max() <= 1
    assert abs(float(weights.mean())) < 5 * 3**-0.5 / len(weights) ** 0.5
    assert float(weights.var()) == pytest.approx(1 / 3, rel=0.02)


@pytest.mark.parametrize("scale", [0.001, 0.3])
def test_uniform_scores_fill_their_bound_in_every_layer(make_plan, scale):
    model = EdgePopup(score_scale=scale).build(make_plan(width=1 / 4), BINARY)

    for layer in compressed_layers(model):
        scores = layer.scores.detach().flatten() / scale
        assert 0.95 < float(scores.abs().max()) <= 1
        assert float(scores.var()) == pytest.approx(1 / 3, abs=4 / len(scores) ** 0.5)


def test_normal_scores_have_the_scale_as_their_deviation(make_plan):
    model = EdgePopup(score_init="normal", score_scale=0.05).build(make_plan(width=1 / 4), BINARY)

    scores = torch.cat([layer.scores.detach().flatten() for layer in compressed_layers(model)]) / 0.05

    assert float(scores.std()) == pytest.approx(1, rel=0.02)
    assert float((scores.abs() > 2).float().mean()) == pytest.approx(0.0455, rel=0.1)


def test_the_search_is_sgd_with_a_cosine_on_the_scores():
    (phase,) = EdgePopup().phases(4, BINARY)

    optimizer = make_optimizer(phase, [nn.Parameter(torch.zeros(1))])

    assert phase.trains == {"scores"}
    assert isinstance(optimizer, torch.optim.SGD)
    settings = optimizer.param_groups[0]
    assert (settings["momentum"], settings["weight_decay"], settings["nesterov"]) == (0.9, 5e-4, False)
    rates = [learning_rate(phase, epoch) for epoch in range(4)]
    assert rates == pytest.approx([0.1, 0.085355339, 0.05, 0.014644661])


def test_a_dense_target_is_refused_in_a_sentence():
    refusal = EdgePopup().refusal(Target(keep_ratio=1.0))

    assert refusal == "edge_popup selects weights: keep_ratio must be below 1"
    assert EdgePopup().refusal(Target(keep_ratio=0.99)) is None


def test_a_score_scale_of_zero_is_refused():
    with pytest.raises(ValueError, match="score_scale must be positive, got 0"):
        EdgePopup(score_scale=0.0)


@pytest.mark.parametrize("target", [BINARY, FULL], ids=["binary", "fp"])
def test_the_same_seed_builds_and_trains_the_same_network(
    make_plan, make_batch, make_objective, train_steps, copy_of_state, target
):
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model = EdgePopup().build(make_plan(), target)
        train_steps(EdgePopup(), model, target, make_batch(), make_objective(), steps=2)
        states.append(copy_of_state(model))

    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["conv1.weight"], states[2]["conv1.weight"])
