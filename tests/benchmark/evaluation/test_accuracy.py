"""PGD verdicts: an image is robust only if every point that the attack visits is classified correctly."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.attacks import random_point
from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images, clean_verdicts, pgd_verdicts
from benchmark.networks.resnet import plain_conv
from benchmark.runtime.seeding import generator_for

SETTINGS = {"epsilon": 4 / 255, "step_size": 1 / 255, "steps": 4, "restarts": 1, "seed": 3, "batch_size": 10}


@pytest.fixture
def model(make_plan):
    """Return a small random network in train mode, whose running statistics differ from those of a batch."""
    model = make_plan(width=1 / 4)(conv=plain_conv, norm=nn.BatchNorm2d)
    for _ in range(20):
        model(torch.rand(32, 3, 8, 8))
    return model


@pytest.fixture
def data(model, make_images):
    """Return images that the network classifies correctly, except every fifth, whose label is changed."""
    images = make_images(40, model=model.eval())
    images.labels[::5] = (images.labels[::5] + 1) % 10
    model.train()
    return images


class Wrong(nn.Module):
    """Puts every image into class 0."""

    def forward(self, images):
        return F.one_hot(torch.zeros(len(images), dtype=torch.long), 10) + 0.0 * images.sum((1, 2, 3))[:, None]


class Pocket(nn.Module):
    """Prefers class 1 only where the first pixel lies between two bounds; elsewhere its loss grows with the pixel."""

    def __init__(self, bounds):
        super().__init__()
        self.low, self.high = bounds

    def forward(self, images):
        pixel = images[:, 0, 0, 0]
        inside = ((pixel > self.low) & (pixel < self.high)).float()
        return torch.stack([1 - pixel - 9 * inside, 0 * pixel], dim=1)


class Failing(nn.Module):
    """Fails on its first image."""

    def forward(self, images):
        raise ArithmeticError


def literal_verdicts(model, data, *, epsilon, step_size, steps, restarts, seed):
    """Visit every point of every image, one image at a time, and check that all are classified correctly."""
    model.eval()
    robust = []
    starts = [
        random_point(data.images.float() / 255, epsilon, generator_for(torch.device("cpu"), "pgd", seed, restart))
        for restart in range(restarts)
    ]
    for row in range(len(data)):
        image, label = data.images[row : row + 1].float() / 255, data.labels[row : row + 1]
        correct = model(image).argmax(1).item() == label.item()
        for restart in range(restarts):
            point = starts[restart][row : row + 1]
            for _ in range(steps):
                point = point.detach().requires_grad_()
                logits = model(point)
                correct = correct and logits.argmax(1).item() == label.item()
                (gradient,) = torch.autograd.grad(F.cross_entropy(logits, label), point)
                point = point + step_size * gradient.sign()
                point = (image + (point - image).clamp(-epsilon, epsilon)).clamp(0, 1)
            correct = correct and model(point).argmax(1).item() == label.item()
        robust.append(correct)
    return torch.tensor(robust)


class Smooth(nn.Module):
    """A tiny network without kinks, whose gradients have the same signs in float32 and in float64."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Linear(64, 10)

    def forward(self, images):
        return self.fc(torch.tanh(3 * self.conv(images)).flatten(1))


def literal_pgd_in_float64(model, data, starts, *, epsilon, step_size, steps):
    """Attack from every start step by step (Madry et al. 2018); images broken in an earlier restart are skipped.

    `model` is in float64; `starts` holds N points for each restart. Returns the verdicts, and every point visited:
    the images, then restart by restart, image by image, step by step.
    """
    images = [image.double() / 255 for image in data.images]
    labels = data.labels.tolist()
    visited = list(images)
    robust = [int(model(image[None])[0].argmax()) == label for image, label in zip(images, labels, strict=True)]
    for points in starts:
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            if not robust[row]:
                continue
            point = points[row].double()
            visited.append(point)
            robust[row] = int(model(point[None])[0].argmax()) == label
            for _ in range(steps):
                variable = point.clone().requires_grad_()
                scores = model(variable[None])[0]
                loss = torch.log(torch.exp(scores).sum()) - scores[label]
                loss.backward()
                point = point + step_size * variable.grad.sign()
                point = torch.clamp(point, image - epsilon, image + epsilon)
                point = torch.clamp(point, 0.0, 1.0)
                visited.append(point)
                robust[row] = robust[row] and int(model(point[None])[0].argmax()) == label
    return torch.tensor(robust), visited


def test_pixels_become_fractions_of_255():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)

    assert torch.equal(as_float_images(pixels), torch.tensor([0.0, 0.2, 1.0]))


def test_clean_verdicts_are_true_for_images_classified_correctly(model, data):
    verdicts = clean_verdicts(model, data, batch_size=7)

    model.eval()
    assert torch.equal(verdicts, model(data.images.float() / 255).argmax(1) == data.labels)
    assert verdicts.tolist() == [row % 5 != 0 for row in range(40)]


@pytest.mark.parametrize("restarts", [1, 3])
def test_verdicts_equal_a_literal_visit_of_every_point(model, data, restarts):
    verdicts = pgd_verdicts(model, data, **(SETTINGS | {"restarts": restarts}))

    settings = {name: value for name, value in SETTINGS.items() if name != "batch_size"} | {"restarts": restarts}
    assert torch.equal(verdicts, literal_verdicts(model, data, **settings))
    assert 4 <= int(verdicts.sum()) <= 28  # otherwise the comparison would prove little


