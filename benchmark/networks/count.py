"""Floating-point operations of a network, counted from the shapes of its convolutions.

Only the multiply-adds of the convolutions count; everything else in these networks is below one percent. One
multiply-add is two FLOPs. Zeros save nothing: a sparse network is computed like a dense one.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import lru_cache

import torch
from torch import Tensor, nn

from benchmark.networks.resnet import NetworkPlan, convolutions
from methods.base import Architecture


def forward_flops(architecture: Architecture, channels: int, size: int) -> int:
    """Return the FLOPs of a forward pass for one image.

    Args:
        architecture: builds the network.
        channels: channels of the images.
        size: height and width of the images.
    """
    if isinstance(architecture, NetworkPlan):
        return 2 * _cached(architecture, channels, size)
    return 2 * multiply_adds(architecture, channels, size)  # a method's own architecture may not be hashable


def multiply_adds(architecture: Architecture, channels: int, size: int) -> int:
    """Return the multiply-adds of a forward pass for one image.

    Args:
        architecture: builds the network.
        channels: channels of the images.
        size: height and width of the images.
    """
    model = architecture(conv=_ShapeOnlyConv2d, norm=lambda channels: nn.Identity())
    positions = output_positions(model, torch.zeros(1, channels, size, size))
    return sum(positions[name] * conv.weight.numel() for name, conv in convolutions(model).items())


_cached = lru_cache(maxsize=256)(multiply_adds)


@torch.no_grad()
def output_positions(model: nn.Module, image: Tensor) -> dict[str, int]:
    """Return the output positions H' x W' of every ordinary convolution for one image, by name.

    Each position uses every weight once, so positions times weights are the layer's multiply-adds, including those with
    padded zeros. A convolution that runs twice counts twice; one that never runs has 0.

    Args:
        model: the network, which is run once in its current mode.
        image: (1, C, H, W); only its shape matters.
    """
    positions = dict.fromkeys(convolutions(model), 0)

    def count(name: str, output: Tensor) -> None:
        positions[name] += output[0, 0].numel()

    with ExitStack() as hooks:
        for name, conv in convolutions(model).items():
            hooks.enter_context(conv.register_forward_hook(lambda _, __, output, name=name: count(name, output)))
        model(image)
    return positions


class _ShapeOnlyConv2d(nn.Conv2d):
    """Returns zeros of the right shape; its weights take no memory.

    A forward pass on torch's meta device would give the same shapes, but importing it takes hundreds of modules.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=False, device="meta")
        self.change = 2 * padding - kernel_size  # in height and width, before the stride

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, in, H, W) to zeros (B, out, H', W')."""
        height, width = ((side + self.change) // self.stride[0] + 1 for side in input.shape[2:])
        return torch.zeros(len(input), self.out_channels, height, width)
