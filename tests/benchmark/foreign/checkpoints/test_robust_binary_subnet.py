"""The layout of RobustBinarySubNet: scores over fixed binary weights, shares that depend on p, a last batch norm."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.foreign.checkpoints.robust_binary_subnet import layer_shares

KEPT, P = 0.2, 0.1
MEAN, STD = [0.305], [0.3759]
RUN = {
    "prune_rate": KEPT,
    "pr_scale": P,
    "normalize": {"bias": MEAN, "scale": STD},
    "end_with_bn": True,
    "nonlinearity": "relu",
}


class SubnetConv(nn.Conv2d):
    """Weights of -1 and +1, of which the share `prune_rate` with the largest scores is kept."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.weight.data.sign_()
        self.scores = nn.Parameter(torch.randn_like(self.weight))
        self.prune_rate = None

    def forward(self, x):
        magnitudes = self.scores.abs()
        kept = magnitudes.numel() - int((1 - self.prune_rate) * magnitudes.numel())
        chosen = magnitudes.flatten().topk(kept).indices
        mask = torch.zeros(magnitudes.numel()).index_fill_(0, chosen, 1.0).view_as(magnitudes)
        return F.conv2d(x, self.weight * mask, self.bias, self.stride, self.padding)


class BinConv(nn.Conv2d):
    """Computes with the signs of its weight, of which it keeps a copy."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.weight.data[0, 0] = 0.0
        self.binweight = nn.Parameter(torch.zeros_like(self.weight), requires_grad=False)

    def forward(self, x):
        signs = self.weight.sign()
        signs[signs == 0] = 1.0
        self.binweight.data = signs.detach()
        return F.conv2d(x, signs, self.bias, self.stride, self.padding)


def shares_by_hand(sizes):
    """Return the shares for p = 0.1, layer by layer from the smallest, in plain Python."""
    left = int(KEPT * sum(sizes.values()))
    factor = KEPT * sum(sizes.values()) / sum(size**P for size in sizes.values())
    shares, rest = {}, dict(sizes)
    for name in sorted(sizes, key=sizes.get):
        shares[name] = min(1.0, factor * sizes[name] ** (P - 1))
        left -= int(shares[name] * rest.pop(name))
        factor = left / sum(size**P for size in rest.values()) if rest else 0
    return shares


@pytest.fixture
def make(small_net, normaliser, settled, digits):
    """Return what makes a Sequential of normalisation and network, as the repository saves it."""

    def build(conv, *, last=True):
        network = small_net(conv, last=last)
        layers = {name: module for name, module in network.named_modules() if isinstance(module, SubnetConv)}
        if layers:
            shares = shares_by_hand({name: module.weight.numel() for name, module in layers.items()})
            for name, module in layers.items():
                module.prune_rate = shares[name]
        return settled(nn.Sequential(normaliser(MEAN, STD), network), digits[0])

    return build


OPEN = {"mean": None, "std": None}


@pytest.mark.parametrize("last", [True, False])
def test_an_imported_network_gives_the_verdicts_of_the_original(last, make, save_run, imports, agrees, digits):
    original = make(SubnetConv, last=last)
    state = {f"module.{key}": value for key, value in original.state_dict().items()}
    path = save_run(state, file="settings.txt", **{**RUN, "end_with_bn": last})

    imported = imports(path, "robustbinarysubnet", **OPEN)

    agrees(imported, original, *digits)
    assert imported.plan.last_norm is last
    assert imported.normalisation == (tuple(MEAN), tuple(STD))
    assert imported.density == pytest.approx(KEPT, abs=0.01)
    weights = torch.cat([parameter.flatten() for parameter in imported.network.parameters()])
    assert set(weights.unique().tolist()) == {-1.0, 0.0, 1.0}, "the network is no longer binary"


def test_signs_are_those_of_the_weight_and_plus_one_for_zero(make, save_run, imports, agrees, digits):
    original = make(BinConv)
    path = save_run(original.state_dict(), file="settings.txt", **RUN)

    imported = imports(path, "robustbinarysubnet", **OPEN)

    agrees(imported, original, *digits)
    assert imported.density is None


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_the_shares_add_up_to_the_network_s(p):
    sizes = {"conv1": 1728, "a": 36864, "b": 36864, "c": 589824, "fc": 5120}

    shares = layer_shares(sizes, 0.01, p)

    kept = {name: share * sizes[name] for name, share in shares.items()}
    assert sum(kept.values()) == pytest.approx(0.01 * sum(sizes.values()), rel=1e-3)
    ratio = kept["c"] / kept["a"]
    assert ratio == pytest.approx((sizes["c"] / sizes["a"]) ** p, rel=1e-2)


def test_a_layer_that_would_keep_more_than_all_its_weights_keeps_all():
    shares = layer_shares({"small": 10, "large": 10_000}, 0.1, 0.0)

    assert shares["small"] == 1
    assert shares["large"] == pytest.approx((1001 - 10) / 10_000)


def test_a_last_batch_norm_is_not_dropped_silently(make, save_run, refused):
    with_last, without = make(SubnetConv).state_dict(), make(SubnetConv, last=False).state_dict()

    path = save_run(with_last, file="settings.txt", **{**RUN, "end_with_bn": False})
    assert "end_with_bn is False, but the checkpoint has keys" in refused(path, "robustbinarysubnet", **OPEN)
    path = save_run(without, file="settings.txt", **RUN)
    assert "end_with_bn is True, but the checkpoint has no keys" in refused(path, "robustbinarysubnet", **OPEN)


def test_another_share_or_p_than_the_config_s_is_refused(make, save_run, refused):
    path = save_run(make(SubnetConv).state_dict(), file="settings.txt", **RUN)

    assert "--k 0.1 contradicts" in refused(path, "robustbinarysubnet", density=0.1, **OPEN)
    assert "--set pr_scale=1.0 contradicts" in refused(path, "robustbinarysubnet", given=("pr_scale=1.0",), **OPEN)


def test_p_is_not_guessed_and_must_be_a_share(make, save_run, refused):
    path = save_run(make(SubnetConv).state_dict())

    assert "--set pr_scale=NUMBER" in refused(path, "robustbinarysubnet", density=KEPT)
    assert "from 0 to 1, got 2" in refused(path, "robustbinarysubnet", density=KEPT, given=("pr_scale=2",))


def test_what_is_no_fixed_network_of_this_kind_is_refused(make, save_run, refused):
    path = save_run(make(BinConv).state_dict(), file="settings.txt", **{**RUN, "binconv_stochastic": True})
    assert "draws its signs anew" in refused(path, "robustbinarysubnet", **OPEN)

    path = save_run(make(SubnetConv).state_dict(), file="settings.txt", **{**RUN, "nonlinearity": "leaky_relu"})
    assert "nonlinearity is leaky_relu" in refused(path, "robustbinarysubnet", **OPEN)


@pytest.mark.parametrize(
    ("named", "mean"),
    [
        ("cifar10", (0.4914, 0.4822, 0.4465)),
        ("CIFAR100_normalize", (0.5071, 0.4867, 0.4408)),
        ("imagenet100", (0.485, 0.456, 0.406)),
        (None, (0.0, 0.0, 0.0)),
    ],
)
def test_a_named_normalisation_is_the_repository_s(named, mean, small_net, save_run, imports):
    network = small_net(SubnetConv, channels=3, last=True)  # never trained, so its batch norms contradict nothing
    path = save_run(network.state_dict(), file="settings.txt", **{**RUN, "normalize": named})

    assert imports(path, "robustbinarysubnet", dataset="cifar10", **OPEN).normalisation[0] == mean
