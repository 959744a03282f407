"""Compares networks of signs with networks of real values that have the same masks. No test; run by hand.

    OMP_NUM_THREADS=1 python tests/benchmarks/signs.py [WIDTH] [BATCH]

ResNet34 for CIFAR's shape, masks by the budgets of p=0.1; the signs of a layer share a scale. Timed in turn, one
thread: in torch a forward pass of the folded copy, with its gradient by the images, and a forward pass with the
gradients by images and all weights; in the sparse form the first two. Ratios are values over signs: above 1, signs win.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from benchmark.bench.steps import random_data
from benchmark.bench.timing import rounds
from benchmark.evaluation.accuracy import prepare
from benchmark.evaluation.fast import fold, sparse_form
from benchmark.networks.resnet import convolutions, network_plan, plain_conv
from methods.allocation import allocate

CPU = torch.device("cpu")
KEPT = {0.25: 0.02, 1.0: 0.01}  # by width
BUDGET = 6.0  # seconds for one kind of pass


def make_network(width: float, *, signs: bool) -> nn.Module:
    """Return a network in eval mode; masks and signs are the same for both kinds."""
    torch.manual_seed(0)
    spec = SimpleNamespace(name="resnet34", width=width, last_norm=True)
    network = network_plan(spec, random_data("cifar10", 2).info)(conv=plain_conv, norm=nn.BatchNorm2d)
    layers = list(convolutions(network).values())
    budgets = allocate([layer.weight.numel() for layer in layers], KEPT[width], 0.1)
    for layer, kept in zip(layers, budgets, strict=True):
        weight = layer.weight.detach().flatten()
        places = torch.randperm(len(weight))[:kept]
        chosen = torch.zeros_like(weight)
        chosen[places] = weight[places].sign() * weight.std() if signs else weight[places]
        layer.weight.data.copy_(chosen.view_as(layer.weight))
    return prepare(network, CPU).eval()


def passes(network: nn.Module, images: Tensor) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name."""
    folded, sparse = fold(network), sparse_form(network)
    assert folded is not None, "a residual network of this project"
    parameters = list(network.requires_grad_().parameters())

    @torch.no_grad()
    def forward(model: nn.Module) -> Tensor:
        output: Tensor = model(images)
        return output

    def by_images(model: nn.Module) -> object:
        leaf = images.detach().requires_grad_()
        return torch.autograd.grad(model(leaf).logsumexp(1).sum(), leaf)

    def whole() -> object:
        leaf = images.detach().requires_grad_()
        return torch.autograd.grad(network(leaf).logsumexp(1).sum(), [leaf, *parameters])

    return {
        "torch, forward": lambda: forward(folded),
        "torch, forward and gradient by images": lambda: by_images(folded),
        "torch, forward and all gradients": whole,
        "sparse, forward": lambda: forward(sparse),
        "sparse, forward and gradient by images": lambda: by_images(sparse),
    }


def main() -> None:
    """Run the command line."""
    torch.set_num_threads(1)
    widths = [float(sys.argv[1])] if len(sys.argv) > 1 else list(KEPT)
    batches = [int(sys.argv[2])] if len(sys.argv) > 2 else [1, 64]
    for width in widths:
        networks = {name: make_network(width, signs=name == "signs") for name in ("values", "signs")}
        for batch in batches:
            images = torch.rand(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
            timed = {name: passes(network, images) for name, network in networks.items()}
            for what in timed["values"]:
                seconds = rounds({name: steps[what] for name, steps in timed.items()}, CPU, budget=BUDGET, most=200)
                values, signs = (median(seconds[name]) for name in ("values", "signs"))
                count = len(seconds["values"])
                print(
                    f"width {width}, batch {batch}, {what}: values {1e3 * values:.3f} ms, signs {1e3 * signs:.3f} ms, "
                    f"ratio {values / signs:.3f} ({count} rounds)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
