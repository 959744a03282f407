"""Networks with few weights, in eval mode, with norms whose every number is random."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from benchmark.networks.resnet import NetworkPlan, convolutions, plain_conv
from methods.sparse.support import kernels


@pytest.fixture(scope="session")
def compiled():
    """Return the kernels, compiled by the first test that runs them."""
    module = kernels()
    if module is None:
        pytest.skip("numba is not installed, or switched off")
    return module


def sparse_network(
    name: str = "resnet10", *, width: float = 1 / 8, channels: int = 3, density: float = 0.1, seed: int = 0
) -> nn.Module:
    """Return a network of which each convolution keeps a random share of its weights."""
    generator = torch.Generator().manual_seed(seed)
    plan = NetworkPlan(name, 10, (0.5, 0.4, 0.3)[:channels], (0.2, 0.25, 0.3)[:channels], width=width)
    model = plan(conv=plain_conv, norm=nn.BatchNorm2d)
    with torch.no_grad():
        for conv in convolutions(model).values():
            shape, fan_in = conv.weight.shape, conv.weight[0].numel()
            kept = torch.rand(shape, generator=generator) < density
            conv.weight.copy_(torch.randn(shape, generator=generator) * kept / max(1.0, fan_in * density) ** 0.5)
        for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
            for tensor in (norm.bias, norm.running_mean):
                tensor.copy_(0.5 * torch.randn(tensor.shape, generator=generator))
            for tensor in (norm.weight, norm.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="session")
def make_sparse() -> Callable[..., nn.Module]:
    """Return the maker of networks, see `sparse_network`."""
    return sparse_network
