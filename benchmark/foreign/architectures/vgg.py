"""VGG16 with batch norm for CIFAR as in HYDRA and HARP: `features`, and a `classifier` of three linear layers."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

NAMES = ("vgg16-bn",)
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # max pooling between them
_HIDDEN = 256


def build(name: str, num_classes: int, channels: int, state: Mapping[str, Tensor]) -> nn.Module:
    """Return the network; the state dict decides nothing."""
    return CifarVGG(num_classes, channels)


class CifarVGG(nn.Module):
    """Thirteen bias-free 3x3 convolutions with batch norms, pooled to 2x2, and three linear layers."""

    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage, widths in enumerate(_STAGES):
            layers += [nn.MaxPool2d(2, 2)] if stage else []
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(4 * channels, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, classes) logits."""
        x: Tensor = self.features(images)
        if x.shape[-2:] != (2, 2):  # of images other than 32x32
            x = F.adaptive_avg_pool2d(x, 2)
        logits: Tensor = self.classifier(x.flatten(1))
        return logits
