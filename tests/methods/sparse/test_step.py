"""Attacks within training on the sparse kernels: the dense pass's logits, gradients and running statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from benchmark.networks.resnet import NetworkPlan
from methods.base import Target
from methods.edge_popup import EdgePopup
from methods.holding import attack_weights, held_effective_weights
from methods.hydra import Hydra
from methods.layers import compressed_layers, refresh_masks
from methods.sparse import step
from methods.sparse.support import kernel_name


@pytest.fixture(autouse=True)
def _everywhere(compiled, monkeypatch):
    """Take the sparse passes for these small networks too."""
    monkeypatch.setattr(step, "MAX_SHARE", 10.0)


def build(name, method=None, *, channels=3, keep=0.2, **settings):
    plan = NetworkPlan(name, 10, (0.5, 0.4, 0.3)[:channels], (0.2, 0.25, 0.3)[:channels], width=1 / 8, **settings)
    target = Target(keep_ratio=keep, weights="binary", allocation=0.1)
    model = (method or EdgePopup()).build(plan, target).to(memory_format=torch.channels_last).train()
    refresh_masks(model)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.affine):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
    return model


def attacked(model, images, pull, *, double=False):
    """Return logits, the images' gradient, and the buffers of a copy after one pass of an attack, in float64."""
    model = copy.deepcopy(model)
    if double:
        model, images, pull = model.double(), images.double(), pull.double()
    with held_effective_weights(model), attack_weights(model):
        points = images.clone().requires_grad_(True)
        logits = model(points)
        (gradient,) = torch.autograd.grad((logits * pull).sum(), points)
    statistics = {name: value.double() for name, value in model.named_buffers() if "running" in name or "num" in name}
    return logits.detach().double(), gradient.double(), statistics


@pytest.mark.parametrize(
    ("name", "method", "count", "size", "channels"),
    [
        ("resnet10", EdgePopup(), 16, (16, 16), 3),
        ("resnet10", Hydra(), 11, (13, 18), 1),
        ("resnet50", EdgePopup(), 9, (16, 16), 3),
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_a_pass_is_as_exact_as_the_dense_one_and_moves_the_same_statistics(
    name, method, count, size, channels, train, monkeypatch
):
    model = build(name, method, channels=channels)
    images, pull = torch.rand(count, channels, *size), torch.randn(count, 10)
    with torch.no_grad():
        model(torch.rand(16, channels, *size))
    model.train(train)

    ours = attacked(model, images, pull)
    monkeypatch.setattr(step, "MAX_SHARE", -1.0)
    exact, torchs = (attacked(model, images, pull, double=double) for double in (True, False))

    for number in (0, 1):
        error, theirs = (float((each[number] - exact[number]).norm()) for each in (ours, torchs))
        assert error <= 4 * theirs + 1e-6 * float(exact[number].norm())
    assert not torch.equal(ours[1], torchs[1])  # or nothing was sparse
    for key, value in exact[2].items():
        error, theirs = (float((each[2][key] - value).norm()) for each in (ours, torchs))
        assert error <= 4 * theirs + 1e-6 * float(value.norm()), key
    moved = any(
        not torch.equal(exact[2][key], value.double()) for key, value in model.named_buffers() if key in exact[2]
    )
    assert moved == train


def test_weights_are_those_of_the_update_and_the_network_is_itself_again_afterwards():
    model, images = build("resnet10"), torch.rand(8, 3, 16, 16)
    logits = []
    for _ in range(2):
        with held_effective_weights(model), attack_weights(model), torch.no_grad():
            logits.append(model(images))
        with torch.no_grad():
            for layer in compressed_layers(model):
                layer.scores.copy_(torch.rand_like(layer.scores))
        refresh_masks(model)

    assert not torch.allclose(*logits)
    assert "forward" not in vars(model)
    assert all(layer._held is None for layer in compressed_layers(model))


@pytest.mark.parametrize("case", ["hooked", "patched", "another norm", "subclass", "contiguous", "float64", "bfloat16"])
def test_networks_that_compute_anything_else_keep_their_own_passes(case):
    model = build("resnet10")
    if case == "hooked":
        model.layer1[0].conv1.register_forward_hook(lambda *_: None)
    elif case == "patched":
        model.forward = model.forward
    elif case == "another norm":
        model.bn1 = nn.GroupNorm(1, model.bn1.num_features)
    elif case == "subclass":
        model.__class__ = type("Other", (type(model),), {})
    elif case == "contiguous":
        model = model.to(memory_format=torch.contiguous_format)
    elif case == "float64":
        model = model.double()

    with held_effective_weights(model), attack_weights(model, torch.bfloat16 if case == "bfloat16" else None):
        assert vars(model).get("forward") is None or case == "patched"
        assert step.residual_parts(model) is None


def test_above_a_share_of_weights_passes_stay_dense(monkeypatch):
    monkeypatch.setattr(step, "MAX_SHARE", 0.0)
    model = build("resnet10")

    with held_effective_weights(model), attack_weights(model):
        assert "forward" not in vars(model)


def test_what_computed_a_training_is_known_afterwards_and_kept(monkeypatch):
    def sparse(model):
        with held_effective_weights(model), attack_weights(model):
            return "forward" in vars(model)

    model = build("resnet10")
    assert not sparse(model.double()) and step.kernels_used(model) is None  # this network would be dense anywhere
    assert sparse(model.float())
    assert step.kernels_used(model) == step.kernels_to_use() == kernel_name()
    begun_without = build("resnet10")
    step.keep_kernels(begun_without, step.DENSE)
    assert not sparse(begun_without) and step.kernels_used(begun_without) == step.DENSE

    monkeypatch.setattr(step, "kernels", lambda: None)
    monkeypatch.setattr(step, "kernel_name", lambda: None)
    model = build("resnet10")
    assert not sparse(model)
    assert step.kernels_used(model) == step.kernels_to_use() == "dense"
