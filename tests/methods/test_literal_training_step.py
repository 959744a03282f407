"""Three training steps equal a literal transcription: plain loops, no shared code, everything in double precision."""

from __future__ import annotations

import pytest
import torch

from methods.at import AT
from methods.base import Target
from methods.edge_popup import EdgePopup
from methods.layers import compressed_layers

UPDATES = 3


def flatten(pairs):
    """Return the affine parameters of all norms in one list."""
    return [value for pair in pairs for value in pair]


def train_by_pgd(literal, parameters, make_weights, copies, batch, *, lr, weight_decay):
    """Train by PGD adversarial training with SGD; every pass computes the weights anew."""
    noise = torch.Generator().manual_seed(0)
    velocity = [torch.zeros_like(parameter) for parameter in parameters]
    for _ in range(UPDATES):
        attacked = literal.pgd(lambda x: literal.literal_logits(make_weights(), copies, x), batch, noise)
        loss = literal.cross_entropy(literal.literal_logits(make_weights(), copies, attacked), batch.labels)
        literal.sgd_step(loss, parameters, velocity, lr=lr, weight_decay=weight_decay)


@pytest.mark.parametrize("weights", ["binary", "fp"])
@pytest.mark.parametrize("allocation", [0.3, "global"])
def test_edge_popup_takes_the_literal_steps(literal, batch, make_objective, train_steps, weights, allocation):
    method, target = EdgePopup(), Target(0.3, weights, allocation)
    model = method.build(literal.network, target).double()
    layers, copies = compressed_layers(model), literal.copies_of(model)
    scores = [layer.scores.detach().clone().requires_grad_() for layer in layers]
    start = [score.detach().clone() for score in scores]

    def masked_weights():
        masks = literal.masks_through(scores, literal.largest(scores, 0.3, allocation))
        return [theta.detach() * mask for theta, mask in zip(copies.weights, masks, strict=True)]

    train_steps(method, model, target, batch, make_objective(**literal.settings), steps=UPDATES)
    train_by_pgd(literal, scores, masked_weights, copies, batch, lr=0.1, weight_decay=5e-4)

    literal.assert_same(model, copies)
    for layer, score, weight, old in zip(layers, scores, masked_weights(), start, strict=True):
        torch.testing.assert_close(layer.scores, score, rtol=0, atol=1e-9)
        torch.testing.assert_close(layer.effective_weight(), weight, rtol=0, atol=1e-9)
        assert bool((score.detach() != old).all())


def test_full_precision_at_takes_the_literal_steps(literal, batch, make_objective, train_steps):
    method, target = AT(), Target(weights="fp")
    model = method.build(literal.network, target).double()
    copies = literal.copies_of(model)
    parameters = [*copies.weights, *flatten(copies.affine)]

    train_steps(method, model, target, batch, make_objective(**literal.settings), steps=UPDATES)
    train_by_pgd(literal, parameters, lambda: copies.weights, copies, batch, lr=0.1, weight_decay=5e-4)

    literal.assert_same(model, copies)


def test_binary_at_takes_the_literal_steps(literal, batch, make_objective, train_steps):
    """One difference is meant: the released code clips at the next forward pass, here it is done after the step."""
    method, target = AT(binary_lr=0.3), Target(weights="binary")
    model = method.build(literal.network, target).double()
    copies = literal.copies_of(model)
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
