"""Training of single phases; and, for literal transcriptions, a network written out twice, its attacks, and plain SGD.

The objectives cast logits to single precision, because they may come from an autocast network. `literal` disables that
cast, so that both sides compute in double precision and may order their sums differently. But an attack takes the sign
of gradients, and with binary weights many of them cancel to zero except for rounding. Transcriptions of binary training
with trained norms therefore start an attack but take none of its steps.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch
from methods.layers import compressed_layers

EPSILON, STEP_SIZE, NUM_STEPS = 0.1, 0.03, 4


@pytest.fixture
def run_phase(make_batch, make_objective, train_steps):
    """Return a function that trains one named phase, three steps by default."""

    def run(method, model, target, name, **changes):
        (phase,) = [phase for phase in method.phases(6, target) if phase.name == name]
        train_steps(method, model, target, make_batch(), make_objective(num_steps=1), phase=phase, **changes)

    return run


class TwoBlocks(nn.Module):
    """Convolution, norm, ReLU, strided convolution, norm, ReLU, pool, 1x1 convolution and norm on the logits."""

    def __init__(self, *, conv, norm, widths=(6, 8)):
        super().__init__()
        first, second = widths
        self.conv1, self.norm1 = conv(3, first, 3, padding=1), norm(first)
        self.conv2, self.norm2 = conv(first, second, 3, stride=2, padding=1), norm(second)
        self.fc, self.norm3 = conv(second, 5, 1), norm(5)

    @staticmethod
    def narrowed(keep_ratio):
        """Return the network with at most 0.3 of this one's weights: 177 of 634."""
        assert keep_ratio == 0.3
        return partial(TwoBlocks, widths=(3, 3))

    def forward(self, images):
        x = F.relu(self.norm1(self.conv1(images)))
        x = F.relu(self.norm2(self.conv2(x)))
        return self.norm3(self.fc(x.mean((2, 3), keepdim=True))).flatten(1)


def copies_of(model):
    """Copy weights, scale and shift of affine norms, and running statistics of a network."""
    norms = [model.norm1, model.norm2, model.norm3]
    return SimpleNamespace(
        weights=[layer.weight.detach().clone().requires_grad_() for layer in compressed_layers(model)],
        affine=[tuple(value.detach().clone().requires_grad_() for value in norm.parameters()) for norm in norms],
        running=[(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms],
    )


def literal_logits(weights, copies, images, *, training=True):
    """Compute the logits of `TwoBlocks`; in train mode, update the running statistics."""
    norms = [(*running, *affine) for running, affine in zip(copies.running, copies.affine, strict=True)]
    x = F.conv2d(images, weights[0], padding=1)
    x = F.relu(F.batch_norm(x, *norms[0], training=training))
    x = F.conv2d(x, weights[1], stride=2, padding=1)
    x = F.relu(F.batch_norm(x, *norms[1], training=training))
    x = F.conv2d(x.mean((2, 3), keepdim=True), weights[2])
    return F.batch_norm(x, *norms[2], training=training).flatten(1)


def log_probabilities(logits):
    """Return the logarithm of the softmax."""
    return logits - logits.exp().sum(1, keepdim=True).log()


def cross_entropy(logits, labels):
    """Return the mean negative log-probability of the labels."""
    return -torch.stack([row[label] for row, label in zip(log_probabilities(logits), labels, strict=True)]).mean()


def divergence(logits, other):
    """Return KL(softmax(logits) || softmax(other)), summed over the batch."""
    return (logits.softmax(1) * (log_probabilities(logits) - log_probabilities(other))).sum()


def climb(loss, attacked, images):
    """Take one signed step that increases the loss, clipped to the ball and the pixel range."""
    attacked = attacked.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(attacked), attacked)
    moved = (attacked.detach() + STEP_SIZE * gradient.sign() - images).clamp(-EPSILON, EPSILON)
    return (images + moved).clamp(0, 1)


def pgd(network, batch, noise, steps=NUM_STEPS):
    """Attack from a random point of the ball by increasing the cross-entropy, in the mode of `network`."""
    uniform = torch.rand(batch.images.shape, generator=noise, dtype=torch.float64)
    attacked = (batch.images - EPSILON + 2 * EPSILON * uniform).clamp(0, 1)
    for _ in range(steps):
        # The same function as in the benchmark, as gradients of a random binary network may cancel and must do so here.
        attacked = climb(
            lambda point: F.cross_entropy(network(point), batch.labels, reduction="sum"), attacked, batch.images
        )
    return attacked


