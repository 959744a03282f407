"""Every objective computes its loss, attacks in the configured mode and precision, and makes the stated passes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.attacks import pgd
from benchmark.data.load import DataInfo, Images, TrainingData
from benchmark.networks.resnet import plain_conv
from benchmark.suite.objectives import OBJECTIVES, Objective
from benchmark.training.augment import random_crop_flip
from benchmark.training.fast_objective import FastObjective
from benchmark.training.make_objective import make_objective as objective_for
from benchmark.training.objectives import CleanObjective, HalfCleanObjective, TradesObjective
from methods.layers import CompressedConv2d, compressed_layers

INFO = DataInfo("own", 10, 3, 8, 8, None, (), mean=(0.5,) * 3, std=(0.25,) * 3, flip=False, crop_padding=3)


@pytest.fixture
def training_data():
    """Return sixteen random images as training data."""
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(256, (16, 3, 8, 8), generator=generator, dtype=torch.uint8)
    images = Images(pixels, torch.randint(10, (16,), generator=generator))
    return TrainingData(INFO, images, images, "")


class Probe(nn.Module):
    """A linear classifier that records mode, precision and images of every pass, and any gradient."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3 * 8 * 8, 10)
        self.modes, self.types, self.inputs, self.gradients = [], [], [], []

    def forward(self, images):
        logits = self.linear(images.flatten(1))
        self.modes.append(self.training)
        self.types.append(logits.dtype)
        self.inputs.append(images.detach().clone())
        if logits.requires_grad:
            logits.register_hook(self.gradients.append)
        return logits


class CountingConv2d(CompressedConv2d):
    """Counts how often its effective weight is computed."""

    calls = 0

    def effective_weight(self):
        self.calls += 1
        return super().effective_weight()


def test_the_loss_is_the_cross_entropy_of_the_attacked_augmented_images(make_plan, make_batch, make_objective):
    model, batch = make_plan()(conv=plain_conv, norm=nn.BatchNorm2d), make_batch()
    model.train()
    twin = make_plan()(conv=plain_conv, norm=nn.BatchNorm2d).train()
    twin.load_state_dict(model.state_dict())

    loss = make_objective(crop_padding=2, flip=True)(model, batch)

    generator = torch.Generator().manual_seed(0)
    images = random_crop_flip(batch.images, padding=2, flip=True, generator=generator)
    attack = {"epsilon": 8 / 255, "step_size": 4 / 255, "num_steps": 2, "random_start": True}
    adversarial = pgd(twin, images, batch.labels, **attack, generator=generator)
    assert torch.equal(loss, F.cross_entropy(twin(adversarial), batch.labels))
    assert loss.requires_grad
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("train_mode_attack", [True, False])
def test_the_attack_runs_in_the_configured_mode_and_the_update_in_the_models_own(
    make_batch, make_objective, train_mode_attack
):
    model = Probe().train()

    make_objective(train_mode_attack=train_mode_attack)(model, make_batch())

    assert model.modes == [train_mode_attack, train_mode_attack, True]
    assert model.training


def test_an_attack_in_eval_mode_leaves_the_running_statistics_to_the_update(make_plan, make_batch, make_objective):
    counts = []
    for train_mode_attack in (True, False):
        model = make_plan()(conv=plain_conv, norm=nn.BatchNorm2d).train()
        make_objective(train_mode_attack=train_mode_attack, num_steps=5)(model, make_batch())
        counts.append(int(model.bn1.num_batches_tracked))

    assert counts == [6, 1]


@pytest.mark.parametrize(
    ("attack_bf16", "update_bf16", "types"),
    [
        (False, False, [torch.float32, torch.float32, torch.float32]),
        (True, False, [torch.bfloat16, torch.bfloat16, torch.float32]),
        (True, True, [torch.bfloat16, torch.bfloat16, torch.bfloat16]),
    ],
)
def test_precision_applies_to_attack_and_update_separately(make_batch, make_objective, attack_bf16, update_bf16, types):
    model = Probe()

    loss = make_objective(attack_bf16=attack_bf16, update_bf16=update_bf16)(model, make_batch())

    assert model.types == types
    assert loss.dtype == torch.float32


def test_the_update_sees_the_attacked_images_not_the_clean_ones(make_batch, make_objective):
    model, batch = Probe(), make_batch()

    make_objective()(model, batch)

    distance = (model.inputs[-1] - batch.images).abs()
    assert 0.9 * 8 / 255 < float(distance.max()) <= 8 / 255 + 1e-6


def test_effective_weights_are_computed_once_per_update(make_plan, make_batch, make_objective):
    conv = partial(CountingConv2d, scored=True)
    model = make_plan()(conv=conv, norm=nn.BatchNorm2d)

    make_objective(num_steps=4)(model, make_batch()).backward()

    assert {layer.calls for layer in compressed_layers(model)} == {1}
    assert all(layer.scores.grad is not None for layer in compressed_layers(model))


def test_every_objective_is_in_the_table():
    assert tuple(OBJECTIVES) == get_args(Objective)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_passes_per_image_are_those_of_the_objective(make_experiment, make_batch, training_data, objective):
    experiment = make_experiment(objective=objective, training={"attack": {"num_steps": 7}})
    model = Probe()

    objective_for(experiment, training_data, torch.Generator())(model, make_batch()).backward()

    assert (len(model.inputs) + len(model.gradients)) / 2 == experiment.passes_per_image


def test_the_generator_alone_decides_the_loss(make_batch, make_objective):
    model, batch = Probe(), make_batch()

    losses = [
        float(make_objective(generator=torch.Generator().manual_seed(seed))(model, batch).detach())
        for seed in (1, 1, 2)
    ]

    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("precision", "flags"),
    [("fp32", (False, False)), ("bf16-attack", (True, False)), ("bf16", (True, True))],
)
def test_an_experiments_settings_reach_the_objective(make_experiment, training_data, precision, flags):
    attack = {"num_steps": 7, "step_size": "3/255", "random_start": False, "batch_norm": "eval"}
    experiment = make_experiment(epsilon="4/255", training={"attack": attack, "precision": precision})
    generator = torch.Generator()

    objective = objective_for(experiment, training_data, generator)

    assert (objective.epsilon, objective.step_size, objective.num_steps) == (4 / 255, 3 / 255, 7)
    assert (objective.random_start, objective.train_mode_attack) == (False, False)
    assert (objective.attack_bf16, objective.update_bf16) == flags
    assert (objective.crop_padding, objective.flip) == (3, False)
    assert objective.generator is generator


def test_by_default_the_attack_is_ten_train_mode_steps_of_a_quarter_epsilon(make_experiment, training_data):
    data = replace(training_data, info=replace(INFO, flip=True))

    objective = objective_for(make_experiment(), data, torch.Generator())

    assert (objective.epsilon, objective.step_size, objective.num_steps) == (8 / 255, 2 / 255, 10)
    assert (objective.random_start, objective.train_mode_attack, objective.flip) == (True, True, True)


def test_trades_always_attacks_in_eval_mode_and_gets_its_beta(make_experiment, training_data):
    experiment = make_experiment(objective="trades", training={"trades_beta": 2.5})

    objective = objective_for(experiment, training_data, torch.Generator())

    assert type(objective) is TradesObjective
    assert (objective.beta, objective.train_mode_attack) == (2.5, False)


def test_the_fast_objective_gets_half_of_epsilon_as_step_and_a_store_of_all_images(make_experiment, training_data):
    experiment = make_experiment(objective="fast", training={"fast": {"fill": 0.25, "soft_target": {"enabled": True}}})

    objective = objective_for(experiment, training_data, torch.Generator())

    assert type(objective) is FastObjective
    assert (objective.step_size, objective.fill, objective.store.epsilon) == (4 / 255, 0.25, 8 / 255)
    assert objective.store.levels.shape == (16, 3, 14, 14)
    assert (objective.store.soft_target.rho, objective.store.soft_target.beta) == (0.9, 0.1)
    assert torch.equal(objective.store.means.argmax(1), training_data.train.labels)


def test_the_stored_perturbations_depend_on_the_seed_alone(make_experiment, training_data):
    levels = [
        objective_for(make_experiment(objective="fast", seed=seed), training_data, torch.Generator()).store.levels
        for seed in (1, 1, 2)
    ]

    assert torch.equal(levels[0], levels[1])
    assert not torch.equal(levels[0], levels[2])


def test_clean_training_sees_the_images_as_they_are(make_batch, make_objective):
    model, batch = Probe(), make_batch()

    loss = make_objective(kind=CleanObjective)(model, batch)

    assert len(model.inputs) == 1 and torch.equal(model.inputs[0], batch.images)
    assert torch.equal(loss, F.cross_entropy(model(batch.images), batch.labels))


def test_half_clean_training_is_the_mean_of_clean_and_adversarial_cross_entropy(make_batch, make_objective):
    model, batch = Probe(), make_batch()

    loss = make_objective(kind=HalfCleanObjective)(model, batch)

    clean, adversarial = model.inputs[-2:]
    assert torch.equal(clean, batch.images) and not torch.equal(adversarial, batch.images)
    mean = (F.cross_entropy(model(clean), batch.labels) + F.cross_entropy(model(adversarial), batch.labels)) / 2
    torch.testing.assert_close(loss, mean)


def test_trades_with_beta_zero_is_clean_training(make_batch, make_objective):
    model, batch = Probe(), make_batch()

    loss = make_objective(kind=TradesObjective, beta=0.0)(model, batch)

    assert torch.equal(loss, F.cross_entropy(model(batch.images), batch.labels))


def test_trades_starts_within_zero_and_one_and_makes_two_passes_in_train_mode(make_batch, make_objective):
    model, batch = Probe().train(), make_batch()
    black_and_white = batch._replace(images=batch.images.round())  # half of all Gaussian steps would leave the range

    make_objective(kind=TradesObjective, beta=6.0, train_mode_attack=False)(model, black_and_white)

    clean, start = model.inputs[0], model.inputs[1]
    assert torch.equal(clean, black_and_white.images) and not torch.equal(start, clean)
    assert float(start.min()) >= 0.0 and float(start.max()) <= 1.0
    assert model.modes == [False, False, False, True, True]
