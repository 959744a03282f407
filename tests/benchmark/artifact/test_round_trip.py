"""Pack and unpack are exact inverses for everything a network computes."""

from __future__ import annotations

import hashlib
import math

import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmark.artifact.container import DTYPES
from benchmark.artifact.measure import BadExport
from benchmark.artifact.pack import pack, write_artifact
from benchmark.artifact.unpack import read_artifact, unpack
from benchmark.networks.resnet import NetworkPlan, ResNet
from benchmark.networks.shapes import SHAPES
from methods import BUILT_IN, load_method_class
from methods.at import AT
from methods.base import Target
from methods.edge_popup import EdgePopup

SPARSE = {"keep_ratio": 0.3, "allocation": 0.5}


def equal_numbers(first, second):
    """Return whether two networks hold the same numbers, except for step counters."""
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) for name, value in ours.items() if value.is_floating_point()
    )


@pytest.mark.parametrize("last_norm", [True, False], ids=["lbn", "no-lbn"])
@pytest.mark.parametrize("weights", ["binary", "fp"])
@pytest.mark.parametrize(
    ("name", "allocation"),
    [(name, 1.0 if name in {"small_dense", "rst"} else 0.5) for name in BUILT_IN]
    + [("edge_popup", "global"), ("hydra", "global"), ("lwm", "global"), ("atmc", "global")],
)
def test_the_export_of_every_method_gives_the_same_logits_from_its_file(
    name, allocation, weights, last_norm, make_plan, make_batch, make_objective, train_steps, small_pack
):
    method = load_method_class(BUILT_IN[name])()
    target = Target(weights=weights) if name == "at" else Target(0.3, weights, allocation)
    assert method.refusal(target) is None
    plan = method.resize(make_plan(last_norm=last_norm), target)
    model, batch = method.build(plan, target), make_batch()
    for phase in method.phases(20, target):
        train_steps(method, model, target, batch, make_objective(num_steps=1), steps=2, phase=phase)
    network = method.export(model)

    artifact = unpack(small_pack(network, plan))

    assert torch.equal(artifact.network(batch.images), network(batch.images))
    assert equal_numbers(artifact.network, network)
    assert artifact.plan == plan


@settings(max_examples=40)
@given(
    name=st.sampled_from(list(SHAPES)),
    width=st.floats(1 / 128, 1 / 16),
    classes=st.integers(1, 12),
    channels=st.integers(1, 3),
    last_norm=st.booleans(),
    affine=st.booleans(),
    density=st.sampled_from([0.0, 1.0]) | st.floats(0, 1),
    levels=st.sampled_from([None, 1, 2, 3]),
    statistics=st.sampled_from(["float32", "float16"]),
    seed=st.integers(0, 1000),
)
def test_any_network_is_restored_and_packs_to_the_same_bytes(
    random_network, small_pack, name, width, classes, channels, last_norm, affine, density, levels, statistics, seed
):
    plan = NetworkPlan(name, classes, (0.5, 0.25, 0.1)[:channels], (0.2, 0.3, 0.4)[:channels], width, last_norm)
    network = random_network(plan, density=density, levels=levels, affine=affine, seed=seed)

    content = small_pack(network, plan, statistics=statistics)
    artifact = unpack(content)

    assert small_pack(artifact.network, plan, statistics=statistics) == content
    assert statistics == "float16" or equal_numbers(artifact.network, network)
    assert artifact.plan == plan


