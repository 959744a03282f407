"""An exported network is counted weight by weight, and refused if it misses its target."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import skip_init

from benchmark.artifact.measure import BadExport, entropy_bound_bits, measure_export
from benchmark.networks.resnet import convolutions, plain_conv, prunable_sizes
from methods.allocation import allocate

SIZES = {"0": 8, "2": 12}


@pytest.fixture
def network():
    """Return a network of 20 prunable weights, five of them kept, with two levels per layer."""
    model = nn.Sequential(nn.Conv2d(2, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1, bias=False))
    with torch.no_grad():
        model[0].weight.zero_()
        model[2].weight.zero_()
        model[0].weight.view(-1)[:2] = torch.tensor([0.5, -0.5])
        model[2].weight.view(-1)[3:6] = torch.tensor([1.0, -1.0, 1.0])
    return model.requires_grad_(False)


def test_counts_densities_and_size_of_a_small_network_match_those_computed_by_hand(network):
    measured = measure_export(network, SIZES, budget=6, binary=True)

    assert (measured.prunable_weights, measured.budget, measured.kept_weights) == (20, 6, 5)
    assert measured.all_parameters == 20 + 4 * 4  # scale, shift, running mean and variance; no step counter
    assert measured.density == 5 / 20
    assert measured.density_all == (16 + 5) / 36
    # Positions: C(8, 2) = 28 and C(12, 3) = 220; a bit per kept weight; two levels per layer; 16 other values.
    bits = math.log2(28) + math.log2(220) + 5 + 2 * 2 * 32 + 16 * 32
    assert entropy_bound_bits(network, binary=True) == pytest.approx(bits)
    assert measured.entropy_bound_bytes == math.ceil(bits / 8)


def test_a_full_precision_network_costs_32_bits_per_kept_weight(network):
    measured = measure_export(network, SIZES, budget=6, binary=False)

    bits = math.log2(28) + math.log2(220) + 5 * 32 + 16 * 32
    assert entropy_bound_bits(network, binary=False) == pytest.approx(bits)
    assert measured.entropy_bound_bytes == math.ceil(bits / 8)


def test_a_layer_with_one_level_costs_one_level(network):
    two_levels = entropy_bound_bits(network, binary=True)
    network[2].weight.abs_()

    assert two_levels - entropy_bound_bits(network, binary=True) == pytest.approx(32)


def test_positions_cost_nothing_in_a_dense_network(network):
    for layer in (network[0], network[2]):
        layer.weight.fill_(1.0)
        layer.weight.view(-1)[0] = -1.0

    bits = entropy_bound_bits(network, binary=True)

    assert bits == pytest.approx(20 + 2 * 2 * 32 + 16 * 32)


def test_the_budget_itself_is_allowed_and_one_weight_more_is_not(network):
    assert measure_export(network, SIZES, budget=5, binary=False).budget == 5

    network[0].weight.view(-1)[7] = 0.25

    with pytest.raises(BadExport, match="exported 6 weights, but the budget is 5"):
        measure_export(network, SIZES, budget=5, binary=False)


def test_a_binary_layer_with_three_levels_is_refused(network):
    network[2].weight.view(-1)[3] = 0.9

    with pytest.raises(BadExport, match="exported layer 2 has 3 nonzero values, but a binary layer has at most 2"):
        measure_export(network, SIZES, budget=6, binary=True)
    assert measure_export(network, SIZES, budget=6, binary=False).kept_weights == 5


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["0.weight", "1.running_var", "1.bias"])
def test_a_value_that_is_not_finite_is_refused(network, name, value):
    network.state_dict()[name].view(-1)[0] = value

    with pytest.raises(BadExport, match=f"exported tensor {name} holds values that are not finite"):
        measure_export(network, SIZES, budget=20, binary=False)


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"0": 8}, r"\('2', 12\)"),
        ({"0": 8, "2": 12, "4": 5}, r"\('4', 5\)"),
        ({"0": 8, "2": 13}, r"\('2', 12\), \('2', 13\)"),
        ({"0": 8, "3": 12}, r"\('2', 12\), \('3', 12\)"),
    ],
    ids=["added", "missing", "resized", "renamed"],
)
def test_convolutions_other_than_the_architectures_are_refused(network, sizes, named):
    with pytest.raises(BadExport, match=f"exported convolutions differ from the architecture's: .*{named}"):
        measure_export(network, sizes, budget=20, binary=False)


def test_the_fixed_normalisation_and_step_counters_cost_nothing(make_plan):
    plan = make_plan()
    model, sizes = plan(conv=plain_conv, norm=nn.BatchNorm2d), prunable_sizes(plan)

    measured = measure_export(model, sizes, budget=sum(sizes.values()), binary=False)

    channels = sum(norm.num_features for norm in model.modules() if isinstance(norm, nn.BatchNorm2d))
    assert measured.all_parameters - measured.prunable_weights == 4 * channels
    assert measured.prunable_weights == sum(conv.weight.numel() for conv in convolutions(model).values())
    assert (measured.density, measured.density_all) == (1.0, 1.0)


def test_the_entropy_bound_of_resnet34_at_one_percent_is_the_published_size(make_plan):
    """The paper has 0.184 MB for the mask at p=0.1; C(n, m) must not overflow."""
    sizes = prunable_sizes(make_plan(name="resnet34", width=1.0))
    kept = allocate(list(sizes.values()), 0.01, 0.1)
    model = nn.Sequential(*(skip_init(nn.Conv2d, size, 1, 1, bias=False) for size in sizes.values()))
    model.requires_grad_(False)
    for conv, count in zip(model, kept, strict=True):
        conv.weight.zero_()
        conv.weight.view(-1)[:count] = 1.0

    bits = entropy_bound_bits(model, binary=True) - sum(kept) - 37 * 32

    assert bits / 8 / 1e6 == pytest.approx(0.184, abs=0.0005)
