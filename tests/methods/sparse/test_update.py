"""Updates on the sparse kernels: the dense path's gradients of weights, norms and images, and never its silence."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmark.networks.resnet import NetworkPlan
from benchmark.training.fast_objective import FastObjective, PerturbationStore
from benchmark.training.objectives import CleanObjective, HalfCleanObjective, PgdObjective, TradesObjective
from methods.base import Batch, Target
from methods.edge_popup import EdgePopup
from methods.holding import attack_weights, held_effective_weights
from methods.hydra import Hydra
from methods.layers import CompressedConv2d, compressed_layers, refresh_masks
from methods.sparse import step

STEP = 1e-7  # of central differences, relative to a point's norm


@pytest.fixture(autouse=True)
def _everywhere(compiled, monkeypatch):
    """Take the sparse passes for these small networks too."""
    monkeypatch.setattr(step, "MAX_SHARE", 10.0)


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def decided(name, width, channels, density, empty, seed):
    """Return a network whose biases decide for each channel whether its ReLU is open: rounding opens or closes none."""
    generator = torch.Generator().manual_seed(seed)
    plan = NetworkPlan(name, 10, (0.5, 0.4, 0.3)[:channels], (0.2, 0.25, 0.3)[:channels], width=width)
    model = plan(conv=CompressedConv2d, norm=nn.BatchNorm2d).to(memory_format=torch.channels_last).train()
    layers = compressed_layers(model)
    with torch.no_grad():
        for layer in layers:
            kept = torch.rand(layer.weight.shape, generator=generator) < density
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * kept)
        for layer in layers[: -1 : max(1, len(layers) // 5)][:empty]:
            layer.weight[::2] = 0
            layer.weight[:, 1::2] = 0
        if empty:
            layers[seed % len(layers)].weight.zero_()
        for norm in norms(model):
            norm.eps = 0.1  # or channels that hardly vary would amplify rounding, torch's and ours
        final = "bn3" if name == "resnet50" else "bn2"
        for number, (key, module) in enumerate(model.named_modules()):
            if isinstance(module, nn.BatchNorm2d) and key != "last_norm":
                # The last norm of a block outweighs what is added to it, which has been written by such norms, too.
                size = 1000.0 * (1 + 0.0137 * number) if key.startswith("layer") and key.endswith(final) else 30.0
                sign = torch.randint(4, module.bias.shape, generator=generator).clamp(max=1) * 2 - 1
                module.bias.copy_(size * sign)
                module.weight.copy_(0.5 + torch.rand(module.weight.shape, generator=generator))
    return model


def gradients(model, images, pull, *, double=False, sparse=True):
    """Return logits, running statistics and the gradients of images and parameters, in float64."""
    model = copy.deepcopy(model)
    if double:
        model, images, pull = model.double(), images.double(), pull.double()
    images = images.clone().requires_grad_(True)
    with pytest.MonkeyPatch.context() as patch:
        if not sparse:
            patch.setattr(step, "MAX_SHARE", -1.0)
        with held_effective_weights(model):
            assert ("forward" in vars(model)) == (sparse and not double)
            logits = model(images)
    (logits * pull).sum().backward()
    results = {"logits": logits.detach(), "images": images.grad}
    results |= {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    results |= {name: value for name, value in model.named_buffers() if "running" in name or "tracked" in name}
    return {name: value.double() for name, value in results.items()}


def assert_as_exact(ours, torchs, exact, least=1e-6):
    assert ours.keys() == exact.keys()
    for name, value in exact.items():
        error, theirs = (float((each[name] - value).norm()) for each in (ours, torchs))
        if theirs > 1e-5 * float(value.norm()) and least > 1e-6:
            continue  # gradients that cancel, of which torch loses digits too
        beside = exact.get(name.removesuffix("weight") + "bias", value)  # of the same norm: sums over the same maps
        assert error <= 4 * theirs + least * max(float(value.norm()), float(beside.norm())), name


@settings(max_examples=10)
@given(
    name=st.sampled_from(["resnet6", "resnet10", "resnet50"]),
    width=st.sampled_from([1 / 16, 3 / 32, 1 / 8]),
    channels=st.sampled_from([1, 3]),
    count=st.integers(9, 18),
    size=st.tuples(*[st.one_of(st.integers(8, 64), st.sampled_from([8, 16, 32, 64]))] * 2),
    density=st.sampled_from([0.001, 0.02, 0.1, 0.2, 0.4]),
    empty=st.integers(0, 5),
    seed=st.integers(0, 2**20),
)
def test_gradients_are_as_exact_as_torchs(compiled, name, width, channels, count, size, density, empty, seed):
    model = decided(name, width, channels, density, empty, seed)
    generator = torch.Generator().manual_seed(seed)
    images, pull = torch.rand(count, channels, *size, generator=generator), torch.randn(count, 10, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "MAX_SHARE", 10.0)
        ours = gradients(model, images, pull)
    exact, torchs = gradients(model, images, pull, double=True), gradients(model, images, pull, sparse=False)

    assert_as_exact(ours, torchs, exact, least=2e-5)  # float32 sums over up to 70,000 pixels; torch's are in float64


def build(name="resnet10", method=None, keep=0.2):
    """Return a network of a method as training has it, with norms whose every number is random."""
    torch.manual_seed(0)
    plan = NetworkPlan(name, 10, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), width=1 / 8)
    target = Target(keep_ratio=keep, weights="binary", allocation=0.1)
    model = (method or EdgePopup()).build(plan, target).to(memory_format=torch.channels_last).train()
    refresh_masks(model)
    for norm in norms(model):
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3)
    return model


@pytest.mark.parametrize(
    ("name", "method", "count"), [("resnet10", EdgePopup(), 16), ("resnet10", Hydra(), 11), ("resnet50", Hydra(), 9)]
)
def test_scores_and_latent_weights_get_their_gradients_through_the_held_weights(name, method, count):
    model = build(name, method)
    images, pull = torch.rand(count, 3, 16, 16), torch.randn(count, 10)

    ours, exact = gradients(model, images, pull), gradients(model, images, pull, double=True)

    assert sum(key.endswith("scores") for key in ours) == len(compressed_layers(model))
    assert_as_exact(ours, gradients(model, images, pull, sparse=False), exact)


@pytest.mark.parametrize(("name", "count"), [("resnet6", 16), ("resnet10", 11), ("resnet50", 9)])
def test_the_exact_gradients_are_those_of_central_differences(name, count):
    model, generator = build(name, Hydra()), torch.Generator().manual_seed(0)
    images, pull = torch.rand(count, 3, 16, 16, generator=generator), torch.randn(count, 10, generator=generator)
    ours, exact = gradients(model, images, pull), gradients(model, images, pull, double=True)
    wide = copy.deepcopy(model).double()
    points = {
        "images": images.double(),
        **{key: p for key, p in wide.named_parameters() if "norm" in key or "bn" in key},
    }

    for key, point in points.items():
        direction = torch.randn(point.shape, generator=generator).double()
        step = STEP * max(float(point.detach().norm()), 1.0) / float(direction.norm()) * direction
        with torch.no_grad(), held_effective_weights(wide):
            ends = []
            for sign in (1, -2):
                point.add_(sign * step)
                ends.append(float((wide(points["images"]) * pull).sum()))
            point.add_(step)
        scale = float(exact[key].norm() * step.norm())
        slope = float((exact[key] * step).sum())
        assert (ends[0] - ends[1]) / 2 == pytest.approx(slope, rel=0, abs=1e-6 * scale), key
        assert float((ours[key] - exact[key]).norm()) <= 1e-2 * float(exact[key].norm()) + 1e-6


def test_passes_that_are_alive_together_keep_their_own_maps():
    model, pull = build(method=Hydra()), torch.randn(12, 10)
    batches = torch.rand(3, 12, 3, 16, 16)
    alone = [gradients(model, images, pull) for images in batches]

    with held_effective_weights(model):
        points = batches.clone().requires_grad_(True)
        loss = sum((model(images) * pull).sum() for images in points)
        with attack_weights(model):
            point = batches[0].clone().requires_grad_(True)
            torch.autograd.grad(model(point).sum(), point)
        model(batches[1])
    loss.backward()

    for number, each in enumerate(alone):
        assert torch.equal(points.grad[number].double(), each["images"])
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad.double(), sum(each[name] for each in alone), rtol=1e-5, atol=1e-5)


def test_a_graph_is_differentiated_once_unless_it_is_retained():
    model, images = build(), torch.rand(9, 3, 16, 16, requires_grad=True)
    with held_effective_weights(model):
        loss = model(images).square().sum()

    first = torch.autograd.grad(loss, images, retain_graph=True)[0]
    model(torch.rand(9, 3, 16, 16))
    assert torch.equal(torch.autograd.grad(loss, images)[0], first)
    with pytest.raises(RuntimeError, match="a second time"):
        torch.autograd.grad(loss, images)


@pytest.mark.parametrize("count", [16, 29])
def test_numbers_do_not_depend_on_threads_nor_on_what_was_computed_before(count):
    from methods.sparse import passes
    from methods.sparse.training import TrainingPlan

    model, images, free = build(method=Hydra()), torch.rand(count, 3, 16, 16), {}
    pull, results = torch.randn(count, 64), []
    with held_effective_weights(model):  # the classifier and the last norm are torch's
        plan = TrainingPlan(model.residual_parts(), images.shape)
        trained = [
            layer.part.held() if name == "conv" else getattr(layer.norm, name) for layer, name in plan.parameters
        ]
        for threads in (1, 3, 2):
            torch.set_num_threads(threads)
            try:
                points = images.clone().requires_grad_(True)
                means = passes.features(plan, free, points, parameters=True)
                gradients = torch.autograd.grad((means * pull).sum(), (points, *trained), retain_graph=True)
                results.append((means, *gradients))
                passes.features(plan, free, 10 * points, parameters=True).square().sum().backward(retain_graph=True)
            finally:
                torch.set_num_threads(1)

    assert len(results[0]) == 2 + len(trained)
    for other in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(other, results[0], strict=True))


def test_after_a_pass_that_was_interrupted_the_next_one_is_right(monkeypatch):
    from methods.sparse import passes

    model, images, pull = build(), torch.rand(11, 3, 16, 16), torch.randn(11, 10)

    def both():
        copied = copy.deepcopy(model)
        with held_effective_weights(model):
            points = images.clone().requires_grad_(True)
            gradient = torch.autograd.grad((model(points) * pull).sum(), points)[0]
        model.load_state_dict(copied.state_dict())
        return gradient

    expected, calls, collect = both(), [], passes.sweeps.collect

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        collect(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(passes.sweeps, "collect", interrupted)
        both()
    del calls[:]

    assert torch.equal(both(), expected)


def objective(kind, count):
    """Return an objective whose attack does not move, so that dense and sparse updates see the same images."""
    generator = torch.Generator().manual_seed(1)
    common = {
        **{"epsilon": 8 / 255, "step_size": 0.0, "num_steps": 1, "random_start": True, "train_mode_attack": True},
        **{"attack_bf16": False, "update_bf16": False, "crop_padding": 2, "flip": True, "generator": generator},
    }
    if kind == "trades":
        return TradesObjective(**{**common, "train_mode_attack": False}, beta=6.0)
    if kind == "fast":
        store = PerturbationStore(
            *(count, (3, 16, 16)),
            padding=2,
            epsilon=8 / 255,
            generator=generator,
            labels=torch.arange(count) % 10,
            num_classes=10,
            soft_target=None,
        )
        return FastObjective(**common, store=store, fill=0.5)
    return {"pgd": PgdObjective, "half_clean": HalfCleanObjective, "clean": CleanObjective}[kind](**common)


@pytest.mark.parametrize(("kind", "updates"), [("pgd", 1), ("fast", 1), ("trades", 2), ("half_clean", 2), ("clean", 1)])
def test_every_objective_updates_by_sparse_passes(kind, updates, monkeypatch):
    from methods.sparse import passes

    model, count = build(method=Hydra()), 12
    batch = Batch(torch.rand(count, 3, 16, 16), torch.arange(count) % 10, torch.arange(count))
    features, seen, results = passes.features, [], []

    def noted(*arguments, parameters):
        seen.append(parameters)
        return features(*arguments, parameters=parameters)

    monkeypatch.setattr(passes, "features", noted)
    for share in (10.0, -1.0):
        monkeypatch.setattr(step, "MAX_SHARE", share)
        each = copy.deepcopy(model)
        loss = objective(kind, count)(each, batch)
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in each.parameters() if p.requires_grad)])

    assert seen.count(True) == updates
    assert any(value.abs().max() > 1e-4 for value in results[1][1:])
    for ours, dense in zip(*results, strict=True):
        assert float((ours - dense).norm()) <= 1e-3 * float(dense.norm()) + 1e-6


class Rounding(CompressedConv2d):
    """Computes something else than a convolution with its effective weight."""

    def forward(self, images):
        return super().forward(images).round(decimals=2)


@pytest.mark.parametrize(
    "case", ["autocast", "eval mode", "one image", "double images", "frozen norm", "another layer", "another forward"]
)
def test_whatever_is_not_such_a_pass_is_the_network_s_own(case, monkeypatch):
    model = build()
    if case == "another layer":
        model.layer2[0].conv1.__class__ = Rounding
    elif case == "another forward":
        conv = model.layer2[0].conv1
        conv.forward = lambda maps: 2 * CompressedConv2d.forward(conv, maps)
    elif case == "frozen norm":
        model.layer3[0].bn1.eval()
    elif case == "eval mode":
        model.eval()
    elif case == "one image":
        model.last_norm = nn.Identity()
    images = torch.rand(1 if case == "one image" else 9, 3, 16, 16)
    if case == "double images":
        images = images.double()

    def computed():
        with held_effective_weights(copied := copy.deepcopy(model)), torch.autocast("cpu", enabled=case == "autocast"):
            try:
                return copied(images)
            except RuntimeError as error:  # such as double images times float weights
                return str(error)

    ours = computed()
    monkeypatch.setattr(step, "MAX_SHARE", -1.0)
    expected = computed()

    assert ours == expected if isinstance(expected, str) else torch.equal(ours, expected)


def test_logits_without_gradients_are_those_with_them():
    model, images = build(), torch.rand(9, 3, 16, 16)
    with held_effective_weights(model):
        logits = model(images)
        with torch.no_grad():
            assert torch.equal(model(images), logits)
        assert logits.requires_grad
    assert "forward" not in vars(model)
    assert F.mse_loss(model(images), logits) < 1e-6


def test_a_layer_that_is_not_trained_gets_no_gradient():
    model, images = build(method=Hydra()), torch.rand(9, 3, 16, 16)
    layer, norm = model.layer1[0].conv1, model.layer1[0].bn2
    expected = gradients(model, images, torch.ones(9, 10))
    for parameter in (layer.weight, layer.scores, norm.weight):
        parameter.requires_grad_(False)

    received = gradients(model, images, torch.ones(9, 10))

    assert expected.keys() - received.keys() == {"layer1.0.conv1.scores", "layer1.0.bn2.weight"} | (
        {"layer1.0.conv1.weight"} & expected.keys()
    )
    assert all(torch.equal(received[key], expected[key]) for key in received)
