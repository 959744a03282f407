"""HARP's layout: popup_scores, and a learned share per layer between k * alpha and 1."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

K, ALPHA = 0.3, 0.1
RUN = {"k": K, "alpha": ALPHA, "exp_mode": "harp_finetune", "prune_reg": "weight", "normalize": False}
SHARES = (0.9, 0.5, 0.4, 0.3, 0.3, 0.6, 0.7)  # of the seven convolutions, in order; about 0.3 of all weights


def score_of(share):
    """Return the k_score whose share this is."""
    inner = (share - K * ALPHA) / (1 - K * ALPHA)
    return math.log(inner / (1 - inner))


class HarpConv(nn.Conv2d):
    """A convolution masked at its own learned share; one score per weight or per input channel."""

    by_channel = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        shape = (1, self.weight.shape[1], 1, 1) if self.by_channel else self.weight.shape
        self.popup_scores = nn.Parameter(torch.randn(shape))
        self.k_score = nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        least = K * ALPHA
        share = torch.sigmoid(self.k_score) * (1 - least) + least
        magnitudes = self.popup_scores.abs()
        size = magnitudes.numel()
        kept = int(torch.round(share * size)) if self.by_channel else size - int((1 - share) * size)
        threshold = magnitudes.flatten().sort(descending=True).values[kept - 1]
        weight = self.weight * (magnitudes >= threshold)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class ChannelConv(HarpConv):
    by_channel = True


@pytest.fixture
def make(small_net, settled, digits):
    def build(conv):
        network = small_net(conv, affine=True)
        layers = [module for module in network.modules() if isinstance(module, conv)]
        for layer, share in zip(layers, SHARES, strict=True):
            layer.k_score.data.fill_(score_of(share))
        return settled(network, digits[0])

    return build


@pytest.fixture
def raw():
    return {"mean": None, "std": None}


@pytest.mark.parametrize(("conv", "prune_reg"), [(HarpConv, "weight"), (ChannelConv, "channel")])
def test_an_imported_network_gives_the_verdicts_of_the_original(
    conv, prune_reg, make, save_run, imports, agrees, digits, raw
):
    original = make(conv)
    state = {f"module.basic_model.{key}": value for key, value in original.state_dict().items()}
    path = save_run(state, **{**RUN, "prune_reg": prune_reg})

    imported = imports(path, "harp", **raw)

    agrees(imported, original, *digits)
    convolutions = [module for module in imported.network.modules() if isinstance(module, nn.Conv2d)]
    kept = [int((module.weight != 0).sum()) / module.weight.numel() for module in convolutions]
    expected = list(SHARES)
    if prune_reg == "channel":
        channels = [module.in_channels for module in convolutions]
        expected = [round(share * count) / count for share, count in zip(SHARES, channels, strict=True)]
    assert kept == pytest.approx(expected, abs=0.01), "a layer does not keep its learned share"


def test_before_pruning_every_weight_counts(make, save_run, imports, raw):
    path = save_run(make(HarpConv).state_dict(), **{**RUN, "exp_mode": "pretrain"})

    assert imports(path, "harp", **raw).density == 1


def test_another_k_or_alpha_shows_in_the_share_of_all_weights(make, save_run, refused, raw):
    """Without a config nothing contradicts the option, but training ends at k, and the learned shares do not fit."""
    path = save_run(make(HarpConv).state_dict())
    given = ("exp_mode=harp_finetune", "prune_reg=weight")

    other_k = refused(path, "harp", density=0.5, given=(*given, "alpha=0.1"), mean=(0.0,), std=(1.0,))
    other_alpha = refused(path, "harp", density=K, given=(*given, "alpha=0.9"), mean=(0.0,), std=(1.0,))

    assert "at k = 0.5 the learned shares keep" in other_k and "k or alpha is another" in other_alpha


def test_a_contradiction_of_the_config_is_refused(make, save_run, refused, raw):
    path = save_run(make(HarpConv).state_dict(), **RUN)

    assert "--k 0.1 contradicts" in refused(path, "harp", density=0.1, **raw)
    assert "--set alpha=0.2 contradicts" in refused(path, "harp", given=("alpha=0.2",), **raw)


@pytest.mark.parametrize("missing", ["k", "alpha", "exp_mode", "prune_reg"])
def test_nothing_that_decides_the_mask_is_guessed(missing, make, save_run, refused, raw):
    path = save_run(make(HarpConv).state_dict(), **{name: value for name, value in RUN.items() if name != missing})

    assert "--k" in refused(path, "harp", **raw) if missing == "k" else missing in refused(path, "harp", **raw)


def test_a_layer_without_its_learned_share_is_refused(make, save_run, refused, raw):
    state = make(HarpConv).state_dict()
    del state["layer1.0.conv2.k_score"]

    assert "the key layer1.0.conv2.k_score is missing" in refused(save_run(state, **RUN), "harp", **raw)


def test_the_dense_checkpoint_is_another_network_and_refused(make, save_run, refused, raw):
    """The repository folds it at k for every layer, and leaves the learned shares in it."""
    state = {key: value for key, value in make(HarpConv).state_dict().items() if not key.endswith("popup_scores")}

    assert "not the dense one beside it" in refused(save_run(state, **RUN), "harp", **raw)
