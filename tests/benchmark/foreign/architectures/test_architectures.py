"""Public architectures: key names and sizes as published, forward passes as described, strict loading."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.errors import UserError
from benchmark.foreign.architectures import NAMES, build, load_strictly
from benchmark.foreign.torchvision_package import import_torchvision
from benchmark.networks.resnet import NetworkPlan, plain_conv

# Parameters of ten classes, as counted in the repositories, and a few of their keys.
PUBLISHED = {
    "cifar-resnet18": (11_173_962, "layer2.0.shortcut.1.running_var", "layer4.1.bn2.bias", "linear.bias"),
    "cifar-resnet50": (23_520_842, "layer1.0.conv3.weight", "layer1.0.shortcut.0.weight", "linear.weight"),
    "preactresnet18": (11_171_146, "layer2.0.shortcut.0.weight", "layer1.0.bn1.running_mean", "linear.bias"),
    "wrn-28-10": (
        36_479_194,
        "block1.layer.0.convShortcut.weight",
        "block3.layer.3.conv2.weight",
        "bn1.bias",
        "fc.bias",
    ),
    "wrn-28-4": (5_849_050, "block2.layer.0.convShortcut.weight", "block1.layer.3.bn2.weight", "fc.weight"),
    "wrn-28-1": (369_498, "block1.layer.0.conv1.weight", "block2.layer.0.convShortcut.weight", "fc.weight"),
    "vgg16-bn": (15_311_818, "features.0.weight", "features.41.running_mean", "classifier.4.bias"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_architecture_has_the_published_size_and_keys(name):
    count, *keys = PUBLISHED[name]
    with torch.device("meta"):
        network = build(name, 10)

    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert set(keys) <= network.state_dict().keys()


def test_the_suite_s_networks_are_built_for_their_state_dicts():
    for last_norm, affine, width in ((True, False, 0.25), (False, True, 0.5)):
        plan = NetworkPlan("resnet6", 10, (0.3,), (0.4,), width, last_norm)
        original = plan(conv=plain_conv, norm=lambda size, affine=affine: nn.BatchNorm2d(size, affine=affine)).eval()
        state = original.state_dict()

        network = build("resnet6", 10, channels=1, state=state)
        load_strictly(network, state, name="resnet6")

        images = torch.rand(2, 1, 8, 8)
        assert torch.equal(network.eval()(images), original(images))


def test_a_wide_network_computes_as_described():
    network = build("wrn-28-1", 10).eval()
    images = torch.rand(2, 3, 32, 32)

    x = network.conv1(images)
    for stage in (network.block1, network.block2, network.block3):
        for block in stage.layer:
            activated = F.relu(block.bn1(x))
            residual = block.conv2(F.relu(block.bn2(block.conv1(activated))))
            x = residual + (x if block.convShortcut is None else block.convShortcut(activated))
    expected = network.fc(F.avg_pool2d(F.relu(network.bn1(x)), 8).flatten(1))

    torch.testing.assert_close(network(images), expected)


def test_the_two_preactivation_networks_share_their_keys_and_differ_in_the_shortcut():
    usual, raw = build("preactresnet18", 10).eval(), build("preactresnet18-raw-shortcut", 10).eval()
    load_strictly(raw, usual.state_dict(), name="preactresnet18-raw-shortcut")
    x = torch.rand(2, 64, 8, 8) - 0.5
    block, other = usual.layer2[0], raw.layer2[0]

    residual = block.conv2(F.relu(block.bn2(block.conv1(F.relu(block.bn1(x))))))

    torch.testing.assert_close(block(x), residual + block.shortcut(F.relu(block.bn1(x))))
    torch.testing.assert_close(other(x), residual + other.shortcut(x))


def test_a_batch_norm_before_the_classifier_shows_in_the_keys():
    state = build("preactresnet18", 10).state_dict()
    with_norm = build("preactresnet18", 10, state=state | {"bn.weight": torch.ones(512)})

    assert with_norm.state_dict().keys() - state.keys() == {
        f"bn.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }


def test_torchvision_s_weights_load_and_compute_the_same():
    original = import_torchvision("torchvision.models", purpose="this test").resnet18(weights=None, num_classes=10)
    original.eval()
    network = build("torchvision-resnet18", 10, state=original.state_dict()).eval()

    load_strictly(network, original.state_dict(), name="torchvision-resnet18")

    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(network(images), original(images))


def test_variants_of_torchvision_s_networks_show_in_the_keys():
    state = build("torchvision-resnet18", 10).state_dict()
    bare = {
        key: value for key, value in state.items() if not key.endswith(("bias", "bn1.weight", "bn2.weight", "1.weight"))
    }
    bare |= {key: value for key, value in state.items() if "conv" in key}

    network = build("torchvision-resnet18", 10, channels=1, state=bare)

    assert network.fc.bias is None and network.bn1.weight is None and network.conv1.in_channels == 1


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(UserError, match=r"unknown architecture 'wrn-28-5'. Did you mean wrn-28-4\?"):
        build("wrn-28-5", 10)
    assert len(set(NAMES)) == len(NAMES)


@pytest.fixture
def pair():
    network = build(
        "resnet6", 10, channels=1, state={"conv1.weight": torch.ones(4, 1, 3, 3), "bn1.weight": torch.ones(4)}
    )
    return network, copy.deepcopy(network.state_dict())


def test_step_counters_alone_may_be_missing(pair):
    network, state = pair
    lean = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}

    load_strictly(network, lean, name="resnet6")

    with pytest.raises(UserError, match=r"the key bn1\.bias is missing"):
        load_strictly(network, {key: value for key, value in lean.items() if key != "bn1.bias"}, name="resnet6")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("more.weight", torch.ones(1), "the key more.weight is unused"),
        ("bn1.bias", torch.ones(5), "bn1.bias has shape 5 instead of 4"),
        ("bn1.bias", torch.ones(4, dtype=torch.int64), "bn1.bias is of type torch.int64"),
        ("bn1.bias", torch.tensor([1.0, 2.0, float("nan"), 4.0]), "bn1.bias holds values that are not finite"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(key, value, reason, pair):
    network, state = pair
    before = copy.deepcopy(network.state_dict())
    changed = {name: torch.zeros_like(tensor) for name, tensor in state.items()} | {key: value}

    with pytest.raises(UserError, match=reason):
        load_strictly(network, changed, name="resnet6")

    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_many_keys_are_counted(pair):
    network, state = pair
    needed = sum(not key.endswith("num_batches_tracked") for key in state)

    with pytest.raises(UserError, match=rf"{needed} keys \(.*, \.\.\.\) are missing and the key x is unused"):
        load_strictly(network, {"x": torch.ones(1)}, name="resnet6")
