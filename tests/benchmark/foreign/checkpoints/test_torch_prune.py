"""The layout of torch.nn.utils.prune, written by torch itself."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from benchmark.networks.resnet import NetworkPlan, plain_conv

AMOUNT = 0.6


@pytest.fixture
def original(small_net, settled, digits):
    network = settled(small_net(affine=True), digits[0])
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    prune.global_unstructured(
        [(module, "weight") for module in convolutions], pruning_method=prune.L1Unstructured, amount=AMOUNT
    )
    return network


RAW = {"mean": (0.0,), "std": (1.0,)}


def test_an_imported_network_gives_the_verdicts_of_the_original(original, save_run, imports, agrees, digits):
    imported = imports(save_run(original.state_dict()), "torch-prune", **RAW)

    agrees(imported, original, *digits)
    assert imported.density == pytest.approx(1 - AMOUNT, abs=1e-3)


def test_a_pruned_bias_is_folded_too(save_run, imports, original):
    prune.random_unstructured(original.bn1, "bias", amount=0.5)

    imported = imports(save_run(original.state_dict()), "torch-prune", **RAW)

    assert int((imported.network.bn1.bias == 0).sum()) == 8


def test_a_share_other_than_the_masks_is_refused(original, save_run, imports, refused):
    path = save_run(original.state_dict())

    assert re.search(r"the masks keep 0\.(40|39).*, not 0\.5", refused(path, "torch-prune", density=0.5, **RAW))
    assert imports(path, "torch-prune", density=0.4, **RAW).density == pytest.approx(0.4, abs=1e-3)


@pytest.mark.parametrize("lost", ["conv1.weight_mask", "conv1.weight_orig"])
def test_a_mask_without_a_weight_or_the_other_way_round_is_refused(lost, original, save_run, refused):
    state = original.state_dict()
    del state[lost]

    assert "conv1.weight" in refused(save_run(state), "torch-prune", **RAW)


def test_what_is_no_mask_or_counts_twice_is_refused(original, save_run, refused):
    state = original.state_dict()
    soft = {"conv1.weight_mask": torch.full_like(state["conv1.weight_mask"], 0.5)}
    twice = {"conv1.weight": state["conv1.weight_orig"]}

    assert "not a mask of zeros and ones" in refused(save_run(state | soft), "torch-prune", **RAW)
    assert "is there beside conv1.weight_orig" in refused(save_run(state | twice), "torch-prune", **RAW)


def test_an_ordinary_state_dict_is_refused(small_net, save_run, refused):
    assert "no key ends with _orig" in refused(save_run(small_net().state_dict()), "torch-prune", **RAW)


def test_a_network_of_the_suite_brings_its_normalisation(settled, digits, save_run, imports, refused):
    plan = NetworkPlan("resnet6", 10, mean=(0.305,), std=(0.3759,), width=0.25)
    network = settled(plan(conv=plain_conv, norm=nn.BatchNorm2d), digits[0])
    prune.l1_unstructured(network.conv1, "weight", amount=0.5)
    path = save_run(network.state_dict())

    imported = imports(path, "torch-prune", mean=None, std=None)

    assert imported.normalisation[0] == pytest.approx((0.305,))
    assert "contradict the checkpoint" in refused(path, "torch-prune", mean=(0.5,), std=(0.5,))