def test_verdicts_and_every_visited_point_equal_a_literal_attack_in_float64(make_images):
    model = Smooth()
    data = make_images(12, model=model)
    data.labels[5] = (data.labels[5] + 1) % 10
    settings = {"epsilon": 8 / 255, "step_size": 2 / 255, "steps": 10}
    visited = []
    hook = model.register_forward_hook(lambda module, inputs, output: visited.append(inputs[0].detach()[0].clone()))
    verdicts = pgd_verdicts(model, data, restarts=2, seed=3, batch_size=1, **settings)
    hook.remove()

    starts = [
        random_point(data.images.float() / 255, 8 / 255, generator_for(torch.device("cpu"), "pgd", 3, restart))
        for restart in range(2)
    ]
    expected, points = literal_pgd_in_float64(copy.deepcopy(model).double(), data, starts, **settings)
    assert torch.equal(verdicts, expected)
    assert 2 <= int(verdicts.sum()) <= 10
    assert len(visited) == len(points) > 12 + 2 * 11 * int(verdicts.sum())
    assert all(float((point - exact).abs().max()) < 1e-6 for point, exact in zip(visited, points, strict=True))


@pytest.mark.parametrize(
    "pocket",
    [(0.50, 0.51), (0.54, 0.55), (0.55, 0.57), (0.595, 0.6019), (0.60195, 0.61)],
    ids=["clean image", "random start", "first step", "on the way", "last point"],
)
def test_every_visited_point_counts_even_if_all_others_are_correct(pocket):
    data = Images(torch.full((1, 1, 1, 1), 128, dtype=torch.uint8), torch.tensor([0]))
    settings = {"epsilon": 0.1, "step_size": 0.02, "steps": 4, "restarts": 1, "seed": 0, "batch_size": 1}

    verdict = pgd_verdicts(Pocket(pocket), data, **settings)
    elsewhere = pgd_verdicts(Pocket((0.61, 0.62)), data, **settings)

    # The attack visits 0.50196 (the image), 0.54184 (the start), 0.56184, 0.58184, 0.60184 and 0.60196 (the border).
    assert verdict.tolist() == [False]
    assert elsewhere.tolist() == [True]


def test_a_misclassified_clean_image_is_never_robust(model, data):
    verdicts = pgd_verdicts(model, data, **SETTINGS)

    assert not bool((verdicts & ~clean_verdicts(model, data, batch_size=10)).any())


def test_verdicts_do_not_depend_on_the_batch_size(model, data):
    verdicts = [pgd_verdicts(model, data, **(SETTINGS | {"batch_size": size})) for size in (1, 7, 40, 500)]

    assert all(torch.equal(verdicts[0], other) for other in verdicts[1:])


def test_more_restarts_and_more_steps_only_lower_the_verdicts(model, data):
    one, three = (pgd_verdicts(model, data, **(SETTINGS | {"restarts": restarts})) for restarts in (1, 3))
    longer = pgd_verdicts(model, data, **(SETTINGS | {"steps": 8}))

    assert not bool((three & ~one).any())
    assert not bool((longer & ~one).any())


def test_every_restart_begins_at_another_point(model, data):
    noise_only = SETTINGS | {"steps": 1, "step_size": 1e-9, "epsilon": 16 / 255}

    one, ten = (pgd_verdicts(model, data, **(noise_only | {"restarts": restarts})) for restarts in (1, 10))

    assert int(ten.sum()) < int(one.sum())


def test_random_starts_depend_on_the_seed(model, data):
    noise_only = SETTINGS | {"steps": 1, "step_size": 1e-9, "epsilon": 16 / 255}

    first, again, other = (pgd_verdicts(model, data, **(noise_only | {"seed": seed})) for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_network_that_is_always_wrong_has_no_robust_image():
    data = Images(torch.zeros(5, 3, 8, 8, dtype=torch.uint8), torch.ones(5, dtype=torch.long))

    verdicts = pgd_verdicts(Wrong(), data, **SETTINGS)

    assert verdicts.tolist() == [False] * 5


@pytest.mark.parametrize("training", [True, False])
def test_mode_gradients_and_random_stream_are_restored(model, data, training):
    model.train(training)
    model.fc.weight.requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    stream = torch.get_rng_state()

    clean_verdicts(model, data, batch_size=10)
    pgd_verdicts(model, data, **SETTINGS)

    assert all(module.training == training for module in model.modules())
    assert [name for name, value in model.named_parameters() if not value.requires_grad] == ["fc.weight"]
    assert all(value.grad is None for value in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), stream)


def test_the_mode_is_restored_when_the_network_fails(data):
    model = Failing().train()

    with pytest.raises(ArithmeticError):
        clean_verdicts(model, data, batch_size=10)

    assert model.training


def test_excluded_images_are_not_attacked_and_the_others_keep_their_starts(model, data):
    among = torch.arange(40) % 3 == 0

    chosen = pgd_verdicts(model, data, **SETTINGS, among=among)

    assert torch.equal(chosen, pgd_verdicts(model, data, **SETTINGS) & among)
    assert chosen.any() and not chosen[among].all()
