"""HYDRA, ATMC and fine-tuning after magnitude or random pruning equal literal transcriptions of their equations."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from benchmark.networks.resnet import convolutions
from benchmark.training.objectives import HalfCleanObjective, TradesObjective
from methods.atmc import Atmc
from methods.base import Target
from methods.hydra import Hydra
from methods.layers import compressed_layers
from methods.prune_finetune import MagnitudePruning, RandomPruning

KEEP, BETA, RHO, UPDATES = 0.3, 6.0, 0.1, 3
ATTACK_STEPS = {"fp": 4, "binary": 0}


class Descent:
    """SGD steps on weights and norms, or Adam steps with latent weights clipped to [-1, 1]."""

    def __init__(self, literal, copies, trained, *, adam=False, lr, weight_decay):
        self.literal, self.trained, self.settings = literal, trained, {"lr": lr, "weight_decay": weight_decay}
        self.parameters = [*trained, *(value for pair in copies.affine for value in pair)]
        self.velocity = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.adam = torch.optim.Adam(self.parameters, betas=(0.9, 0.999), **self.settings) if adam else None

    def step(self, loss):
        if self.adam is None:
            self.literal.sgd_step(loss, self.parameters, self.velocity, **self.settings)
            return
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        for value in self.trained:
            value.data.clamp_(-1, 1)


@pytest.mark.parametrize(("form", "searched_form"), [("fp", "fp"), ("binary", "binary"), ("binary", "fp")])
@pytest.mark.parametrize("allocation", [0.3, "global"])
def test_hydra_prunes_and_fine_tunes_with_trades_by_the_literal_steps(
    literal, batch, make_objective, train_steps, form, searched_form, allocation
):
    """Binary from the start is B1, binary only in fine-tuning is B2."""
    method = Hydra(binary_phases="all" if form == searched_form else "finetune")
    target = Target(KEEP, form, allocation)
    model = method.build(literal.network, target).double()
    layers, copies = compressed_layers(model), literal.copies_of(model)
    objective = make_objective(kind=TradesObjective, beta=BETA, train_mode_attack=False, **literal.settings)
    noise = torch.Generator().manual_seed(0)
    _, prune, finetune = method.phases(3, target)

    def loss(make_weights, form):
        return literal.trades_loss(
            lambda x: literal.literal_logits(make_weights(), copies, x),
            lambda x: literal.literal_logits(make_weights(), copies, x, training=False),
            *(batch, noise, BETA, ATTACK_STEPS[form]),
        )

    def values(form):
        return literal.signs_through(copies.weights) if form == "binary" else copies.weights

    # Pruning: the weights are fixed; scores start from them and are trained with the norms.
    scores = [
        (math.sqrt(6 / weight[0].numel()) * weight / weight.abs().max()).detach().requires_grad_()
        for weight in copies.weights
    ]
    first_masks = literal.largest(scores, KEEP, allocation)

    def searched():
        masks = literal.masks_through(scores, literal.largest(scores, KEEP, allocation))
        return [value.detach() * mask for value, mask in zip(values(searched_form), masks, strict=True)]

    objective = replace(objective, num_steps=ATTACK_STEPS[searched_form])
    train_steps(method, model, target, batch, objective, steps=UPDATES, phase=prune)
    descent = Descent(literal, copies, scores, lr=0.1, weight_decay=1e-4)
    for _ in range(UPDATES):
        descent.step(loss(searched, searched_form))

    literal.assert_same(model, copies)
    for layer, score in zip(layers, scores, strict=True):
        torch.testing.assert_close(layer.scores, score, rtol=0, atol=1e-9)

    # Fine-tuning: the masks are fixed; latent weights start within [-1, 1].
    masks = literal.largest(scores, KEEP, allocation)
    assert any(not torch.equal(mask, first) for mask, first in zip(masks, first_masks, strict=True))

    def masked():
        return [value * mask for value, mask in zip(values(form), masks, strict=True)]

    if form == "binary":
        for weight in copies.weights:
            weight.data.clamp_(-1, 1)
    objective = replace(objective, num_steps=ATTACK_STEPS[form])
    train_steps(method, model, target, batch, objective, steps=UPDATES, phase=finetune)
    rate = 1e-4 if form == "binary" else 0.01
    descent = Descent(literal, copies, copies.weights, adam=form == "binary", lr=rate, weight_decay=1e-4)
    for _ in range(UPDATES):
        descent.step(loss(masked, form))

    literal.assert_same(model, copies)
    for layer, weight in zip(layers, masked(), strict=True):
        torch.testing.assert_close(layer.effective_weight(), weight, rtol=0, atol=1e-9)


def two_levels(values):
    """Replace numbers by the means of the best two intervals of their sorted order, trying all cuts."""
    ordered = sorted(values)
    best = (math.inf, [], [])
    for cut in range(1, len(ordered)):
        parts = ordered[:cut], ordered[cut:]
        error = sum((value - sum(part) / len(part)) ** 2 for part in parts for value in part)
        best = min(best, (error, *parts), key=lambda candidate: candidate[0])
    means = [sum(part) / len(part) for part in best[1:]]
    return [means[0] if value <= best[1][-1] else means[1] for value in values]


def quantized(weights, duals):
    """Return Z: two levels per layer for W + U where W survives, and zero elsewhere."""
    result = []
    for weight, dual in zip(weights, duals, strict=True):
        alive, z = weight.detach() != 0, torch.zeros_like(weight)
        z[alive] = torch.tensor(two_levels((weight.detach() + dual)[alive].tolist()), dtype=torch.float64)
        result.append(z)
    return result


@pytest.mark.parametrize("form", ["fp", "binary"])
@pytest.mark.parametrize("allocation", [0.3, "global"])
def test_atmc_projects_and_quantises_with_half_clean_loss_by_the_literal_steps(
    literal, batch, make_objective, train_steps, form, allocation
):
    # While quantising, a large rate lets weights die whose dual is not zero.
    method, target = Atmc(interval=2, quantize_lr=0.5), Target(KEEP, form, allocation)
    model = method.build(literal.network, target).double()
    copies = literal.copies_of(model)
    objective = make_objective(kind=HalfCleanObjective, **literal.settings)
    noise = torch.Generator().manual_seed(0)
    phases = {phase.name: phase for phase in method.phases(3, target)}

    def network(images):
        return literal.literal_logits(copies.weights, copies, images)

    def half_clean():
        attacked = literal.pgd(network, batch, noise)
        clean = literal.cross_entropy(network(batch.images), batch.labels)
        return (clean + literal.cross_entropy(network(attacked), batch.labels)) / 2

    def project():
        for weight, mask in zip(copies.weights, literal.largest(copies.weights, KEEP, allocation), strict=True):
            weight.data[mask == 0] = 0

    train_steps(method, model, target, batch, objective, steps=UPDATES, phase=phases["sparse"])
    project()
    descent = Descent(literal, copies, copies.weights, lr=0.01, weight_decay=1e-4)
    for _ in range(UPDATES):
        descent.step(half_clean())
        project()
    literal.assert_same(model, copies)

    if form == "fp":
        assert "quantize" not in phases
        return
    train_steps(method, model, target, batch, objective, steps=5, phase=phases["quantize"])
    duals = [torch.zeros_like(weight) for weight in copies.weights]
    z = quantized(copies.weights, duals)
    descent = Descent(literal, copies, copies.weights, lr=0.5, weight_decay=1e-4)
    for step in range(5):
        penalty = sum(
            ((weight + dual - level) ** 2).sum() for weight, dual, level in zip(copies.weights, duals, z, strict=True)
        )
        descent.step(half_clean() + RHO / 2 * penalty)
        project()
        if step in (2, 4):
            z = quantized(copies.weights, duals)
            duals = [u + weight.detach() - level for u, weight, level in zip(duals, copies.weights, z, strict=True)]

    literal.assert_same(model, copies)
    pairs = list(zip(copies.weights, duals, strict=True))
    assert any(bool(((weight.detach() == 0) & (dual != 0)).any()) for weight, dual in pairs)
    exported = convolutions(method.export(model)).values()
    for layer, dual, level, conv in zip(compressed_layers(model), duals, z, exported, strict=True):
        torch.testing.assert_close(layer.dual, dual, rtol=0, atol=1e-9)
        torch.testing.assert_close(layer.quantized, level, rtol=0, atol=1e-9)
        torch.testing.assert_close(conv.weight, level, rtol=0, atol=1e-9, check_dtype=True)


@pytest.mark.parametrize("form", ["fp", "binary"])
@pytest.mark.parametrize("method", [MagnitudePruning(), RandomPruning()], ids=lambda method: method.name)
def test_pruned_networks_are_fine_tuned_by_the_literal_steps(literal, batch, make_objective, train_steps, method, form):
    target = Target(KEEP, form, 0.3)
    model = method.build(literal.network, target).double()
    copies = literal.copies_of(model)
    torch.manual_seed(1)
    randoms = [torch.rand(weight.shape, dtype=torch.float64) for weight in copies.weights]
    masks = literal.largest(copies.weights if method.name == "lwm" else randoms, KEEP, 0.3)
    noise = torch.Generator().manual_seed(0)

    def network(images):
        values = literal.signs_through(copies.weights) if form == "binary" else copies.weights
        weights = [value * mask for value, mask in zip(values, masks, strict=True)]
        return literal.literal_logits(weights, copies, images)

    phase = method.phases(2, target)[1]
    objective = make_objective(**(literal.settings | {"num_steps": ATTACK_STEPS[form]}))
    torch.manual_seed(1)
    train_steps(method, model, target, batch, objective, steps=UPDATES, phase=phase)
    rate = 1e-4 if form == "binary" else 0.01
    descent = Descent(literal, copies, copies.weights, adam=form == "binary", lr=rate, weight_decay=5e-4)
    for _ in range(UPDATES):
        attacked = literal.pgd(network, batch, noise, ATTACK_STEPS[form])
        descent.step(literal.cross_entropy(network(attacked), batch.labels))

    literal.assert_same(model, copies)
