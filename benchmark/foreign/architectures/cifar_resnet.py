"""The residual networks for CIFAR of kuangliu/pytorch-cifar, which HYDRA and HARP train as `resnet18`.

They differ from the suite's in the classifier: a linear layer `linear` with bias, and no normalisation inside.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

_BLOCKS = {"cifar-resnet18": (2, 2, 2, 2), "cifar-resnet34": (3, 4, 6, 3), "cifar-resnet50": (3, 4, 6, 3)}
_BOTTLENECK = ("cifar-resnet50",)
NAMES = tuple(_BLOCKS)


def build(name: str, num_classes: int, channels: int, state: Mapping[str, Tensor]) -> nn.Module:
    """Return the network; the state dict decides nothing."""
    return CifarResNet(_BLOCKS[name], 4 if name in _BOTTLENECK else 1, num_classes, channels)


class CifarBlock(nn.Module):
    """A residual block with as many 3x3 convolutions as its kind has, each followed by a batch norm."""

    def __init__(self, in_channels: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        out_channels = width * expansion
        if expansion == 1:
            shapes = [(in_channels, width, 3, stride), (width, width, 3, 1)]
        else:
            shapes = [(in_channels, width, 1, 1), (width, width, 3, stride), (width, out_channels, 1, 1)]
        self.depth = len(shapes)
        for number, (inputs, outputs, kernel, step) in enumerate(shapes, 1):
            convolution = nn.Conv2d(inputs, outputs, kernel, step, padding=kernel // 2, bias=False)
            self.add_module(f"conv{number}", convolution)
            self.add_module(f"bn{number}", nn.BatchNorm2d(outputs))
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        out = x
        for number in range(1, self.depth + 1):
            out = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(out))
            out = F.relu(out) if number < self.depth else out
        return F.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """A 3x3 stem, four stages, global average pooling (of 4x4 on 32x32 images) and a linear classifier."""

    def __init__(self, blocks: tuple[int, ...], expansion: int, num_classes: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        features = 64
        for stage, count in enumerate(blocks):
            width, layers = 64 * 2**stage, []
            for position in range(count):
                stride = 2 if stage > 0 and position == 0 else 1
                layers.append(CifarBlock(features, width, stride, expansion))
                features = width * expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.linear = nn.Linear(features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, classes) logits."""
        x = F.relu(self.bn1(self.conv1(images)))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        logits: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits
