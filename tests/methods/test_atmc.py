"""ATMC keeps its budget after every step, quantises to two levels per layer, and deploys the quantised copy."""

from __future__ import annotations

import itertools
from dataclasses import asdict

import pytest
import torch

from benchmark.networks.resnet import convolutions
from benchmark.training.schedule import learning_rate
from methods.allocation import allocate, weight_budget
from methods.atmc import Atmc, admm_layers
from methods.base import Target
from methods.layers import compressed_layers

FORMS, ALLOCATIONS = ["fp", "binary"], [0.1, 1.0, "global"]


def counts_of(tensors):
    """Count the nonzero entries of each tensor."""
    return [int(tensor.count_nonzero()) for tensor in tensors]


def assert_budget(counts, model, allocation):
    """Check counts against the budget of each layer, or of the network for a global one."""
    sizes = [layer.weight.numel() for layer in compressed_layers(model)]
    if allocation == "global":
        assert sum(counts) == weight_budget(sum(sizes), 0.3)
    else:
        assert counts == allocate(sizes, 0.3, allocation)


def test_the_default_hyperparameters_are_frozen():
    """A changed default would give old results another meaning under the same run hash."""
    assert asdict(Atmc()) == {
        "dense_share": 200 / 550,
        "sparse_share": 200 / 550,
        "dense_lr": 0.05,
        "sparse_lr": 0.01,
        "quantize_lr": 0.005,
        "schedule": "step",
        "weight_decay": 1e-4,
        "rho": 0.1,
        "interval": 10,
        "bn_recalibrate": False,
    }
    assert Atmc.objective == "half_clean"


@pytest.mark.parametrize("weights", FORMS)
@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_after_every_step_of_projected_training_exactly_the_budget_survives(make_plan, run_phase, allocation, weights):
    method, target = Atmc(sparse_lr=1.0), Target(0.3, weights, allocation)  # large, so that dropped weights come back
    model = method.build(make_plan(), target)
    supports = []

    def look(model):
        layers = compressed_layers(model)
        assert_budget(counts_of(layer.weight for layer in layers), model, allocation)
        supports.append(torch.cat([(layer.weight != 0).flatten() for layer in layers]))

    run_phase(method, model, target, "dense", steps=1)
    assert all(bool((layer.weight != 0).all()) for layer in compressed_layers(model))
    run_phase(method, model, target, "sparse", steps=4, after_each=look)

    assert len(supports) == 4
    assert bool((supports[-1] & ~supports[0]).any())
    assert_budget(counts_of(conv.weight for conv in convolutions(method.export(model)).values()), model, allocation)


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_while_quantising_both_copies_keep_the_budget_and_z_has_two_levels_per_layer(make_plan, run_phase, allocation):
    method, target = Atmc(interval=2), Target(0.3, "binary", allocation)
    model = method.build(make_plan(), target)
    run_phase(method, model, target, "sparse", steps=1)

    def look(model):
        layers = admm_layers(model)
        assert_budget(counts_of(layer.weight for layer in layers), model, allocation)
        total = sum(layer.weight.numel() for layer in layers)
        assert sum(counts_of(layer.quantized for layer in layers)) <= weight_budget(total, 0.3)
        assert all(len(layer.quantized[layer.quantized != 0].unique()) <= 2 for layer in layers)
        exported = convolutions(method.export(model)).values()
        assert all(torch.equal(conv.weight, layer.quantized) for conv, layer in zip(exported, layers, strict=True))

    run_phase(method, model, target, "quantize", steps=5, after_each=look)

    assert len(admm_layers(model)) == len(compressed_layers(model))


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_z_keeps_the_budget_when_a_weight_with_a_nonzero_dual_dies(make_plan, run_phase, allocation):
    method, target = Atmc(interval=2, quantize_lr=1.0), Target(0.3, "binary", allocation)  # large: the support changes
    model = method.build(make_plan(), target)

    run_phase(method, model, target, "quantize", steps=5)

    layers, exported = admm_layers(model), convolutions(method.export(model)).values()
    assert any(bool(((layer.weight == 0) & (layer.dual != 0)).any()) for layer in layers)
    assert_budget(counts_of(conv.weight for conv in exported), model, allocation)
    for layer, conv in zip(layers, exported, strict=True):
        assert torch.equal(conv.weight != 0, layer.weight != 0)


def test_every_interval_z_is_updated_and_then_u_grows_by_w_minus_z(make_plan, run_phase):
    method, target = Atmc(interval=3), Target(0.3, "binary", 0.5)
    model = method.build(make_plan(), target)
    history = []

    def look(model):
        history.append(
            [
                (layer.weight.detach().clone(), layer.quantized.clone(), layer.dual.clone())
                for layer in admm_layers(model)
            ]
        )

    run_phase(method, model, target, "quantize", steps=7, after_each=look)

    for step, (before, now) in enumerate(itertools.pairwise(history), start=1):
        for (_, old_z, old_u), (w, z, u) in zip(before, now, strict=True):
            if step % 3:
                assert torch.equal(z, old_z) and torch.equal(u, old_u)
            else:
                assert not torch.equal(z, old_z)
                torch.testing.assert_close(u, old_u + (w - z))
    assert not any(bool(u.any()) for _, _, u in history[0])


