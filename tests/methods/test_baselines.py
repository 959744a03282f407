"""RST is edge-popup with the same ratio in every layer; a small dense network is the widest within the budget."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest

from benchmark.networks.resnet import WIDTH_STEPS, convolutions, prunable_sizes
from methods.allocation import allocate, weight_budget
from methods.at import AT
from methods.base import Target
from methods.edge_popup import EdgePopup
from methods.layers import compressed_layers
from methods.rst import RST
from methods.small_dense import SmallDense


def total(plan):
    """Return the prunable weights of a plan."""
    return sum(prunable_sizes(plan).values())


def test_rst_is_edge_popup_with_the_score_scale_of_hidden_networks():
    assert asdict(RST()) == asdict(EdgePopup()) | {"score_fan": "all", "score_scale": 1.0}
    assert RST.own_axes == {"allocation": 1.0, "last_norm": False}


def test_rst_scores_start_within_one_over_the_root_of_fan_in(make_plan):
    model = RST().build(make_plan(width=1 / 4, last_norm=False), Target(0.1, "binary", 1.0))

    for layer in compressed_layers(model):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert 0.95 * bound < float(layer.scores.detach().abs().max()) <= bound


@pytest.mark.parametrize("weights", ["fp", "binary"])
def test_rst_keeps_the_same_ratio_in_every_layer(make_plan, make_batch, make_objective, train_steps, weights):
    method, target = RST(), Target(0.2, weights, 1.0)
    model = method.build(make_plan(last_norm=False), target)

    train_steps(method, model, target, make_batch(), make_objective(), steps=2)

    convs = convolutions(method.export(model)).values()
    sizes = [conv.weight.numel() for conv in convs]
    assert [int(conv.weight.count_nonzero()) for conv in convs] == allocate(sizes, 0.2, 1.0)


@pytest.mark.parametrize("allocation", [0.1, "global"])
def test_rst_refuses_other_allocations_and_dense_targets(allocation):
    reason = f"rst keeps the same ratio in every layer: allocation must be 1, got {allocation}"

    assert RST().refusal(Target(0.1, "binary", allocation)) == reason
    assert RST().refusal(Target(1.0, "binary", 1.0)) == "rst selects weights: keep_ratio must be below 1"
    assert RST().refusal(Target(0.1, "binary", 1.0)) is None


@pytest.mark.parametrize("width", [1 / 4, 1.0])
@pytest.mark.parametrize("keep_ratio", [0.01, 0.05, 0.3, 0.99])
def test_a_small_dense_network_fits_the_budget_and_the_next_wider_one_does_not(make_plan, width, keep_ratio):
    plan = make_plan(name="resnet18", width=width)

    small = SmallDense().resize(plan, Target(keep_ratio))

    budget = weight_budget(total(plan), keep_ratio)
    assert total(small) <= budget
    assert total(replace(small, width=small.width + plan.width / WIDTH_STEPS)) > budget
    assert replace(small, width=plan.width) == plan


def test_a_larger_budget_never_gives_a_narrower_network(make_plan):
    plan = make_plan(width=1 / 2)

    widths = [SmallDense().resize(plan, Target(percent / 100)).width for percent in range(2, 100, 7)]

    assert widths == sorted(widths) and widths[0] < widths[-1]


def test_a_budget_below_one_channel_per_stage_is_refused(make_plan):
    with pytest.raises(ValueError, match="is less than one channel per stage of resnet10"):
        SmallDense().resize(make_plan(), Target(0.0001))


@pytest.mark.parametrize("weights", ["fp", "binary"])
def test_a_small_dense_network_is_trained_whole_like_at(make_plan, make_batch, make_objective, train_steps, weights):
    method, target = SmallDense(), Target(0.3, weights, 1.0)
    plan = method.resize(make_plan(width=1 / 4), target)
    model = method.build(plan, target)

    train_steps(method, model, target, make_batch(), make_objective(), steps=1)

    convs = convolutions(method.export(model))
    assert {name: int(conv.weight.count_nonzero()) for name, conv in convs.items()} == prunable_sizes(plan)
    assert method.phases(8, target) == AT().phases(8, Target(weights=weights))


def test_a_small_dense_network_needs_a_budget_and_no_allocation():
    assert SmallDense().refusal(Target()) == "small_dense needs a budget: keep_ratio must be below 1"
    reason = "small_dense has no masks to allocate: allocation must be 1, got 0.1"
    assert SmallDense().refusal(Target(0.1, "fp", 0.1)) == reason
    assert SmallDense().refusal(Target(0.1, "fp", 1.0)) is None
