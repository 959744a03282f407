"""CIFAR-style residual networks whose convolutions and norms are supplied by the method.

Structure (He et al. 2016, CIFAR stem): normalisation of [0, 1] pixels inside the network; 3x3 stem without pooling;
four stages with strides 1/2/2/2; global average pooling; a bias-free 1x1 convolution as classifier; optionally a last
batch norm (LBN) on the logits. Every convolution can be compressed, including the first and the last.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.data.load import DataInfo
from benchmark.networks.shapes import get_shape
from methods.allocation import weight_budget
from methods.base import Architecture, ConvFactory
from methods.sparse.parts import NormedConv, ResidualBlock, ResidualParts

WIDTH_STEPS = 256  # candidate widths up to the full network

NormFactory = Callable[[int], nn.Module]


class Normalize(nn.Module):
    """Standardise (B, C, H, W) pixels in [0, 1] per channel; mean and std are buffers, so the state dict has them."""

    mean: Tensor  # (C, 1, 1)
    std: Tensor  # (C, 1, 1)

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return (images - mean) / std."""
        return (images - self.mean) / self.std


def activated(norm: nn.Module, x: Tensor) -> Tensor:
    """Return ReLU(norm(x)), in place for torch's batch norm, whose backward pass does not need its output.

    A method's own norm may need its output, or return its input.
    """
    return F.relu(norm(x), inplace=type(norm) is nn.BatchNorm2d)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, *, conv: ConvFactory, norm: NormFactory) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, width, 3, stride=stride, padding=1)
        self.bn1 = norm(width)
        self.conv2 = conv(width, width, 3, padding=1)
        self.bn2 = norm(width)
        self.shortcut = _shortcut(in_channels, width, stride, conv, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, width, H / stride, W / stride)."""
        out = activated(self.bn1, self.conv1(x))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided) and 1x1 convolutions with fourfold expansion and a shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, *, conv: ConvFactory, norm: NormFactory) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, width, 1)
        self.bn1 = norm(width)
        self.conv2 = conv(width, width, 3, stride=stride, padding=1)
        self.bn2 = norm(width)
        self.conv3 = conv(width, 4 * width, 1)
        self.bn3 = norm(4 * width)
        self.shortcut = _shortcut(in_channels, 4 * width, stride, conv, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, 4 * width, H / stride, W / stride)."""
        out = activated(self.bn1, self.conv1(x))
        out = activated(self.bn2, self.conv2(out))
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.shortcut(x), inplace=True)


def _shortcut(in_channels: int, out_channels: int, stride: int, conv: ConvFactory, norm: NormFactory) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return Shortcut(conv(in_channels, out_channels, 1), norm(out_channels), stride=stride)


