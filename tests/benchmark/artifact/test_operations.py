"""Operations are counted exactly: compared with small networks by hand and with torch's counter on dense ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.artifact.operations import Operations, operations
from benchmark.networks.count import multiply_adds
from benchmark.networks.resnet import convolutions, plain_conv


def keep(conv, values):
    """Set the first weights of a convolution to `values` and all others to zero."""
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight.view(-1)[: len(values)] = torch.tensor(values)
    return conv


def test_a_strided_padded_layer_and_a_1x1_layer_match_counts_by_hand():
    network = nn.Sequential(
        keep(nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), [0.5, -0.5, 0.5]),  # 7x5 to 4x3 positions
        nn.ReLU(),
        keep(nn.Conv2d(4, 2, 1, bias=False), [1.0, 2.0, 3.0, 0.0, 4.0]),
    )

    assert operations(network, 3, (7, 5)) == Operations(
        dense_macs=12 * (4 * 3 * 9) + 12 * (2 * 4),
        sparse_macs=12 * 3 + 12 * 4,
        bit_operations=12 * 3 * 1 * 32 + 12 * 4 * 32 * 32,
    )


def test_without_padding_the_border_has_no_positions():
    network = keep(nn.Conv2d(1, 1, 3, bias=False), [1.0] * 9)

    assert operations(network, 1, (5, 4)) == Operations(3 * 2 * 9, 3 * 2 * 9, 3 * 2 * 9 * 32)


@pytest.mark.parametrize(
    ("values", "bits"), [([], 0), ([0.3], 1), ([0.3, -0.1], 1), ([0.3, -0.1, 0.3], 1), ([0.3, -0.1, 0.2], 32)]
)
def test_a_layer_of_two_levels_has_one_bit_per_weight(values, bits):
    network = keep(nn.Conv2d(1, 3, 1, bias=False), values)

    assert operations(network, 1, (2, 2)).bit_operations == 4 * len(values) * bits * 32


def test_a_bottleneck_block_matches_the_count_by_hand(make_plan):
    plan = make_plan(name="resnet50", width=1 / 64)
    network = plan(conv=plain_conv, norm=nn.BatchNorm2d)
    first = network.layer1[0]  # 1, 1, 4 channels on 8x8, and a 1x1 shortcut

    counted = operations(nn.Sequential(first), 1, (8, 8))

    assert counted.dense_macs == counted.sparse_macs == 64 * (1 * 1 + 1 * 1 * 9 + 1 * 4 + 1 * 4)


def test_a_layer_that_runs_twice_counts_twice():
    shared = keep(nn.Conv2d(2, 2, 1, bias=False), [1.0, 1.0, 1.0])

    assert operations(nn.Sequential(shared, nn.ReLU(), shared), 2, (3, 3)).sparse_macs == 2 * 9 * 3


@pytest.mark.parametrize("name", ["resnet10", "resnet50"])
def test_a_dense_network_matches_torchs_counter_and_the_plan(make_plan, name):
    plan = make_plan(name=name)
    network = plan(conv=plain_conv, norm=nn.BatchNorm2d).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 16, 16))

    counted = operations(network, 3, (16, 16))

    assert 2 * counted.dense_macs == counter.get_total_flops()
    assert counted.dense_macs == counted.sparse_macs == multiply_adds(plan, 3, 16)
    assert counted.bit_operations == counted.dense_macs * 1024


def test_counting_does_not_change_statistics_mode_or_hooks(make_plan, copy_of_state):
    network = make_plan()(conv=plain_conv, norm=nn.BatchNorm2d).train()
    before = copy_of_state(network)

    operations(network, 3, (8, 8))

    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in copy_of_state(network).items())
    assert not any(conv._forward_hooks for conv in convolutions(network).values())
