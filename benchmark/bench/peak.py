"""The machine's peak speed: 3x3 convolutions as in a residual network, and copying memory."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from benchmark.bench.timing import fastest
from benchmark.evaluation.accuracy import prepare
from benchmark.planning.measured import ConvolutionRate

# Channels and sides of the four stages of a residual network at 32x32 pixels.
STAGES = ((64, 32), (128, 16), (256, 8), (512, 4))
BATCH = {"cpu": 32, "cuda": 512}
BUDGET = 0.15  # seconds per number
COPIED = {"cpu": 2**27, "cuda": 2**31}  # bytes


def convolution_rates(device: torch.device, channels: int, side: int) -> list[ConvolutionRate]:
    """Measure one width, forward and backward, in float32 (TF32 off) and bfloat16, channels last.

    Args:
        device: where to run.
        channels: of input and output.
        side: height and width of the images.
    """
    rates = []
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        prepare(layer, device).to(dtype)
        images = torch.rand(BATCH[device.type], channels, side, side, device=device, dtype=dtype)
        images = images.contiguous(memory_format=torch.channels_last).requires_grad_(True)
        output = layer(images)
        gradient = torch.rand_like(output)
        flops = 2 * 9 * channels * channels * side * side * len(images)
        forward = fastest(partial(_forward, layer, images), device, budget=BUDGET)
        backward = fastest(partial(_backward, layer, images, output, gradient), device, budget=BUDGET)
        rates.append(
            ConvolutionRate(
                precision=precision,  # type: ignore[arg-type]  # one of its two literals
                channels=channels,
                side=side,
                forward=flops / forward / 1e9,
                backward=2 * flops / backward / 1e9,  # the gradient by the input and the one by the weights
            )
        )
    return rates


@torch.no_grad()
def _forward(layer: nn.Module, images: Tensor) -> Tensor:
    output: Tensor = layer(images)
    return output


def _backward(layer: nn.Conv2d, images: Tensor, output: Tensor, gradient: Tensor) -> None:
    torch.autograd.grad(output, (images, layer.weight), gradient, retain_graph=True)


def memory_rate(device: torch.device) -> float:
    """Return GB/s of a large copy, reading and writing counted."""
    source = torch.ones(COPIED[device.type] // 4, device=device)
    target = torch.empty_like(source)
    return 2 * 4 * len(source) / fastest(lambda: target.copy_(source), device, budget=BUDGET) / 1e9
