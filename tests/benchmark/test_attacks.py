"""PGD stays in its ball, climbs the loss, and leaves the network as it found it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.attacks import ascent_step, input_gradients_only, pgd, project, random_point, trades_attack
from benchmark.networks.resnet import plain_conv

EPSILON, STEP_SIZE, NUM_STEPS = 8 / 255, 3 / 255, 5


@pytest.fixture
def model(make_plan):
    """Return a small network of ordinary layers in eval mode."""
    return make_plan()(conv=plain_conv, norm=nn.BatchNorm2d).eval()


@pytest.fixture
def attack():
    """Return PGD with small settings, changed by keyword."""

    def run(model, batch, **changes):
        settings = {"epsilon": EPSILON, "step_size": STEP_SIZE, "num_steps": NUM_STEPS, "random_start": True}
        generator = torch.Generator().manual_seed(0)
        return pgd(model, batch.images, batch.labels, **(settings | changes), generator=generator)

    return run


class Broken(nn.Module):
    """Fails on its first image."""

    def __init__(self):
        super().__init__()
        self.trained = nn.Parameter(torch.ones(1))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, images):
        raise ArithmeticError


@pytest.mark.parametrize("random_start", [True, False])
def test_the_result_equals_a_literal_loop(model, attack, make_batch, random_start):
    batch = make_batch()

    adversarial = attack(model, batch, random_start=random_start)

    expected = batch.images
    if random_start:
        noise = torch.rand(batch.images.shape, generator=torch.Generator().manual_seed(0))
        expected = (batch.images + EPSILON * (2 * noise - 1)).clamp(0, 1)
    for _ in range(NUM_STEPS):
        expected = expected.detach().requires_grad_()
        F.cross_entropy(model(expected), batch.labels).backward()
        expected = expected.detach() + STEP_SIZE * expected.grad.sign()
        expected = (batch.images + (expected - batch.images).clamp(-EPSILON, EPSILON)).clamp(0, 1)
    torch.testing.assert_close(adversarial, expected, rtol=0, atol=1e-6)
    assert not adversarial.requires_grad


@pytest.mark.parametrize("step_size", [STEP_SIZE, 1.0])
@pytest.mark.parametrize("num_steps", [0, 1, NUM_STEPS])
def test_the_result_lies_in_the_ball_and_in_the_pixel_range(model, attack, make_batch, step_size, num_steps):
    batch = make_batch()
    batch.images[:4].round_()  # black and white pixels, from which half of the steps lead outside

    adversarial = attack(model, batch, step_size=step_size, num_steps=num_steps)

    assert float((adversarial - batch.images).abs().max()) <= EPSILON + 1e-6
    assert float(adversarial.min()) >= 0 and float(adversarial.max()) <= 1
    assert float((adversarial - batch.images).abs().max()) > 0.9 * EPSILON


def test_the_loss_is_higher_than_at_the_start(model, attack, make_batch):
    batch = make_batch(32)

    adversarial = attack(model, batch)

    start = attack(model, batch, num_steps=0)
    assert F.cross_entropy(model(adversarial), batch.labels) > F.cross_entropy(model(start), batch.labels)
    assert F.cross_entropy(model(adversarial), batch.labels) > F.cross_entropy(model(batch.images), batch.labels)


@pytest.mark.parametrize("num_steps", [1, NUM_STEPS])
def test_there_is_exactly_one_forward_and_one_backward_pass_per_step(model, attack, make_batch, num_steps):
    passes = {"forward": 0, "backward": 0}
    model.register_forward_hook(lambda *_: passes.__setitem__("forward", passes["forward"] + 1))
    model.register_full_backward_hook(lambda *_: passes.__setitem__("backward", passes["backward"] + 1))

    attack(model, make_batch(), num_steps=num_steps)

    assert passes == {"forward": num_steps, "backward": num_steps}


def test_no_parameter_gets_a_gradient_and_what_was_frozen_stays_frozen(model, attack, make_batch):
    model.conv1.weight.requires_grad_(False)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    inside = []
    model.register_forward_hook(lambda *_: inside.extend(p.requires_grad for p in model.parameters()))

    attack(model, make_batch())

    assert not any(inside)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == before


def test_parameters_are_thawed_again_when_the_network_fails(attack, make_batch):
    model = Broken()

    with pytest.raises(ArithmeticError):
        attack(model, make_batch())

    assert model.trained.requires_grad
    assert not model.frozen.requires_grad


def test_the_attack_works_where_gradients_are_switched_off(model, attack, make_batch):
    batch = make_batch()
    expected = attack(model, batch)

    with torch.no_grad():
        adversarial = attack(model, batch)

    assert torch.equal(adversarial, expected)


def test_the_same_generator_state_gives_the_same_attack_and_another_a_different_one(model, make_batch):
    images, labels, _ = make_batch()
    settings = {"epsilon": EPSILON, "step_size": STEP_SIZE, "num_steps": 1, "random_start": True}

    first, again, other = (
        pgd(model, images, labels, **settings, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_global_random_stream_is_left_alone(model, attack, make_batch):
    batch, stream = make_batch(), torch.get_rng_state()

    attack(model, batch)

    assert torch.equal(torch.get_rng_state(), stream)


def test_random_points_fill_the_ball_evenly():
    images = torch.full((10, 3, 20, 20), 0.5)

    offsets = (random_point(images, EPSILON, torch.Generator().manual_seed(0)) - images) / EPSILON

    assert -1.00001 <= float(offsets.min()) < -0.99 and 0.99 < float(offsets.max()) <= 1.00001
    assert abs(float(offsets.mean())) < 0.03
    assert float(offsets.var()) == pytest.approx(1 / 3, rel=0.03)


def test_projection_gives_the_nearest_point_of_ball_and_pixel_range():
    images = torch.tensor([0.0, 0.5, 0.5, 0.5, 1.0, 0.05])
    points = torch.tensor([-0.3, 0.9, 0.1, 0.55, 1.3, -0.1])

    projected = project(points, images, 0.1)

    torch.testing.assert_close(projected, torch.tensor([0.0, 0.6, 0.4, 0.55, 1.0, 0.0]))


def test_input_gradients_only_still_differentiates_by_the_images(model, make_batch):
    images = make_batch().images.requires_grad_()

    with input_gradients_only(model):
        model(images).sum().backward()

    assert images.grad is not None
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_ascent_step_climbs_the_loss_it_is_given_and_returns_the_logits_it_started_from(model, make_batch):
    images, labels, _ = make_batch()
    toward = torch.randn(len(images), 10)

    stepped, logits = ascent_step(
        *(model, images, images, toward),
        epsilon=EPSILON,
        step_size=STEP_SIZE,
        loss=lambda logits, target: (logits * target).sum(),
    )

    assert torch.equal(logits, model(images))
    assert not stepped.requires_grad and not logits.requires_grad
    assert (model(stepped) * toward).sum() > (model(images) * toward).sum()
    default, _ = ascent_step(model, images, images, labels, epsilon=EPSILON, step_size=STEP_SIZE)
    assert F.cross_entropy(model(default), labels) > F.cross_entropy(model(images), labels)


def test_the_trades_attack_moves_predictions_away_without_labels(model, make_batch):
    images = make_batch().images
    settings = {"epsilon": EPSILON, "step_size": STEP_SIZE}

    start, end = (
        trades_attack(model, images, **settings, num_steps=steps, generator=torch.Generator().manual_seed(0))
        for steps in (0, NUM_STEPS)
    )

    clean = model(images).softmax(1)
    divergences = [F.kl_div(model(point).log_softmax(1), clean, reduction="sum") for point in (start, end)]
    assert 0 < float((start - images).abs().max()) < 0.006
    assert divergences[1] > 10 * divergences[0]
    assert float((end - images).abs().max()) <= EPSILON + 1e-6
    assert float(end.min()) >= 0 and float(end.max()) <= 1