class Shortcut(nn.Sequential):
    """A 1x1 convolution and its norm on every `stride`-th row and column.

    Equals a strided 1x1 convolution, whose weight gradient writes out of bounds and crashes the process in torch 2.13
    on a CPU with few channels, an odd batch and several threads (observed: 8 to 16 channels, 63 images of 32x32).
    """

    def __init__(self, *layers: nn.Module, stride: int) -> None:
        super().__init__(*layers)
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride), both rounded up."""
        convolution, norm = self
        output: Tensor = norm(convolution(input[..., :: self.stride, :: self.stride]))
        return output


class ResNet(nn.Module):
    """A residual network for images of at least 8x8; see the module docstring for its structure."""

    def __init__(self, plan: NetworkPlan, *, conv: ConvFactory, norm: NormFactory) -> None:
        super().__init__()
        shape = get_shape(plan.name)
        block = Bottleneck if shape.bottleneck else BasicBlock
        widths = shape.scaled(plan.width)
        self.normalize = Normalize(plan.mean, plan.std)
        self.conv1 = conv(plan.in_channels, widths[0], 3, padding=1)
        self.bn1 = norm(widths[0])
        channels = widths[0]
        stages = []
        for stage, (width, count) in enumerate(zip(widths, shape.blocks, strict=True)):
            blocks = []
            for position in range(count):
                stride = 2 if stage > 0 and position == 0 else 1
                blocks.append(block(channels, width, stride, conv=conv, norm=norm))
                channels = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = conv(channels, plan.num_classes, 1)
        self.last_norm = norm(plan.num_classes) if plan.last_norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images in [0, 1] to (B, classes) logits."""
        x = activated(self.bn1, self.conv1(self.normalize(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = F.adaptive_avg_pool2d(x, 1)
        logits: Tensor = self.last_norm(self.fc(x))
        return logits.flatten(1)

    def residual_parts(self) -> ResidualParts | None:
        """Return the network's parts in order; None for a subclass, which may compute something else."""
        if type(self) is not ResNet:
            return None
        blocks = []
        for block in (each for stage in (self.layer1, self.layer2, self.layer3, self.layer4) for each in stage):
            if not isinstance(block, BasicBlock | Bottleneck):
                return None
            convs = [NormedConv.of(block.conv1, block.bn1), NormedConv.of(block.conv2, block.bn2)]
            if isinstance(block, Bottleneck):
                convs.append(NormedConv.of(block.conv3, block.bn3))
            shortcut = None
            if isinstance(block.shortcut, Shortcut):
                shortcut = NormedConv(block.shortcut[0], block.shortcut[1], block.shortcut.stride, 0)
            blocks.append(ResidualBlock(tuple(convs), shortcut))
        stem, classifier = NormedConv.of(self.conv1, self.bn1), NormedConv.of(self.fc, self.last_norm)
        return ResidualParts(self.normalize.mean, self.normalize.std, stem, tuple(blocks), classifier)


@dataclass(frozen=True)
class NetworkPlan:
    """Everything that defines a network except the method's layers. Implements `methods.base.Architecture`."""

    name: str  # a key of `shapes.SHAPES`
    num_classes: int
    mean: tuple[float, ...]  # per input channel
    std: tuple[float, ...]
    width: float = 1.0  # multiplier on the channels of every stage
    last_norm: bool = True

    def narrowed(self, keep_ratio: float) -> NetworkPlan:
        """Return the widest plan of the same shape whose prunable weights fit the budget.

        Raises:
            ValueError: if not even one channel per stage fits.
        """
        budget = weight_budget(sum(prunable_sizes(self).values()), keep_ratio)
        candidates = [replace(self, width=self.width * step / WIDTH_STEPS) for step in range(WIDTH_STEPS + 1)]
        end = bisect_right(candidates, budget, lo=1, key=lambda plan: sum(prunable_sizes(plan).values()))
        if end == 1:
            raise ValueError(f"a budget of {budget:,} weights is less than one channel per stage of {self.name}")
        return candidates[end - 1]

    @property
    def in_channels(self) -> int:
        """Image channels, one per entry of `mean`."""
        return len(self.mean)

    def __call__(self, *, conv: ConvFactory, norm: NormFactory) -> ResNet:
        """Build the network from these layers."""
        return ResNet(self, conv=conv, norm=norm)


class NetworkSettings(Protocol):
    """An experiment's settings for its network."""

    @property
    def name(self) -> str:
        """A key of `shapes.SHAPES`."""

    @property
    def width(self) -> float:
        """Multiplier on the channels of every stage."""

    @property
    def last_norm(self) -> bool:
        """Whether a batch norm follows the logits (LBN)."""


def network_plan(spec: NetworkSettings, info: DataInfo) -> NetworkPlan:
    """Return the plan of an experiment's network for the images of its data set."""
    return NetworkPlan(spec.name, info.num_classes, info.mean, info.std, spec.width, spec.last_norm)


def plain_conv(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0
) -> nn.Conv2d:
    """Make an ordinary bias-free convolution."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)


def prunable_shapes(plan: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the shape (out, in, k, k) of each convolution's weight by name, in module order, without allocating it."""
    with torch.device("meta"):
        model = plan(conv=plain_conv, norm=nn.BatchNorm2d)
    return {name: tuple(conv.weight.shape) for name, conv in convolutions(model).items()}


def prunable_sizes(plan: Architecture) -> dict[str, int]:
    """Return the weights per convolution by name, in module order, without allocating the network."""
    return {name: math.prod(shape) for name, shape in prunable_shapes(plan).items()}


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """Return the ordinary convolutions of a plain network by name, in module order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
