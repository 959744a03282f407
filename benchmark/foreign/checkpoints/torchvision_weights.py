"""Torchvision's residual networks: https://github.com/pytorch/vision, `torchvision/models/resnet.py`.

- An ordinary state dict: `conv1`, `bn1`, `layer1` to `layer4` with `downsample`, `fc`. There is no mask.
- Nothing says the architecture or the normalisation; torchvision's own weights are for images standardised by
  ImageNet's mean (0.485, 0.456, 0.406) and standard deviation (0.229, 0.224, 0.225).
"""

from __future__ import annotations

from benchmark.foreign.checkpoints.layout import Folded, Layout
from benchmark.foreign.checkpoints.opening import Checkpoint
from benchmark.foreign.checkpoints.settings import Settings


def fold(checkpoint: Checkpoint, settings: Settings) -> Folded:
    """Return the state dict as it is."""
    return Folded(dict(checkpoint.state), kept={})


LAYOUT = Layout(
    name="torchvision",
    about="an ordinary state dict of torchvision's ResNets",
    settings=(),
    density=None,
    fold=fold,
    architectures={},
)
