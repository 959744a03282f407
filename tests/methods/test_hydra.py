"""HYDRA: scores start as magnitude pruning; pruning freezes the weights and fine-tuning the masks."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from benchmark.networks.resnet import convolutions
from methods.allocation import allocate, weight_budget
from methods.base import Target
from methods.hydra import Hydra, scores_from_weights
from methods.layers import compressed_layers, refresh_masks

STRATEGIES = (0.0, 0.1, 0.5, 1.0, "global")
B1, B2, FULL = Hydra(), Hydra(binary_phases="finetune"), Hydra()
FORMS = [(FULL, "fp"), (B1, "binary"), (B2, "binary")]
NAMES = ["fp", "B1", "B2"]


def masks_of(model):
    """Copy all masks."""
    return [layer.mask.clone() for layer in compressed_layers(model)]


def weights_of(model):
    """Copy all weights."""
    return [layer.weight.detach().clone() for layer in compressed_layers(model)]


def same(first, second):
    """Return whether two lists of tensors are bit-identical."""
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_the_default_hyperparameters_are_frozen():
    """A changed default would give old results another meaning under the same run hash."""
    assert asdict(Hydra()) == {
        "pretrain_share": 100 / 220,
        "prune_share": 20 / 220,
        "lr": 0.1,
        "finetune_lr": 0.01,
        "binary_lr": 1e-4,
        "weight_decay": 1e-4,
        "binary_phases": "all",
    }
    assert Hydra.objective == "trades"


@pytest.mark.parametrize("weights", ["fp", "binary"])
@pytest.mark.parametrize("allocation", STRATEGIES)
def test_the_first_mask_of_pruning_is_magnitude_pruning(make_plan, allocation, weights):
    target = Target(0.3, weights, allocation)
    model = Hydra().build(make_plan(), target)
    layers = compressed_layers(model)

    scores_from_weights(model)
    refresh_masks(model)

    if allocation == "global":
        # One budget for scores of several layers: scores are scaled per layer, so magnitudes must be as well.
        scale = [(6 / layer.fan_in) ** 0.5 / layer.weight.detach().abs().max() for layer in layers]
        flat = torch.cat([(s * layer.weight.detach().abs()).flatten() for s, layer in zip(scale, layers, strict=True)])
        expected = torch.zeros(len(flat), dtype=torch.bool)
        expected[flat.argsort(descending=True, stable=True)[: weight_budget(len(flat), 0.3)]] = True
        assert torch.equal(torch.cat([mask.flatten() for mask in masks_of(model)]), expected)
        return
    counts = allocate([layer.weight.numel() for layer in layers], 0.3, allocation)
    for layer, count in zip(layers, counts, strict=True):
        magnitudes = layer.weight.detach().abs().flatten()
        expected = torch.zeros(len(magnitudes), dtype=torch.bool)
        expected[magnitudes.argsort(descending=True, stable=True)[:count]] = True
        assert torch.equal(layer.mask.flatten(), expected)


def test_scores_are_weights_over_their_largest_times_the_root_of_six_over_fan_in(make_plan):
    model = Hydra().build(make_plan(), Target(0.3))

    scores_from_weights(model)

    for layer in compressed_layers(model):
        bound = (6 / layer.weight[0].numel()) ** 0.5
        expected = layer.weight.detach() * (bound / float(layer.weight.detach().abs().max()))
        torch.testing.assert_close(layer.scores.detach(), expected)


@pytest.mark.parametrize(("method", "weights"), FORMS, ids=NAMES)
@pytest.mark.parametrize("allocation", [0.1, 1.0, "global"])
def test_pretraining_is_dense_pruning_freezes_weights_and_fine_tuning_freezes_masks(
    make_plan, run_phase, method, weights, allocation
):
    target = Target(0.3, weights, allocation)
    model = method.build(make_plan(), target)
    start = weights_of(model)

    run_phase(method, model, target, "pretrain")
    trained, dense = weights_of(model), masks_of(model)
    assert all(bool(mask.all()) for mask in dense) and not same(start, trained)

    sizes = [layer.weight.numel() for layer in compressed_layers(model)]
    kept = []
    run_phase(
        method, model, target, "prune", after_each=lambda model: kept.append([int(m.sum()) for m in masks_of(model)])
    )
    assert same(weights_of(model), trained)
    budget = weight_budget(sum(sizes), 0.3)
    assert all(
        counts == allocate(sizes, 0.3, allocation) if allocation != "global" else sum(counts) == budget
        for counts in kept
    )

    chosen = masks_of(model)
    clipped = [weight.clamp(-1, 1) if weights == "binary" else weight for weight in trained]

    def pruned_stays_zero(model):
        assert same(masks_of(model), chosen)
        assert all(not layer.effective_weight()[~layer.mask].any() for layer in compressed_layers(model))

    run_phase(method, model, target, "finetune", after_each=pruned_stays_zero)
    assert not same(weights_of(model), clipped)
    assert sum(int(conv.weight.count_nonzero()) for conv in convolutions(method.export(model)).values()) == budget


def test_b1_is_binary_from_the_start_and_b2_from_fine_tuning_on(make_plan, run_phase):
    target, seen = Target(0.3, "binary", 0.5), {}

    for name, method in (("B1", B1), ("B2", B2)):
        model = method.build(make_plan(), target)
        seen[name] = []
        for phase in ("pretrain", "prune", "finetune"):
            run_phase(method, model, target, phase)
            levels = {
                value for conv in convolutions(method.export(model)).values() for value in conv.weight.unique().tolist()
            }
            seen[name].append(levels <= {-1.0, 0.0, 1.0})
        latent = max(float(layer.weight.detach().abs().max()) for layer in compressed_layers(model))
        assert latent <= 1.0

    assert seen == {"B1": [True, True, True], "B2": [False, False, True]}


def test_only_binary_weights_are_trained_by_adam():
    optimizers = {
        name: [phase.optimizer for phase in method.phases(11, Target(0.3, weights))]
        for name, (method, weights) in zip(NAMES, FORMS, strict=True)
    }

    assert optimizers == {
        "fp": ["sgd", "sgd", "sgd"],
        "B1": ["adam", "sgd", "adam"],
        "B2": ["sgd", "sgd", "adam"],
    }
    assert [phase.lr for phase in FULL.phases(11, Target(0.3))] == [0.1, 0.1, 0.01]
    assert [phase.lr for phase in B1.phases(11, Target(0.3, "binary"))] == [1e-4, 0.1, 1e-4]


@pytest.mark.parametrize(
    "method", [Hydra(), Hydra(pretrain_share=0.9, prune_share=0.09), Hydra(pretrain_share=0.01, prune_share=0.98)]
)
@pytest.mark.parametrize("weights", ["fp", "binary"])
def test_phases_add_up_and_have_an_epoch_each(method, weights):
    for epochs in range(3, 300):
        phases = method.phases(epochs, Target(0.3, weights))

        assert [phase.name for phase in phases] == ["pretrain", "prune", "finetune"]
        assert sum(phase.epochs for phase in phases) == epochs
        assert min(phase.epochs for phase in phases) >= 1


def test_the_originals_epochs_are_a_hundred_twenty_and_a_hundred():
    assert [phase.epochs for phase in Hydra().phases(220, Target(0.3))] == [100, 20, 100]


@pytest.mark.parametrize("epochs", [1, 2])
def test_too_few_epochs_are_refused(epochs):
    with pytest.raises(ValueError, match=f"hydra has three phases and needs at least 3 epochs, got {epochs}"):
        Hydra().phases(epochs, Target(0.3))


def test_a_dense_target_is_refused_in_a_sentence():
    assert Hydra().refusal(Target()) == "hydra prunes: keep_ratio must be below 1"
    assert Hydra().refusal(Target(0.5)) is None