def test_the_export_is_w_before_quantisation_and_z_from_its_start(make_plan, run_phase):
    method, target = Atmc(), Target(0.3, "binary", 0.5)
    model = method.build(make_plan(), target)

    for name in ("dense", "sparse"):
        run_phase(method, model, target, name, steps=1)
        exported = convolutions(method.export(model)).values()
        for conv, layer in zip(exported, admm_layers(model), strict=True):
            assert torch.equal(conv.weight, layer.weight)
    run_phase(method, model, target, "quantize", steps=1)

    exported = convolutions(method.export(model)).values()
    for conv, layer in zip(exported, admm_layers(model), strict=True):
        assert torch.equal(conv.weight, layer.quantized) and not torch.equal(conv.weight, layer.weight)


def test_the_penalty_is_half_rho_times_the_squared_distance(make_plan, make_batch):
    method, target = Atmc(rho=0.4), Target(0.3, "binary", 0.5)
    model = method.build(make_plan(), target)
    phases = {phase.name: phase for phase in method.phases(6, target)}
    method.begin_phase(model, phases["quantize"])
    for layer in admm_layers(model):
        layer.dual.normal_()

    losses = {
        name: method.loss(model, phase, make_batch(), lambda *_: torch.tensor(2.0)) for name, phase in phases.items()
    }

    distance = sum(
        float((layer.weight.detach() + layer.dual - layer.quantized).square().sum()) for layer in admm_layers(model)
    )
    assert float(losses["dense"]) == float(losses["sparse"]) == 2.0
    assert float(losses["quantize"].detach()) == pytest.approx(2.0 + 0.2 * distance, rel=1e-5)


def test_a_layer_without_weights_at_the_last_update_of_z_exports_none(make_plan):
    """With a global budget, weights move between layers; Z follows only at its next update."""
    target = Target(0.3, "binary", "global")
    model = Atmc().build(make_plan(), target)
    layers = admm_layers(model)
    with torch.no_grad():
        layers[3].weight.zero_()
    for layer in layers:
        layer.quantize()
    with torch.no_grad():
        layers[3].weight.fill_(1.0)

    exported = list(convolutions(Atmc().export(model)).values())

    assert not exported[3].weight.any()
    assert torch.equal(exported[4].weight, layers[4].quantized)


def test_a_layer_without_a_surviving_weight_is_quantised_to_zeros(make_plan):
    target = Target(0.3, "binary", "global")
    model = Atmc().build(make_plan(), target)
    layer = admm_layers(model)[3]
    with torch.no_grad():
        layer.weight.zero_()

    layer.quantize()

    assert not layer.quantized.any()


@pytest.mark.parametrize("method", [Atmc(), Atmc(dense_share=0.98, sparse_share=0.01), Atmc(dense_share=0.01)])
def test_phases_add_up_and_have_an_epoch_each(method):
    for weights, names in (("fp", ["dense", "sparse"]), ("binary", ["dense", "sparse", "quantize"])):
        for epochs in range(len(names), 300):
            phases = method.phases(epochs, Target(0.3, weights))

            assert [phase.name for phase in phases] == names
            assert sum(phase.epochs for phase in phases) == epochs
            assert min(phase.epochs for phase in phases) >= 1


def test_the_defaults_give_the_originals_epochs_and_learning_rates():
    dense, sparse, quantize = Atmc().phases(550, Target(0.3, "binary"))

    drops = [
        [epoch for epoch in range(1, phase.epochs) if learning_rate(phase, epoch) != learning_rate(phase, epoch - 1)]
        for phase in (dense, sparse, quantize)
    ]
    assert [phase.epochs for phase in (dense, sparse, quantize)] == [200, 200, 150]
    assert drops == [[80, 120, 150], [30, 60, 90, 120], [60, 80, 120]]
    assert [learning_rate(phase, 0) for phase in (dense, sparse, quantize)] == [0.05, 0.01, 0.005]
    assert [phase.epochs for phase in Atmc().phases(400, Target(0.3))] == [200, 200]


def test_a_cosine_schedule_lowers_the_rate_within_every_phase():
    phases = Atmc(schedule="cosine", sparse_lr=0.05).phases(8, Target(0.3, "binary"))

    rates = [[learning_rate(phase, epoch) for epoch in range(phase.epochs)] for phase in phases]

    assert [len(phase_rates) for phase_rates in rates] == [3, 3, 2]
    assert rates[0] == rates[1] == pytest.approx([0.05, 0.0375, 0.0125])
    assert rates[2] == pytest.approx([0.005, 0.0025])


@pytest.mark.parametrize(("weights", "epochs", "needed"), [("fp", 1, 2), ("binary", 1, 3), ("binary", 2, 3)])
def test_too_few_epochs_are_refused(weights, epochs, needed):
    with pytest.raises(
        ValueError, match=f"atmc has {needed} phases here and needs at least {needed} epochs, got {epochs}"
    ):
        Atmc().phases(epochs, Target(0.3, weights))


def test_a_dense_target_is_refused_in_a_sentence():
    assert Atmc().refusal(Target()) == "atmc projects onto a weight budget: keep_ratio must be below 1"
    assert Atmc().refusal(Target(0.5)) is None
