"""Magnitude and random pruning: dense training, one pruning to the exact budget, fine-tuning under a fixed mask."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from benchmark.networks.resnet import convolutions
from methods.allocation import allocate, weight_budget
from methods.base import Target
from methods.layers import compressed_layers
from methods.prune_finetune import MagnitudePruning, RandomPruning

METHODS = [MagnitudePruning(), RandomPruning()]
BY_NAME = {"argvalues": METHODS, "ids": [method.name for method in METHODS]}


@pytest.fixture
def finetuned(make_plan, make_batch, make_objective, train_steps):
    """Return a function that builds a network, fine-tunes it for two steps, and returns it with its first weights."""

    def make(method, target, after_each=lambda model: None):
        model = method.build(make_plan(), target)
        start = [layer.weight.detach().clone() for layer in compressed_layers(model)]
        phase = method.phases(2, target)[1]
        objective = make_objective(num_steps=1)
        train_steps(method, model, target, make_batch(), objective, steps=2, phase=phase, after_each=after_each)
        return model, start

    return make


@pytest.mark.parametrize("method", **BY_NAME)
def test_the_default_hyperparameters_are_frozen(method):
    """A changed default would give old results another meaning under the same run hash."""
    assert asdict(method) == {
        "pretrain_share": 0.5,
        "lr": 0.1,
        "finetune_lr": 0.01,
        "binary_lr": 1e-4,
        "weight_decay": 5e-4,
    }


@pytest.mark.parametrize("method", **BY_NAME)
@pytest.mark.parametrize("weights", ["fp", "binary"])
def test_pretraining_keeps_every_weight(make_plan, make_batch, make_objective, train_steps, method, weights):
    target = Target(0.3, weights, 0.5)
    model = method.build(make_plan(), target)

    train_steps(method, model, target, make_batch(), make_objective(), phase=method.phases(2, target)[0])

    assert all(bool(layer.mask.all()) for layer in compressed_layers(model))


@pytest.mark.parametrize("allocation", [0.0, 0.1, 0.5, 1.0, "global"])
def test_magnitude_pruning_keeps_the_largest_weights(finetuned, allocation):
    model, start = finetuned(MagnitudePruning(), Target(0.3, "fp", allocation))

    flat = [weight.abs().flatten() for weight in start]
    sizes = [len(values) for values in flat]
    if allocation == "global":
        flat, counts = [torch.cat(flat)], [weight_budget(sum(sizes), 0.3)]
    else:
        counts = allocate(sizes, 0.3, allocation)
    expected = []
    for values, count in zip(flat, counts, strict=True):
        mask = torch.zeros(len(values), dtype=torch.bool)
        mask[values.argsort(descending=True, stable=True)[:count]] = True
        expected.append(mask)
    masks = torch.cat([layer.mask.flatten() for layer in compressed_layers(model)])
    assert torch.equal(masks, torch.cat(expected))


def test_random_pruning_does_not_depend_on_the_weights(finetuned):
    target, masks = Target(0.3, "fp", 1.0), []

    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model, start = finetuned(RandomPruning(), target)
        masks.append(torch.cat([layer.mask.flatten() for layer in compressed_layers(model)]))

    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    kept = torch.cat(
        [
            weight.abs().flatten() * layer.fan_in**0.5
            for weight, layer in zip(start, compressed_layers(model), strict=True)
        ]
    )
    assert float(kept[masks[2]].mean()) == pytest.approx(float(kept.mean()), rel=0.05)


@pytest.mark.parametrize("method", **BY_NAME)
@pytest.mark.parametrize("weights", ["fp", "binary"])
@pytest.mark.parametrize("allocation", [0.1, "global"])
def test_fine_tuning_changes_weights_but_no_mask_and_exports_the_exact_budget(finetuned, method, weights, allocation):
    seen = []

    def look(model):
        layers = compressed_layers(model)
        seen.append(torch.cat([layer.mask.flatten() for layer in layers]))
        assert all(not layer.effective_weight()[~layer.mask].any() for layer in layers)

    model, start = finetuned(method, Target(0.3, weights, allocation), look)

    assert torch.equal(seen[0], seen[1])
    layers = compressed_layers(model)
    assert any(not torch.equal(layer.weight, before) for layer, before in zip(layers, start, strict=True))
    convs = convolutions(method.export(model)).values()
    kept, sizes = [int(conv.weight.count_nonzero()) for conv in convs], [conv.weight.numel() for conv in convs]
    assert sum(kept) == weight_budget(sum(sizes), 0.3)
    assert allocation == "global" or kept == allocate(sizes, 0.3, allocation)
    if weights == "binary":
        assert {value for conv in convs for value in conv.weight.unique().tolist()} == {-1.0, 0.0, 1.0}
        assert max(float(layer.weight.detach().abs().max()) for layer in layers) <= 1.0


@pytest.mark.parametrize(
    "method", [*METHODS, MagnitudePruning(pretrain_share=0.99), RandomPruning(pretrain_share=0.01)]
)
@pytest.mark.parametrize("weights", ["fp", "binary"])
def test_phases_add_up_and_have_an_epoch_each(method, weights):
    for epochs in range(2, 200):
        phases = method.phases(epochs, Target(0.3, weights))

        assert [phase.name for phase in phases] == ["pretrain", "finetune"]
        assert sum(phase.epochs for phase in phases) == epochs
        assert min(phase.epochs for phase in phases) >= 1


@pytest.mark.parametrize("method", **BY_NAME)
def test_too_few_epochs_and_dense_targets_are_refused(method):
    with pytest.raises(ValueError, match=f"{method.name} has two phases and needs at least 2 epochs, got 1"):
        method.phases(1, Target(0.3))
    assert method.refusal(Target()) == f"{method.name} prunes: keep_ratio must be below 1"
    assert method.refusal(Target(0.3)) is None
