"""HYDRA's layout: popup_scores and one k for every masked layer."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

K = 0.1
RUN = {"k": K, "normalize": False, "exp_mode": "finetune", "trainer": "adv"}


def mask_of(scores, k):
    """Return ones for the scores above the int((1 - k) * size)-th smallest magnitude."""
    magnitudes = scores.abs()
    pruned = int((1 - k) * magnitudes.numel())
    threshold = magnitudes.flatten().kthvalue(pruned).values if pruned else -1
    return (magnitudes > threshold).float()


class SubnetConv(nn.Conv2d):
    """A convolution that multiplies its weight with the mask of its scores."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.popup_scores = nn.Parameter(torch.randn_like(self.weight))

    def forward(self, x):
        weight = self.weight * mask_of(self.popup_scores, K)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class SubnetLinear(nn.Linear):
    """A linear layer that does the same; its bias is not masked."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.popup_scores = nn.Parameter(torch.randn_like(self.weight))

    def forward(self, x):
        return F.linear(x, self.weight * mask_of(self.popup_scores, K), self.bias)


@pytest.fixture
def original(small_net, settled, digits):
    return settled(small_net(SubnetConv, affine=True), digits[0])


@pytest.fixture
def raw():
    """Return the request of a network that takes images in [0, 1] as they are."""
    return {"mean": None, "std": None}


def test_an_imported_network_gives_the_verdicts_of_the_original(original, save_run, imports, agrees, digits, raw):
    path = save_run(original.state_dict(), arch="small", **RUN)

    imported = imports(path, "hydra", **raw)

    agrees(imported, original, *digits)
    assert imported.normalisation == ((0.0,), (1.0,))
    sizes = [module.weight.numel() for module in original.modules() if isinstance(module, SubnetConv)]
    kept = [int((module.weight != 0).sum()) for module in imported.network.modules() if isinstance(module, nn.Conv2d)]
    assert kept == [size - int((1 - K) * size) for size in sizes]
    assert imported.density == sum(kept) / sum(sizes)


def test_a_wide_network_with_linear_layers_and_the_stage_that_nobody_calls(
    tiny_wide, save_run, imports, settled, agrees, colours
):
    original = tiny_wide
    for module in list(original.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                arguments = (child.in_channels, child.out_channels, child.kernel_size, child.stride, child.padding)
                setattr(module, name, SubnetConv(*arguments, bias=False))
            elif isinstance(child, nn.Linear):
                setattr(module, name, SubnetLinear(child.in_features, child.out_features))
    original.sub_block1 = copy.deepcopy(original.block1)
    settled(original, colours[0])
    state = {f"module.{key}": value for key, value in original.state_dict().items()}
    path = save_run(state, arch="wrn_10_1", dataset="CIFAR10", **RUN)
    request = {"arch": None, "dataset": None, "mean": None, "std": None}

    imported = imports(path, "hydra", **request)

    agrees(imported, original, *colours)
    assert (imported.arch, imported.dataset) == ("wrn-10-1", "cifar10")
    assert not any("sub_block1" in name for name, _ in imported.network.named_parameters())


def test_an_odd_stage_that_nobody_calls_is_refused(tiny_wide, save_run, refused):
    state = tiny_wide.state_dict() | {"sub_block1.layer.0.bn1.weight": torch.ones(16)}
    state |= {"conv1.popup_scores": torch.rand(16, 3, 3, 3)}
    path = save_run(state, arch="wrn_10_1", dataset="CIFAR10", **RUN)

    sentence = refused(path, "hydra", arch=None, dataset=None, mean=None, std=None)

    assert "sub_block1.layer.0.bn1.bias" in sentence and "should look like block1" in sentence


def test_the_normalisation_of_the_config_comes_inside(
    small_net, normaliser, settled, colours, save_run, imports, agrees
):
    mean, std = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
    network = small_net(SubnetConv, channels=3, affine=True)
    original = settled(nn.Sequential(normaliser(mean, std), network), colours[0])
    path = save_run(network.state_dict(), dataset="CIFAR10", **{**RUN, "normalize": True})

    imported = imports(path, "hydra", dataset=None, mean=None, std=None)

    assert imported.normalisation == (mean, std)
    agrees(imported, original, *colours)


def test_another_k_than_the_config_s_is_refused(original, save_run, refused, raw):
    path = save_run(original.state_dict(), **RUN)

    assert "--k 0.05 contradicts" in refused(path, "hydra", density=0.05, **raw)
    assert "--set k=0.2 contradicts" in refused(path, "hydra", given=("k=0.2",), **raw)
    assert "where k is 0.1" in refused(path, "hydra", density=0.05, **raw)


def test_nothing_is_guessed_without_a_config(original, save_run, refused, imports, raw):
    path = save_run(original.state_dict())

    assert "give --k" in refused(path, "hydra")
    assert "--mean and --std" in refused(path, "hydra", density=K, **raw)
    assert imports(path, "hydra", density=K, mean=(0.0,), std=(1.0,)).config is None


@pytest.mark.parametrize("density", [0.0, -0.1, 1.01, float("nan")])
def test_a_k_that_is_no_share_is_refused(density, original, save_run, refused, raw):
    path = save_run(original.state_dict())

    assert "above 0 and at most 1" in refused(path, "hydra", density=density, **raw)


def test_another_normalisation_than_the_config_s_is_refused(original, save_run, refused):
    path = save_run(original.state_dict(), **RUN)

    assert "--mean and --std contradict" in refused(path, "hydra")


def test_a_dense_checkpoint_has_no_mask_and_is_refused(small_net, save_run, refused, raw):
    path = save_run(small_net().state_dict(), **RUN)

    assert "no key ends with .popup_scores" in refused(path, "hydra", **raw)


def test_ties_at_the_threshold_are_noted(original, save_run, imports, raw):
    state = original.state_dict()
    state["layer2.0.conv1.popup_scores"] = torch.ones_like(state["layer2.0.conv1.popup_scores"])
    path = save_run(state, **RUN)

    (note,) = imports(path, "hydra", **raw).notes

    assert note.startswith("layer2.0.conv1: 4608 weights tie")
