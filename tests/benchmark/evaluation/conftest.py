"""A network trained on digits, a plateau around a linear one, and a network's state as a comparable value."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.data.load import Images, load_training


class Viewed(nn.Module):
    """A convolution, a batch norm and a head behind `view`, which needs contiguous maps; `fixed` images at once."""

    def __init__(self, fixed: int = -1) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(512, 10)
        self.fixed = fixed

    def forward(self, images):
        return self.head(torch.relu(self.norm(self.conv(images))).view(self.fixed, 512))


class Linear(nn.Module):
    """Two classes: the first where the mean of signed pixels, less a half, is positive. Images are (1, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        signs = torch.ones(1, 8, 8)
        signs[:, 4:] = -1
        self.register_buffer("signs", signs)

    def forward(self, images):
        mean = ((images - 0.5) * self.signs).flatten(1).mean(1)
        return torch.stack([mean, torch.zeros_like(mean)], 1)

    def at(self, *margins: float) -> Images:
        """Return images of the first class that a ball can break if and only if its radius exceeds their margin."""
        shift = torch.tensor(margins)[:, None, None, None] * self.signs
        return Images(((0.5 + shift) * 255).round().to(torch.uint8), torch.zeros(len(margins), dtype=torch.int64))


class Plateau(Linear):
    """The same classes behind logits that are 0 or 1 nearly everywhere, so that no gradient leads anywhere."""

    def forward(self, images):
        logits = super().forward(images)
        ahead = logits[:, :, None] - logits[:, None, :]
        others = torch.relu(0.5 - 100 * ahead).sum(2) - 0.5  # less each class's tie with itself
        return torch.relu(1 - others)


def trained(network: nn.Module, *, steps: int = 60) -> nn.Module:
    """Train a network on digits briefly; it keeps its gradients, and one parameter is frozen."""
    data = load_training("digits", None).train
    images = data.images.float() / 255
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    torch.manual_seed(0)
    for step in range(steps):
        rows = torch.arange(step * 128, (step + 1) * 128) % len(images)
        optimizer.zero_grad()
        F.cross_entropy(network(images[rows]), data.labels[rows]).backward()
        optimizer.step()
    next(network.parameters()).requires_grad_(False)
    return network.eval()


@cache
def _viewed() -> nn.Module:
    torch.manual_seed(0)
    return trained(Viewed())


@pytest.fixture
def viewed() -> Viewed:
    """Return a trained network, a new copy for each test."""
    return copy.deepcopy(_viewed())


@pytest.fixture
def linear() -> Linear:
    """Return the linear network, whose margins are exact."""
    return Linear().eval()


@pytest.fixture
def plateau() -> Plateau:
    """Return the linear network behind a plateau."""
    return Plateau().eval()


@pytest.fixture
def train_briefly():
    """Return the brief training, for other kinds of networks."""
    return trained


@pytest.fixture
def state_of():
    """Return a function that describes a module's whole state, bit for bit, as a comparable value."""

    def tensor(value: torch.Tensor | None) -> Any:
        if value is None:
            return None
        identity = value.dtype, value.device, value.stride(), value.requires_grad, value.data_ptr(), id(value)
        return (
            *identity,
            repr(value.detach().double().flatten().tolist()),
            tensor(value.grad) if value.is_leaf else None,
        )

    def state(module: nn.Module) -> Any:
        return [
            (
                getattr(part, "training", None),
                {name: tensor(value) for name, value in part.named_parameters(recurse=False)},
                {name: tensor(value) for name, value in part.named_buffers(recurse=False)},
                {name: tensor(value) for name, value in vars(part).items() if isinstance(value, torch.Tensor)},
            )
            for part in module.modules()
        ]

    return state
