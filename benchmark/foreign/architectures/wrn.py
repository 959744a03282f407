"""Wide residual networks for CIFAR, with the keys of TRADES, HYDRA, HARP and RobustBench.

HYDRA, and RobustBench with `sub_block1=True`, also store a stage `sub_block1` that their forward pass never calls. It
is not built, and `load_strictly` leaves it out after checking that it is a copy of `block1` in names and shapes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

NAMES = ("wrn-28-10", "wrn-28-4", "wrn-28-1", "wrn-34-10", "wrn-40-2")  # depth and widening factor


def build(name: str, num_classes: int, channels: int, state: Mapping[str, Tensor]) -> nn.Module:
    """Return the network; the state dict decides nothing."""
    _, depth, factor = name.split("-")
    return WideResNet(int(depth), int(factor), num_classes, channels)


class WideBlock(nn.Module):
    """Twice batch norm, ReLU and a 3x3 convolution; a block that changes the width also activates its shortcut."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        projects = in_channels != width
        self.convShortcut = nn.Conv2d(in_channels, width, 1, stride, bias=False) if projects else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, width, H / stride, W / stride)."""
        activated = F.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(activated)
        residual: Tensor = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return shortcut + residual


class WideStage(nn.Module):
    """A sequence of blocks in `layer`."""

    def __init__(self, in_channels: int, width: int, stride: int, count: int) -> None:
        super().__init__()
        blocks = [WideBlock(in_channels, width, stride)]
        blocks += [WideBlock(width, width, 1) for _ in range(count - 1)]
        self.layer = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, width, H / stride, W / stride)."""
        out: Tensor = self.layer(x)
        return out


class WideResNet(nn.Module):
    """A stem of 16 channels, three stages, global average pooling (of 8x8 on 32x32 images), a linear classifier."""

    unused_copies = {"sub_block1": "block1"}  # stages of public checkpoints that no forward pass calls

    def __init__(self, depth: int, factor: int, num_classes: int, channels: int) -> None:
        super().__init__()
        count = (depth - 4) // 6
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.block1 = WideStage(16, 16 * factor, 1, count)
        self.block2 = WideStage(16 * factor, 32 * factor, 2, count)
        self.block3 = WideStage(32 * factor, 64 * factor, 2, count)
        self.bn1 = nn.BatchNorm2d(64 * factor)
        self.fc = nn.Linear(64 * factor, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, classes) logits."""
        x = self.block3(self.block2(self.block1(self.conv1(images))))
        x = F.adaptive_avg_pool2d(F.relu(self.bn1(x)), 1)
        logits: Tensor = self.fc(x.flatten(1))
        return logits