def test_the_artifact_describes_its_network(make_plan, random_network, small_pack):
    plan = make_plan(name="resnet6")

    content = small_pack(random_network(plan), plan, statistics="float16")
    artifact = unpack(content)

    assert type(artifact.network) is ResNet and not artifact.network.training
    assert not any(parameter.requires_grad for parameter in artifact.network.parameters())
    assert (artifact.dataset, artifact.image_size, artifact.statistics) == ("digits", (8, 8), "float16")
    assert (artifact.sha256, artifact.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert all(value.device.type == "cpu" for value in artifact.network.state_dict().values())


def test_unpacking_draws_no_random_numbers(make_plan, random_network, small_pack):
    content = small_pack(random_network(make_plan()), make_plan())
    before = torch.get_rng_state()

    unpack(content)

    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_network_gives_the_same_bytes_in_any_memory_format(make_plan, random_network, small_pack):
    plan = make_plan()
    first, second = random_network(plan), random_network(plan).to(memory_format=torch.channels_last)

    assert small_pack(first, plan) == small_pack(second, plan)


def test_negative_zero_is_a_dropped_weight(make_plan, random_network, make_batch, small_pack):
    plan = make_plan(name="resnet6")
    network = random_network(plan)
    content = small_pack(network, plan)
    network.conv1.weight[network.conv1.weight == 0] = -0.0
    assert torch.signbit(network.conv1.weight[network.conv1.weight == 0]).all()

    assert small_pack(network, plan) == content
    images = make_batch().images
    assert torch.equal(unpack(content).network(images), network(images))


def test_float16_statistics_give_the_network_with_rounded_statistics(make_plan, random_network, make_batch, small_pack):
    plan = make_plan()
    network = random_network(plan, affine=True)
    network.bn1.running_var[0] = 1e6  # beyond float16
    artifact = unpack(small_pack(network, plan, statistics="float16"))

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for name in ("running_mean", "running_var", "weight", "bias"):
                value = getattr(module, name).data
                fraction, exponent = torch.frexp(value)  # eleven significant bits of each value
                value.copy_(torch.ldexp((fraction * 2**11).round() / 2**11, exponent))

    images = make_batch().images
    assert equal_numbers(artifact.network, network)
    assert torch.equal(artifact.network(images), network(images))


def test_a_file_is_written_completely_and_read_back(tmp_path, make_plan, random_network, small_pack):
    content = small_pack(random_network(make_plan()), make_plan())
    path = tmp_path / "folder" / "network.safetensors"

    write_artifact(path, content)

    assert path.read_bytes() == content
    assert read_artifact(path).size_bytes == len(content)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("statistics", ["float32", "float16"])
@pytest.mark.parametrize("density", [0.3, 1.0])
def test_safetensors_reads_the_file(make_plan, random_network, small_pack, density, statistics):
    content = small_pack(random_network(make_plan(), density=density), make_plan(), statistics=statistics)

    tensors = safetensors.numpy.load(content)

    assert tensors.keys() == DTYPES.keys()
    assert tensors["kept"].shape == (13,) and tensors["levels"].shape == (13, 2)
    assert tensors["norm"].dtype == statistics
    assert tensors["sha256"].tobytes() == hashlib.sha256(content[:-32]).digest()


def _replace(network, name, layer):
    setattr(network, name, layer)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda net: net.conv1.weight.view(-1).__setitem__(0, math.nan), "conv1.weight holds .* not finite"),
        (lambda net: net.bn1.running_mean.__setitem__(0, math.inf), "bn1.running_mean holds .* not finite"),
        (lambda net: net.bn1.running_var.__setitem__(0, -1.0), "bn1.running_var holds a negative variance"),
        (lambda net: _replace(net, "bn1", nn.BatchNorm2d(4)), "with other settings"),
        (lambda net: _replace(net, "bn1", nn.GroupNorm(1, 4)), "'bn1' is a GroupNorm"),
        (lambda net: _replace(net, "bn1", nn.BatchNorm2d(4, affine=False, eps=1e-3)), "other settings"),
        (lambda net: _replace(net, "bn1", nn.BatchNorm2d(4, affine=False, track_running_stats=False)), "bn1"),
        (lambda net: _replace(net, "bn1", nn.BatchNorm2d(5, affine=False)), "'bn1' is a BatchNorm2d with other"),
        (lambda net: _replace(net, "conv1", nn.Conv2d(3, 4, 3, padding=1)), "conv1.bias"),
        (lambda net: _replace(net, "conv1", nn.Conv2d(3, 4, 3, padding=2, bias=False)), "'conv1' is a Conv2d with"),
        (lambda net: _replace(net, "extra", nn.Conv2d(3, 4, 3)), "modules differ .*extra"),
        (lambda net: _replace(net, "last_norm", nn.Identity()), "'last_norm' is a Identity"),
        (lambda net: net.register_buffer("extra", torch.zeros(1)), "tensors differ .*extra"),
        (lambda net: net.double(), "tensors differ"),
        (lambda net: net.conv1.register_forward_hook(lambda *_: None), "hooks"),
        (lambda net: net.normalize.mean.fill_(0.1), "another mean"),
        (lambda net: net.normalize.std.fill_(0.1), "another std"),
    ],
)
def test_a_network_that_the_plan_does_not_build_is_refused(make_plan, random_network, small_pack, change, why):
    network = random_network(make_plan())
    change(network)

    with pytest.raises(BadExport, match=why):
        small_pack(network, make_plan())


@pytest.mark.parametrize(
    "changes",
    [{"dataset": "../x"}, {"image_size": (0, 8)}, {"statistics": "float64"}, {"image_size": (8, 8, 3)}],
)
def test_fields_that_the_format_cannot_hold_are_refused(make_plan, random_network, changes):
    fields = {"dataset": "digits", "image_size": (8, 8)} | changes

    with pytest.raises(BadExport, match="the format cannot hold"):
        pack(random_network(make_plan()), make_plan(), **fields)


def test_another_plan_than_the_networks_is_refused(make_plan, random_network, small_pack):
    with pytest.raises(BadExport):
        small_pack(random_network(make_plan()), make_plan(width=1 / 8))


def test_a_statistic_that_would_round_to_infinity_is_refused(make_plan, random_network, small_pack):
    network = random_network(make_plan())
    network.bn1.running_var[0] = torch.finfo(torch.float32).max

    assert equal_numbers(unpack(small_pack(network, make_plan())).network, network)
    with pytest.raises(BadExport, match="float32's range"):
        small_pack(network, make_plan(), statistics="float16")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "target", "limits"),
    [
        (EdgePopup(), Target(0.01, "binary", 0.1), {"float32": 285_000, "float16": 251_000}),
        (EdgePopup(), Target(0.01, "fp", 0.1), {"float32": 1_190_000}),
        (AT(), Target(1.0, "binary", 1.0), {"float32": 2_820_000}),
    ],
    ids=["binary-1%", "fp-1%", "binary-dense"],
)
def test_resnet34_has_the_promised_size(make_plan, method, target, limits):
    plan = make_plan(name="resnet34", width=1.0)
    network = method.export(method.build(plan, target))

    contents = {
        statistics: pack(network, plan, dataset="cifar10", image_size=(32, 32), statistics=statistics)
        for statistics in limits
    }

    assert {
        statistics: len(content) for statistics, content in contents.items() if len(content) > limits[statistics]
    } == {}
    assert equal_numbers(unpack(contents["float32"]).network, network)
