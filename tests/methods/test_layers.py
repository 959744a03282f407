"""The compressible layer: output, gradients, saving and exporting."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Target
from methods.holding import attack_weights, held_effective_weights
from methods.layers import (
    CompressedConv2d,
    binary_sign,
    compressed_layers,
    parameters_by_role,
    refresh_masks,
    set_budgets,
    to_plain,
)


class CountingConv2d(CompressedConv2d):
    """Counts how often its effective weight is computed."""

    calls = 0

    def effective_weight(self):
        self.calls += 1
        return super().effective_weight()


@pytest.fixture
def masked_conv():
    """Return a double-precision layer with random scores of both signs that keeps 20 of its 54 weights."""

    def make(**changes):
        conv = CompressedConv2d(2, 3, 3, stride=2, padding=1, scored=True, **changes).double()
        nn.init.normal_(conv.scores)
        conv.keep_count = 20
        refresh_masks(conv)
        return conv

    return make


@pytest.fixture
def build(make_plan):
    """Return a function that builds a small scored network with random scores and updated masks."""

    def make(target=Target(keep_ratio=0.5), conv=CompressedConv2d, **changes):  # noqa: B008 - frozen
        model = make_plan()(conv=partial(conv, scored=True, **changes), norm=nn.BatchNorm2d)
        set_budgets(model, target)
        for layer in compressed_layers(model):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.scores)
        refresh_masks(model)
        return model

    return make


def test_the_layer_convolves_with_the_masked_weight(masked_conv):
    conv, images = masked_conv(), torch.randn(4, 2, 7, 7, dtype=torch.float64)

    out = conv(images)

    kept = set(conv.scores.abs().flatten().sort(descending=True).indices[:20].tolist())
    mask = torch.tensor([float(position in kept) for position in range(54)], dtype=torch.float64).view(3, 2, 3, 3)
    assert torch.equal(out, F.conv2d(images, conv.weight * mask, stride=2, padding=1))


@pytest.mark.parametrize("binary", [False, True])
def test_every_score_gets_the_straight_through_gradient(masked_conv, binary):
    conv, images = masked_conv(binary=binary), torch.randn(4, 2, 7, 7, dtype=torch.float64)
    theta = binary_sign(conv.weight.detach()) if binary else conv.weight.detach()
    effective = (theta * conv.mask).requires_grad_()

    conv(images).pow(3).sum().backward()

    F.conv2d(images, effective, stride=2, padding=1).pow(3).sum().backward()
    expected = effective.grad * theta * conv.scores.detach().sign()
    torch.testing.assert_close(conv.scores.grad, expected, rtol=1e-12, atol=1e-12)
    assert bool((conv.scores.grad[~conv.mask] != 0).all())


@pytest.mark.parametrize("binary", [False, True])
def test_only_kept_weights_get_a_gradient(masked_conv, binary):
    conv, images = masked_conv(binary=binary), torch.randn(4, 2, 7, 7, dtype=torch.float64)
    theta = binary_sign(conv.weight.detach()) if binary else conv.weight.detach()
    effective = (theta * conv.mask).requires_grad_()

    conv(images).pow(3).sum().backward()

    F.conv2d(images, effective, stride=2, padding=1).pow(3).sum().backward()
    torch.testing.assert_close(conv.weight.grad, effective.grad * conv.mask, rtol=1e-12, atol=1e-12)


def test_binarisation_has_no_third_level_and_passes_the_gradient_unchanged():
    conv = CompressedConv2d(1, 1, 2, binary=True)
    values = torch.tensor([0.0, -0.0, 1e-30, -1e-30]).view(1, 1, 2, 2)
    conv.weight.data.copy_(values)
    upstream = torch.tensor([3.0, -2.0, 0.5, 7.0]).view(1, 1, 2, 2)

    effective = conv.effective_weight()
    effective.backward(upstream)

    assert effective.flatten().tolist() == [1.0, 1.0, 1.0, -1.0]
    assert torch.equal(conv.weight.grad, upstream)


def test_held_weights_give_the_same_outputs_and_gradients_bit_for_bit(build, make_batch):
    model, batch = build(), make_batch()

    loss = F.cross_entropy(model(batch.images), batch.labels)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    with held_effective_weights(model):
        held_loss = F.cross_entropy(model(batch.images), batch.labels)
        held = torch.autograd.grad(held_loss, list(model.parameters()))

    assert torch.equal(held_loss, loss)
    assert all(bool(gradient.any()) for gradient in expected)
    assert all(torch.equal(one, other) for one, other in zip(held, expected, strict=True))


def test_held_weights_give_a_frozen_network_the_same_input_gradient(build, make_batch):
    model, batch = build().eval(), make_batch()
    images = batch.images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(images).square().sum(), images)

    with held_effective_weights(model):
        model.requires_grad_(False)
        (gradient,) = torch.autograd.grad(model(images).square().sum(), images)

    assert torch.equal(gradient, expected)
    assert bool(expected.any())


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_attack_weights_give_the_same_input_gradient(build, make_batch, precision):
    """Also under autocast: weights rounded once have the bits that autocast rounds them to in every pass."""
    model, batch = build(), make_batch()
    images = batch.images.clone().requires_grad_()

    def gradient():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is not None):
            logits = model(images)
        return torch.autograd.grad(logits.float().square().sum(), images)[0]

    expected = gradient()
    with held_effective_weights(model):
        held = [layer._held for layer in compressed_layers(model)]
        with attack_weights(model, precision):
            attack_gradient = gradient()
            assert not any(layer._held.requires_grad for layer in compressed_layers(model))
            assert {layer._held.dtype for layer in compressed_layers(model)} == {precision or torch.float32}
        restored = [layer._held for layer in compressed_layers(model)]

    assert torch.equal(attack_gradient, expected)
    assert bool(expected.any())
    assert all(one is other for one, other in zip(restored, held, strict=True))


def test_held_weights_are_computed_once_for_many_passes(build, make_batch):
    model, batch = build(conv=CountingConv2d), make_batch()

    with held_effective_weights(model):
        for _ in range(3):
            model(batch.images)
    held_calls = {layer.calls for layer in compressed_layers(model)}
    model(batch.images)

    assert held_calls == {1}
    assert {layer.calls for layer in compressed_layers(model)} == {2}


def test_held_weights_are_released_when_the_block_fails(build, make_batch):
    model, batch = build().eval(), make_batch()
    before = model(batch.images)

    with pytest.raises(KeyError), held_effective_weights(model):
        raise KeyError

    for layer in compressed_layers(model):
        layer.weight.data.mul_(-0.5)
    assert not torch.equal(model(batch.images), before)


@pytest.mark.parametrize("allocation", [0.0, 0.1, 0.5, 1.0])
def test_masks_keep_the_budget_of_every_layer(build, allocation):
    model = build(Target(keep_ratio=0.2, allocation=allocation))

    counts = [int(layer.mask.sum()) for layer in compressed_layers(model)]

    assert counts == [layer.keep_count for layer in compressed_layers(model)]
    assert len({layer.budget_group for layer in compressed_layers(model)}) == 13
    assert sum(counts) == round(0.2 * sum(layer.weight.numel() for layer in compressed_layers(model)))


def test_global_masks_keep_the_largest_scores_of_the_whole_network(build):
    model = build(Target(keep_ratio=0.2, allocation="global"))

    magnitudes = torch.cat([layer.scores.abs().flatten() for layer in compressed_layers(model)])
    mask = torch.cat([layer.mask.flatten() for layer in compressed_layers(model)])

    assert int(mask.sum()) == round(0.2 * len(mask))
    assert magnitudes[mask].min() > magnitudes[~mask].max()


@pytest.mark.parametrize(
    "other",
    [
        Target(keep_ratio=0.3, allocation=0.5),
        Target(keep_ratio=0.2, allocation=0.1),
        Target(keep_ratio=0.2, allocation="global"),
    ],
)
def test_a_state_made_for_another_budget_is_refused(build, other):
    saved = build(Target(keep_ratio=0.2, allocation=0.5)).state_dict()
    model = build(other)

    with pytest.raises(ValueError, match="checkpoint was made with budget"):
        model.load_state_dict(saved)


def test_a_state_made_for_the_same_budget_restores_weights_scores_and_masks(build, make_batch):
    target = Target(keep_ratio=0.2, allocation=0.5)
    first, second, images = build(target).eval(), build(target).eval(), make_batch().images
    assert not torch.equal(first(images), second(images))

    second.load_state_dict(first.state_dict())

    assert torch.equal(first(images), second(images))


@pytest.mark.parametrize("binary", [False, True])
def test_the_plain_copy_has_equal_logits_bit_for_bit(build, make_batch, binary):
    model, images = build(Target(keep_ratio=0.2), binary=binary), make_batch().images
    model(images)  # changes the running statistics from their initial values

    plain = to_plain(model)

    assert torch.equal(plain(images), model.eval()(images))


def test_the_plain_copy_is_frozen_holds_ordinary_convolutions_and_shares_no_memory(build):
    model = build(Target(keep_ratio=0.2))

    plain = to_plain(model)

    assert not compressed_layers(plain)
    assert sum(type(module) is nn.Conv2d for module in plain.modules()) == 13
    assert not plain.training
    assert not any(parameter.requires_grad for parameter in plain.parameters())
    addresses = {value.data_ptr() for value in model.parameters()} | {value.data_ptr() for value in model.buffers()}
    assert not addresses & {value.data_ptr() for value in plain.state_dict().values()}


def test_making_a_plain_copy_changes_neither_the_network_nor_the_random_stream(build, copy_of_state):
    model = build(Target(keep_ratio=0.2)).train()
    before, stream = copy_of_state(model), torch.get_rng_state()

    to_plain(model)

    assert all(torch.equal(value, before[name]) for name, value in copy_of_state(model).items())
    assert len(compressed_layers(model)) == 13
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), stream)


def test_parameters_are_sorted_by_role_under_their_qualified_names(build):
    model = build()

    roles = parameters_by_role(model)

    names = dict(model.named_parameters())
    assert {"conv1.scores", "layer2.0.shortcut.0.scores", "fc.scores"} <= set(roles["scores"])
    assert {"bn1.weight", "bn1.bias", "layer2.0.shortcut.1.bias", "last_norm.weight"} <= set(roles["norm"])
    assert {"conv1.weight", "layer2.0.shortcut.0.weight", "fc.weight"} <= set(roles["weights"])
    assert {name: len(part) for name, part in roles.items()} == {"weights": 13, "scores": 13, "norm": 26}
    assert all(parameter is names[name] for part in roles.values() for name, parameter in part.items())


def test_the_effective_weight_follows_the_scores_only_when_the_masks_are_refreshed(build):
    model = build(Target(keep_ratio=0.2))
    layer = compressed_layers(model)[1]
    before = layer.effective_weight().detach().clone()
    layer.scores.data.copy_(layer.scores.flatten().flip(0).view_as(layer.scores))

    stale = layer.effective_weight().detach().clone()
    refresh_masks(model)

    assert torch.equal(stale, before)
    assert not torch.equal(layer.effective_weight(), before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep_ratio": 0.0}, r"keep_ratio is the fraction of weights kept, in \(0, 1\]; got 0"),
        ({"keep_ratio": 1.01}, r"keep_ratio is the fraction of weights kept, in \(0, 1\]; got 1.01"),
        ({"allocation": -0.5}, r"allocation is an exponent p in \[0, 1\], 'global', 'auto' or 'auto:c'; got -0.5"),
        ({"allocation": 2.0}, r"allocation is an exponent p in \[0, 1\], 'global', 'auto' or 'auto:c'; got 2"),
    ],
)
def test_an_impossible_target_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Target(**settings)
