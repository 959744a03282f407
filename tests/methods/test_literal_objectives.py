"""TRADES and the fast objective equal literal transcriptions of their equations."""

from __future__ import annotations

import pytest
import torch

from benchmark.training.fast_objective import FastObjective, PerturbationStore, SoftTarget
from benchmark.training.objectives import TradesObjective
from methods.at import AT
from methods.base import Target

UPDATES, PADDING, FILL = 3, 2, 0.5
DENSE = Target(weights="fp")


@pytest.fixture
def trained(literal):
    """Return an AT network, its copies, and a function that takes one literal SGD step on them."""
    model = AT().build(literal.network, DENSE).double()
    copies = literal.copies_of(model)
    parameters = [*copies.weights, *(value for pair in copies.affine for value in pair)]
    velocity = [torch.zeros_like(parameter) for parameter in parameters]
    return model, copies, lambda loss: literal.sgd_step(loss, parameters, velocity, lr=0.1, weight_decay=5e-4)


@pytest.mark.parametrize("beta", [6.0, 1.0])
def test_trades_takes_the_literal_steps(literal, batch, make_objective, train_steps, trained, beta):
    model, copies, descend = trained
    objective = make_objective(kind=TradesObjective, beta=beta, train_mode_attack=False, **literal.settings)
    noise = torch.Generator().manual_seed(0)

    train_steps(AT(), model, DENSE, batch, objective, steps=UPDATES)
    for _ in range(UPDATES):
        descend(
            literal.trades_loss(
                lambda x: literal.literal_logits(copies.weights, copies, x),
                lambda x: literal.literal_logits(copies.weights, copies, x, training=False),
                *(batch, noise, beta),
            )
        )

    literal.assert_same(model, copies)


def crop(canvas, row, column, mirrored):
    """Cut an 8x8 window out of a canvas (C, H, W), optionally mirrored left to right."""
    window = canvas[:, row : row + 8, column : column + 8]
    return window.flip(2) if mirrored else window


@pytest.mark.parametrize("soft", [None, SoftTarget(rho=0.9, beta=0.1)], ids=["labels", "soft targets"])
def test_the_fast_objective_takes_the_literal_steps(literal, batch, make_objective, train_steps, trained, soft):
    model, copies, descend = trained
    epsilon, rows = literal.settings["epsilon"], torch.tensor([9, 2, 5, 0, 7, 4, 3, 8])
    labels = torch.zeros(10, dtype=torch.int64)
    labels[rows] = batch.labels
    batch = batch._replace(rows=rows)
    store = PerturbationStore(
        *(10, (3, 8, 8)),
        padding=PADDING,
        epsilon=epsilon,
        generator=torch.Generator().manual_seed(1),
        labels=labels,
        num_classes=5,
        soft_target=soft,
    )
    one_hot = torch.eye(5, dtype=torch.float64)
    if soft:
        store.means = store.means.double()
    levels, means = store.levels.clone(), one_hot[labels]
    objective = make_objective(
        kind=FastObjective, store=store, fill=FILL, crop_padding=PADDING, flip=True, **literal.settings
    )
    draw = torch.Generator().manual_seed(0)

    train_steps(AT(), model, DENSE, batch, objective, steps=UPDATES)
    for _ in range(UPDATES):
        offsets = torch.randint(2 * PADDING + 1, (2, 8, 1), generator=draw).squeeze(2)
        mirrored = torch.rand(8, generator=draw) < 0.5
        crops = list(zip(*offsets.tolist(), mirrored.tolist(), strict=True))
        images, old = torch.empty(8, 3, 8, 8, dtype=torch.float64), torch.empty(8, 3, 8, 8)
        for index, window in enumerate(crops):
            canvas = torch.full((3, 8 + 2 * PADDING, 8 + 2 * PADDING), FILL, dtype=torch.float64)
            canvas[:, PADDING:-PADDING, PADDING:-PADDING] = batch.images[index]
            images[index] = crop(canvas, *window)
            # Stored in whole steps of epsilon / 126.
            old[index] = crop(levels[rows[index]].to(torch.float32), *window) * (epsilon / 126)
        start = (images + old).requires_grad_()
        logits = literal.literal_logits(copies.weights, copies, start)
        (gradient,) = torch.autograd.grad(literal.cross_entropy(logits, batch.labels), start)
        new = (old + literal.settings["step_size"] * gradient.sign()).clamp(-epsilon, epsilon)
        new = (images + new).clamp(0, 1) - images
        for index, (row, column, mirror) in enumerate(crops):
            whole = (new[index] / epsilon * 126).round().to(torch.int8)
            levels[rows[index], :, row : row + 8, column : column + 8] = whole.flip(2) if mirror else whole
        target = one_hot[batch.labels]
        if soft:
            means[rows] = 0.9 * means[rows] + 0.1 * logits.detach().softmax(1)
            target = 0.1 * target + 0.9 * means[rows]
        adversarial = literal.literal_logits(copies.weights, copies, images + new)
        descend(-(target * literal.log_probabilities(adversarial)).sum(1).mean())

    literal.assert_same(model, copies)
    assert torch.equal(store.levels, levels)
    if soft:
        torch.testing.assert_close(store.means, means, rtol=0, atol=1e-9)
