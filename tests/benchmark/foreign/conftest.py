"""Two small networks for digits and their files, and a short AutoAttack."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pyautoattack
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.data.load import TestData, load_test, load_training

MEAN, STD = 0.3, 0.4


class Cnn(nn.Module):
    """A plain network with a batch norm and a head behind `flatten`."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.down, self.head = nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.Linear(128, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.down(torch.relu(self.norm(self.conv(images)))))
        return self.head(features.flatten(1))


class Elsewhere(nn.Module):
    """What another framework would write with the channels last: padding on one side only, flattening channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.down, self.head = (
            nn.Conv2d(1, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, stride=2),
            nn.Linear(128, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.conv((images - MEAN) / STD))
        features = torch.relu(self.down(F.pad(features, (0, 1, 0, 1))))
        return self.head(features.permute(0, 2, 3, 1).flatten(1))


def trained(network: nn.Module, *, epsilon: float) -> nn.Module:
    """Train a network on digits, on images after one signed step of `epsilon`."""
    data = load_training("digits", None).train
    pixels = data.images.float() / 255
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(60):
        rows = torch.arange(step * 128, (step + 1) * 128) % len(pixels)
        images, labels = pixels[rows].requires_grad_(), data.labels[rows]
        (gradient,) = torch.autograd.grad(F.cross_entropy(network(images), labels), images)
        optimizer.zero_grad()
        F.cross_entropy(network((images + epsilon * gradient.sign()).clamp(0, 1).detach()), labels).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="session")
def _cnn() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return trained(Cnn(), epsilon=0.0)


@pytest.fixture
def cnn(_cnn: nn.Module) -> Cnn:
    """Return the plain network, a new copy for each test."""
    return copy.deepcopy(_cnn)


@pytest.fixture(scope="session")
def elsewhere() -> nn.Module:
    """Return the adversarially trained network with its normalisation inside; nobody changes it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return trained(Elsewhere(), epsilon=24 / 255)


@pytest.fixture(scope="session")
def digits() -> TestData:
    """Return the first test images."""
    return load_test("digits", None, limit=16)


@pytest.fixture
def right_in_a_loop(digits: TestData) -> Callable[[Callable[[Tensor], Tensor]], list[bool]]:
    """Return a function that classifies the test images one by one with any function of a batch."""

    def right(called: Callable[[Tensor], Tensor]) -> list[bool]:
        with torch.no_grad():
            classes = [int(called(image[None].float() / 255).argmax()) for image in digits.test.images]
        return [guess == label for guess, label in zip(classes, digits.test.labels.tolist(), strict=True)]

    return right


@pytest.fixture
def hostile(tmp_path: Path) -> str:
    """Return the text of an expression that writes a file, without points: they are replaced in some names."""
    return f"__import__('pathlib',fromlist=['x']).Path('{tmp_path / 'trap'}').touch()"


class Short(pyautoattack.AutoAttack):
    """AutoAttack standard with fewer iterations."""

    def __init__(self, *arguments: object, **settings: object) -> None:
        super().__init__(*arguments, **settings)
        self.apgd.n_iter = self.apgd_targeted.n_iter = 5
        self.fab.n_iter, self.square.n_queries = 5, 20


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten AutoAttack."""
    monkeypatch.setattr(pyautoattack, "AutoAttack", Short)
