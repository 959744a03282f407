"""The layout of hidden-networks: scores, and a prune_rate that is the share of kept weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

KEPT = 0.3
MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
RUN = {"prune_rate": KEPT, "conv_type": "SubnetConv", "set": "CIFAR10", "bn_type": "NonAffineBatchNorm"}


class SubnetConv(nn.Conv2d):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.scores = nn.Parameter(torch.randn_like(self.weight))

    def forward(self, x):
        magnitudes = self.scores.abs()
        kept = magnitudes.numel() - int((1 - KEPT) * magnitudes.numel())
        chosen = magnitudes.flatten().topk(kept).indices
        mask = torch.zeros(magnitudes.numel()).index_fill_(0, chosen, 1.0).view_as(magnitudes)
        return F.conv2d(x, self.weight * mask, self.bias, self.stride, self.padding)


class FixedSubnetConv(nn.Conv2d):
    """Its scores are the mask."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.scores = nn.Parameter((torch.rand_like(self.weight) < KEPT).float())

    def forward(self, x):
        return F.conv2d(x, self.weight * self.scores, self.bias, self.stride, self.padding)


@pytest.fixture
def make(small_net, normaliser, settled, colours):
    """Return what makes the network behind the loader's normalisation, and the state dict of the network alone."""

    def build(conv):
        network = small_net(conv, channels=3)
        whole = settled(nn.Sequential(normaliser(MEAN, STD), network), colours[0])
        return whole, network.state_dict()

    return build


OPEN = {"dataset": None, "mean": None, "std": None}


@pytest.mark.parametrize(("conv", "kind"), [(SubnetConv, "SubnetConv"), (FixedSubnetConv, "FixedSubnetConv")])
def test_an_imported_network_gives_the_verdicts_of_the_original(conv, kind, make, save_run, imports, agrees, colours):
    original, state = make(conv)
    path = save_run(state, file="settings.txt", **{**RUN, "conv_type": kind})

    imported = imports(path, "hidden-networks", **OPEN)

    agrees(imported, original, *colours)
    assert (imported.dataset, imported.normalisation) == ("cifar10", (MEAN, STD))
    assert imported.density == pytest.approx(KEPT, abs=0.01)


def test_the_default_of_a_yaml_config_is_no_prune_rate(make, save_run, imports, refused, tmp_path):
    path = save_run(make(SubnetConv)[1])
    config = tmp_path / "resnet18-usc-unsigned.yaml"
    config.write_text("arch: small\nset: CIFAR10\nconv_type: SubnetConv\nprune_rate: -1\n", encoding="utf-8")

    assert "give --k" in refused(path, "hidden-networks", config=config, **OPEN)
    assert imports(path, "hidden-networks", config=config, density=KEPT, **OPEN).density == pytest.approx(
        KEPT, abs=0.01
    )


def test_another_share_than_the_config_s_is_refused(make, save_run, refused):
    path = save_run(make(SubnetConv)[1], file="settings.txt", **RUN)

    assert "--k 0.7 contradicts" in refused(path, "hidden-networks", density=0.7, **OPEN)


def test_raw_images_contradict_the_repository_s_loader(make, save_run, refused):
    path = save_run(make(SubnetConv)[1], file="settings.txt", **RUN)

    assert "--mean and --std contradict" in refused(path, "hidden-networks", dataset=None, mean=(0.0,), std=(1.0,))


def test_scores_are_no_mask_and_a_drawn_mask_is_no_network(make, save_run, refused):
    path = save_run(make(SubnetConv)[1], file="settings.txt", **{**RUN, "conv_type": "FixedSubnetConv"})
    assert "other values than 0 and 1" in refused(path, "hidden-networks", **OPEN)

    path = save_run(make(SubnetConv)[1], file="settings.txt", **{**RUN, "conv_type": "SampleSubnetConv"})
    assert "got SampleSubnetConv" in refused(path, "hidden-networks", **OPEN)
