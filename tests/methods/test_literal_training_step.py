"""Three training steps equal a literal transcription: plain loops, no shared code, everything in double precision."""

from __future__ import annotations

import math

import pytest
import torch

from methods.at import AT
from methods.base import Target
from methods.edge_popup import EdgePopup
from methods.layers import compressed_layers
from methods.rst import RST
from methods.small_dense import SmallDense

UPDATES = 3


def flatten(pairs):
    """Return the affine parameters of all norms in one list."""
    return [value for pair in pairs for value in pair]


def train_by_pgd(literal, parameters, make_weights, copies, batch, *, lr, weight_decay):
    """Train by PGD adversarial training with SGD; every pass computes the weights again."""
    noise = torch.Generator().manual_seed(0)
    velocity = [torch.zeros_like(parameter) for parameter in parameters]
    for _ in range(UPDATES):
        attacked = literal.pgd(lambda x: literal.literal_logits(make_weights(), copies, x), batch, noise)
        loss = literal.cross_entropy(literal.literal_logits(make_weights(), copies, attacked), batch.labels)
        literal.sgd_step(loss, parameters, velocity, lr=lr, weight_decay=weight_decay)


LAYER_SCALED = {"binary_init": "signed_kaiming_constant", "fp_init": "kaiming_uniform", "scale_fan": "layer"}


def draw(literal, method, form, allocation, shapes):
    """Draw random weights and scores: signs come from torch's default initialisation, the rest is drawn after it."""
    fans, sizes = [math.prod(shape[1:]) for shape in shapes], [math.prod(shape) for shape in shapes]
    weights = [(2 * torch.rand(shape) - 1) / fan**0.5 for shape, fan in zip(shapes, fans, strict=True)]
    scores = []
    kept = [None] * len(sizes) if allocation == "global" else literal.shares(sizes, 0.3, allocation)
    for index, (shape, fan, size, count) in enumerate(zip(shapes, fans, sizes, kept, strict=True)):
        scaled = method.scale_fan == "layer"
        if form == "binary":
            level = (2 / (fan * count / size)) ** 0.5 if scaled else 1.0
            weights[index] = torch.where(weights[index] >= 0, level, -level)
        else:
            bound = (6 / (fan * count / size)) ** 0.5 if scaled else 1.0
            weights[index] = bound * (2 * torch.rand(shape) - 1)
        half_width = 1 / fan**0.5 if method.name == "rst" else 0.01
        scores.append((half_width * (2 * torch.rand(shape) - 1)).requires_grad_())
    return weights, scores


@pytest.fixture
def _double_precision():
    """Also draw in double precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_double_precision")
@pytest.mark.parametrize("form", ["binary", "fp"])
@pytest.mark.parametrize(
    ("method", "allocation"),
    [(EdgePopup(), 0.3), (EdgePopup(), "global"), (EdgePopup(**LAYER_SCALED), 0.3), (RST(), 1.0)],
    ids=["edge_popup", "edge_popup-global", "edge_popup-layer", "rst"],
)
def test_edge_popup_takes_the_literal_steps(literal, batch, make_objective, train_steps, method, allocation, form):
    target = Target(0.3, form, allocation)
    torch.manual_seed(3)
    model = method.build(literal.network, target)
    layers, copies = compressed_layers(model), literal.copies_of(model)
    torch.manual_seed(3)
    copies.weights, scores = draw(literal, method, form, allocation, [layer.weight.shape for layer in layers])
    start = [score.detach().clone() for score in scores]

    def masked_weights():
        masks = literal.masks_through(scores, literal.largest(scores, 0.3, allocation))
        return [theta * mask for theta, mask in zip(copies.weights, masks, strict=True)]

    train_steps(method, model, target, batch, make_objective(**literal.settings), steps=UPDATES)
    train_by_pgd(literal, scores, masked_weights, copies, batch, lr=0.1, weight_decay=5e-4)

    literal.assert_same(model, copies)
    for layer, score, weight, old in zip(layers, scores, masked_weights(), start, strict=True):
        torch.testing.assert_close(layer.scores, score, rtol=0, atol=1e-9)
        torch.testing.assert_close(layer.effective_weight(), weight, rtol=0, atol=1e-9)
        assert bool((score.detach() != old).all())


DENSE = pytest.mark.parametrize(
    ("method", "keep_ratio", "channels"),
    [(AT, 1.0, [6, 8, 5]), (SmallDense, 0.3, [3, 3, 5])],
    ids=["at", "small_dense"],
)


@DENSE
def test_full_precision_dense_training_takes_the_literal_steps(
    literal, batch, make_objective, train_steps, method, keep_ratio, channels
):
    method, target = method(), Target(keep_ratio, "fp")
    model = method.build(method.resize(literal.network, target), target).double()
    copies = literal.copies_of(model)
    assert [len(weight) for weight in copies.weights] == channels
    parameters = [*copies.weights, *flatten(copies.affine)]

    train_steps(method, model, target, batch, make_objective(**literal.settings), steps=UPDATES)
    train_by_pgd(literal, parameters, lambda: copies.weights, copies, batch, lr=0.1, weight_decay=5e-4)

    literal.assert_same(model, copies)


@DENSE
def test_binary_dense_training_takes_the_literal_steps(
    literal, batch, make_objective, train_steps, method, keep_ratio, channels
):
    """One difference is intended: the released code clips at the next forward pass, the benchmark after the step."""
    method, target = method(binary_lr=0.3), Target(keep_ratio, "binary")
    model = method.build(method.resize(literal.network, target), target).double()
    copies = literal.copies_of(model)
    assert [len(weight) for weight in copies.weights] == channels
    parameters = [*copies.weights, *flatten(copies.affine)]
    optimizer = torch.optim.Adam(parameters, lr=0.3, betas=(0.9, 0.999), weight_decay=5e-4)

    objective = make_objective(**(literal.settings | {"num_steps": 0}), random_start=False)
    train_steps(method, model, target, batch, objective, steps=UPDATES)
    for _ in range(UPDATES):
        optimizer.zero_grad()
        logits = literal.literal_logits(literal.signs_through(copies.weights), copies, batch.images)
        literal.cross_entropy(logits, batch.labels).backward()
        optimizer.step()
        for value in copies.weights:
            value.data.clamp_(-1, 1)

    literal.assert_same(model, copies)
    assert max(float(value.detach().abs().max()) for value in copies.weights) == 1.0
