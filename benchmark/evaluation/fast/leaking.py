"""A backward pass through leaky ReLUs, while the forward pass stays the network's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.evaluation.fast.folding import FoldedResNet


@contextmanager
def leaking(network: nn.Module, slope: float) -> Iterator[None]:
    """Give ReLUs this slope below zero inside the block, in the backward pass only."""
    if not isinstance(network, FoldedResNet):
        with _LeakyBackward(slope):
            yield
        return
    network.leak = slope
    try:
        yield
    finally:
        network.leak = 0.0


class _LeakyBackward(TorchDispatchMode):
    """Replaces the backward pass of every ReLU by that of a leaky one."""

    def __init__(self, slope: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.slope = slope

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.threshold_backward.default:
            gradient, output, threshold = args
            return torch.where(output > threshold, gradient, self.slope * gradient)
        return func(*args, **(kwargs or {}))
