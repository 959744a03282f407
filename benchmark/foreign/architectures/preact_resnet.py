"""PreActResNet18 for CIFAR, with the keys of kuangliu/pytorch-cifar.

Two networks with the same keys are in use. Where a block changes its shape, its shortcut convolves the activated input
in kuangliu/pytorch-cifar and in RobustBench's `PreActBlockV2`, but the input itself in RobustBench's `PreActBlock`,
which its `PreActResNet18` uses. Nothing in a state dict tells them apart, hence two names. A batch norm `bn` before the
classifier (RobustBench's `bn_before_fc`) shows in the keys.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

RAW = "preactresnet18-raw-shortcut"
NAMES = ("preactresnet18", RAW)


def build(name: str, num_classes: int, channels: int, state: Mapping[str, Tensor]) -> nn.Module:
    """Return the network, with a batch norm before the classifier if the state dict has one."""
    return PreActResNet(num_classes, channels, raw_shortcut=name == RAW, last_norm="bn.weight" in state)


class PreActBlock(nn.Module):
    """Twice batch norm, ReLU and a 3x3 convolution, with a shortcut."""

    def __init__(self, in_channels: int, width: int, stride: int, *, raw_shortcut: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != width:
            self.shortcut = nn.Sequential(nn.Conv2d(in_channels, width, 1, stride, bias=False))
        self.raw_shortcut = raw_shortcut or not len(self.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, width, H / stride, W / stride)."""
        activated = F.relu(self.bn1(x))
        shortcut = self.shortcut(x if self.raw_shortcut else activated)
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(activated)))) + shortcut
        return out


class PreActResNet(nn.Module):
    """A 3x3 stem, four stages of two blocks, global average pooling and a linear classifier."""

    def __init__(self, num_classes: int, channels: int, *, raw_shortcut: bool, last_norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        features = 64
        for stage in range(4):
            width = 64 * 2**stage
            first = PreActBlock(features, width, 2 if stage else 1, raw_shortcut=raw_shortcut)
            second = PreActBlock(width, width, 1, raw_shortcut=raw_shortcut)
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, second))
            features = width
        self.bn = nn.BatchNorm2d(features) if last_norm else None
        self.linear = nn.Linear(features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, classes) logits."""
        x: Tensor = self.conv1(images)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        x = x if self.bn is None else F.relu(self.bn(x))
        logits: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits
