"""Three training steps equal a literal transcription: plain loops, no shared code, everything in double precision.

Only the cross-entropy is taken in single precision on both sides: attack and objective cast the logits, because
they may come from an autocast network.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from methods.allocation import allocate
from methods.at import AT
from methods.base import Batch, Target
from methods.edge_popup import EdgePopup
from methods.layers import compressed_layers

EPSILON, STEP_SIZE, NUM_STEPS, UPDATES = 0.1, 0.03, 4, 3


class TwoBlocks(nn.Module):
    """Convolution, norm, ReLU, strided convolution, norm, ReLU, pool, 1x1 convolution and norm on the logits."""

    def __init__(self, *, conv, norm):
        super().__init__()
        self.conv1, self.norm1 = conv(3, 6, 3, padding=1), norm(6)
        self.conv2, self.norm2 = conv(6, 8, 3, stride=2, padding=1), norm(8)
        self.fc, self.norm3 = conv(8, 5, 1), norm(5)

    def forward(self, images):
        x = F.relu(self.norm1(self.conv1(images)))
        x = F.relu(self.norm2(self.conv2(x)))
        return self.norm3(self.fc(x.mean((2, 3), keepdim=True))).flatten(1)


@pytest.fixture
def batch(make_batch):
    """Return eight double-precision images of five classes."""
    images, labels, rows = make_batch(8, classes=5)
    return Batch(images.double(), labels, rows)


def literal_logits(weights, running, affine, images):
    """Apply the network of `TwoBlocks` in train mode, updating the running statistics."""
    x = F.conv2d(images, weights[0], padding=1)
    x = F.relu(F.batch_norm(x, *running[0], *affine[0], training=True))
    x = F.conv2d(x, weights[1], stride=2, padding=1)
    x = F.relu(F.batch_norm(x, *running[1], *affine[1], training=True))
    x = F.conv2d(x.mean((2, 3), keepdim=True), weights[2])
    return F.batch_norm(x, *running[2], *affine[2], training=True).flatten(1)


def literal_training(parameters, make_weights, running, affine, batch, *, lr, weight_decay):
    """Train by PGD adversarial training; every pass computes the weights anew and differentiates by everything."""
    noise = torch.Generator().manual_seed(0)
    velocity = [torch.zeros_like(parameter) for parameter in parameters]
    for _ in range(UPDATES):
        uniform = torch.rand(batch.images.shape, generator=noise, dtype=torch.float64)
        attacked = (batch.images - EPSILON + 2 * EPSILON * uniform).clamp(0, 1)
        for _ in range(NUM_STEPS):
            attacked = attacked.detach().requires_grad_()
            logits = literal_logits(make_weights(), running, affine, attacked)
            F.cross_entropy(logits.float(), batch.labels, reduction="sum").backward()
            attacked = attacked.detach() + STEP_SIZE * attacked.grad.sign()
            attacked = batch.images + (attacked - batch.images).clamp(-EPSILON, EPSILON)
            attacked = attacked.clamp(0, 1)
        for parameter in parameters:
            parameter.grad = None
        logits = literal_logits(make_weights(), running, affine, attacked)
        F.cross_entropy(logits.float(), batch.labels).backward()
        with torch.no_grad():
            for parameter, speed in zip(parameters, velocity, strict=True):
                gradient = parameter.grad + weight_decay * parameter
                speed.copy_(0.9 * speed + gradient)
                parameter.sub_(lr * speed)


def statistics(model):
    """Return copies of running mean and variance of the three norms."""
    return [(norm.running_mean.clone(), norm.running_var.clone()) for norm in (model.norm1, model.norm2, model.norm3)]


def assert_close(ours, literal):
    """Compare lists of tensors, or of tuples of them, to nine decimals."""
    torch.testing.assert_close(ours, literal, rtol=0, atol=1e-9)


@pytest.mark.parametrize("weights", ["binary", "fp"])
@pytest.mark.parametrize("allocation", [0.3, "global"])
def test_edge_popup_takes_the_literal_steps(batch, make_objective, train_steps, weights, allocation):
    method, target = EdgePopup(), Target(0.3, weights, allocation)
    model = method.build(TwoBlocks, target).double()
    layers = compressed_layers(model)
    theta = [layer.weight.detach().clone() for layer in layers]
    scores = [layer.scores.detach().clone().requires_grad_() for layer in layers]
    start = [score.detach().clone() for score in scores]
    running, sizes = statistics(model), [value.numel() for value in theta]
    total = round(0.3 * sum(sizes))
    counts = [total] if allocation == "global" else allocate(sizes, 0.3, allocation)

    def masked_weights():
        magnitudes = [score.abs() for score in scores]
        flat = [magnitude.detach().flatten() for magnitude in magnitudes]
        masks = []
        for values, count in zip([torch.cat(flat)] if allocation == "global" else flat, counts, strict=True):
            order = sorted(range(len(values)), key=values.tolist().__getitem__, reverse=True)
            mask = torch.zeros_like(values)
            mask[order[:count]] = 1
            masks.append(mask)
        masks = torch.cat(masks).split(sizes)
        # The value of the mask with the gradient of the magnitude.
        through = [m + (k.view_as(m) - m).detach() for m, k in zip(magnitudes, masks, strict=True)]
        return [t * value for t, value in zip(through, theta, strict=True)]

    objective = make_objective(epsilon=EPSILON, step_size=STEP_SIZE, num_steps=NUM_STEPS)
    train_steps(method, model, target, batch, objective, steps=UPDATES)
    literal_training(scores, masked_weights, running, [()] * 3, batch, lr=0.1, weight_decay=5e-4)

    assert_close([layer.scores.detach() for layer in layers], [score.detach() for score in scores])
    assert_close([layer.effective_weight().detach() for layer in layers], [w.detach() for w in masked_weights()])
    assert_close(statistics(model), running)
    assert all(bool((score.detach() != old).all()) for score, old in zip(scores, start, strict=True))


def test_full_precision_at_takes_the_literal_steps(batch, make_objective, train_steps):
    method, target = AT(), Target(weights="fp")
    model = method.build(TwoBlocks, target).double()
    norms = [model.norm1, model.norm2, model.norm3]
    weights = [layer.weight.detach().clone().requires_grad_() for layer in compressed_layers(model)]
    affine = [tuple(value.detach().clone().requires_grad_() for value in (norm.weight, norm.bias)) for norm in norms]
    running = statistics(model)

    objective = make_objective(epsilon=EPSILON, step_size=STEP_SIZE, num_steps=NUM_STEPS)
    train_steps(method, model, target, batch, objective, steps=UPDATES)
    parameters = [*weights, *(value for pair in affine for value in pair)]
    literal_training(parameters, lambda: weights, running, affine, batch, lr=0.1, weight_decay=5e-4)

    assert_close([layer.weight.detach() for layer in compressed_layers(model)], [w.detach() for w in weights])
    assert_close([norm.weight.detach() for norm in norms], [scale.detach() for scale, _ in affine])
    assert_close([norm.bias.detach() for norm in norms], [shift.detach() for _, shift in affine])
    assert_close(statistics(model), running)


def test_binary_at_takes_the_literal_steps(batch, make_objective, train_steps):
    """One difference is meant: the released code clips at the next forward pass, here it is done after the step."""
    method, target = AT(binary_lr=0.3), Target(weights="binary")
    model = method.build(TwoBlocks, target).double()
    norms = [model.norm1, model.norm2, model.norm3]
    latent = [layer.weight.detach().clone().requires_grad_() for layer in compressed_layers(model)]
    affine = [tuple(value.detach().clone().requires_grad_() for value in (norm.weight, norm.bias)) for norm in norms]
    running = statistics(model)
    parameters = [*latent, *(value for pair in affine for value in pair)]
    optimizer = torch.optim.Adam(parameters, lr=0.3, betas=(0.9, 0.999), weight_decay=5e-4)

    objective = make_objective(epsilon=EPSILON, step_size=STEP_SIZE, num_steps=0, random_start=False)
    train_steps(method, model, target, batch, objective, steps=UPDATES)
    for _ in range(UPDATES):
        optimizer.zero_grad()
        signs = [v + ((v >= 0).double() * 2 - 1 - v).detach() for v in latent]
        logits = literal_logits(signs, running, affine, batch.images)
        F.cross_entropy(logits.float(), batch.labels).backward()
        optimizer.step()
        for value in latent:
            value.data.clamp_(-1, 1)

    assert_close([layer.weight.detach() for layer in compressed_layers(model)], [v.detach() for v in latent])
    assert_close([norm.bias.detach() for norm in norms], [shift.detach() for _, shift in affine])
    assert_close(statistics(model), running)
    assert max(float(value.detach().abs().max()) for value in latent) == 1.0