def trades_loss(train_mode, eval_mode, batch, noise, beta, steps=NUM_STEPS):
    """Attack the clean prediction in eval mode; return CE(clean) + beta * mean KL(clean || adversarial)."""
    gaussian = torch.randn(batch.images.shape, generator=noise, dtype=torch.float64)
    attacked = (batch.images + (0.001 * gaussian).clamp(-EPSILON, EPSILON)).clamp(0, 1)
    for _ in range(steps):
        clean = eval_mode(batch.images).detach()
        attacked = climb(lambda point, clean=clean: divergence(clean, eval_mode(point)), attacked, batch.images)
    clean = train_mode(batch.images)
    return cross_entropy(clean, batch.labels) + beta * divergence(clean, train_mode(attacked)) / len(batch.labels)


def sgd_step(loss, parameters, velocity, *, lr, weight_decay):
    """Take one SGD step with momentum 0.9 and L2 decay; `velocity` starts as zeros."""
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for parameter, gradient, speed in zip(parameters, gradients, velocity, strict=True):
            speed.copy_(0.9 * speed + gradient + weight_decay * parameter)
            parameter.sub_(lr * speed)


def shares(sizes, keep_ratio, p):
    """Split the budget in proportion to size ** p, at most the size of a layer; bisection gives the factor."""
    budget, low, high = round(keep_ratio * sum(sizes)), 0.0, float(max(sizes))
    for _ in range(200):
        middle = (low + high) / 2
        fits = sum(min(size, middle * size**p) for size in sizes) <= budget
        low, high = (middle, high) if fits else (low, middle)
    exact = [min(size, high * size**p) for size in sizes]
    counts = [int(share + 1e-9) for share in exact]
    for index in sorted(range(len(sizes)), key=lambda index: counts[index] - exact[index])[: budget - sum(counts)]:
        counts[index] += 1
    return counts


def largest(tensors, keep_ratio, allocation):
    """Return masks of the largest magnitudes, per layer or globally, by sorting Python numbers."""
    flat = [tensor.detach().abs().flatten() for tensor in tensors]
    sizes = [len(values) for values in flat]
    whole = allocation == "global"
    counts = [round(keep_ratio * sum(sizes))] if whole else shares(sizes, keep_ratio, allocation)
    masks = []
    for values, count in zip([torch.cat(flat)] if whole else flat, counts, strict=True):
        order = sorted(range(len(values)), key=values.tolist().__getitem__, reverse=True)
        mask = torch.zeros_like(values)
        mask[order[:count]] = 1
        masks.append(mask)
    return [mask.view_as(tensor) for mask, tensor in zip(torch.cat(masks).split(sizes), tensors, strict=True)]


def masks_through(scores, masks):
    """Return masks that have the gradient of the score magnitudes."""
    return [score.abs() + (mask - score.abs()).detach() for score, mask in zip(scores, masks, strict=True)]


def signs_through(weights):
    """Return signs, +1 for zero, that have the gradient of the weights."""
    return [value + ((value >= 0).double() * 2 - 1 - value).detach() for value in weights]


def assert_same(model, copies):
    """Compare weights, affine parameters and running statistics to nine decimals."""
    now = copies_of(model)
    for ours, literal in ((now.weights, copies.weights), (now.affine, copies.affine), (now.running, copies.running)):
        torch.testing.assert_close(ours, literal, rtol=0, atol=1e-9)


@pytest.fixture
def literal(monkeypatch):
    """Return the helpers above, with everything in double precision."""
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor)
    helpers = (copies_of, literal_logits, cross_entropy, log_probabilities, climb, pgd, trades_loss, sgd_step)
    helpers += (shares, largest, masks_through, signs_through, assert_same)
    settings = {"epsilon": EPSILON, "step_size": STEP_SIZE, "num_steps": NUM_STEPS}
    return SimpleNamespace(network=TwoBlocks, settings=settings, **{helper.__name__: helper for helper in helpers})


@pytest.fixture
def batch(make_batch):
    """Return eight double-precision images of five classes."""
    images, labels, rows = make_batch(8, classes=5)
    return Batch(images.double(), labels, rows)
