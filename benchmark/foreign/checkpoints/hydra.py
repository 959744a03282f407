"""HYDRA: https://github.com/inspire-group/hydra.

Read in `models/layers.py` (commit adaa2b4) and `data/cifar.py` (e68aeea) there; `train.py`, `args.py` and
`utils/model.py`, which the repository shares with its forks, in danielz02/hydra (2defc1c, 409397c).

- A masked convolution or linear layer has `weight`, mostly `bias`, and `popup_scores` of the weight's shape. All of
  them, first and last included, keep the same share k.
- The forward pass sorts |popup_scores|, sets the int((1 - k) * size) smallest to zero, and multiplies the weight by
  the mask of zeros and ones. Biases are not masked, nothing is scaled.
- k is no tensor: the run's `setup.log`, one folder above the checkpoint, holds its arguments as a Namespace.
- `normalize` standardises images by the loader. Its statistics for CIFAR are in `data/cifar.py`.
- `checkpoint_dense` beside it has no scores: the same network, folded by the repository; a k there changes nothing.
"""

from __future__ import annotations

from torch import Tensor

from benchmark.foreign.checkpoints.layout import (
    Folded,
    Layout,
    Statistics,
    fold_scores,
    normalisation_by_flag,
    with_normalisation,
)
from benchmark.foreign.checkpoints.masks import Kept, check_density, keep_largest, pruned_count
from benchmark.foreign.checkpoints.opening import Checkpoint
from benchmark.foreign.checkpoints.settings import Settings

SCORES = "popup_scores"
STATISTICS: dict[str, Statistics] = {
    "cifar10": ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)),
    "cifar100": ((0.507, 0.487, 0.441), (0.267, 0.256, 0.276)),
}
ARCHITECTURES = {
    "vgg16_bn": "vgg16-bn",
    "wrn_28_1": "wrn-28-1",
    "wrn_28_4": "wrn-28-4",
    "wrn_28_10": "wrn-28-10",
    "wrn_34_10": "wrn-34-10",
    "wrn_40_2": "wrn-40-2",
    "resnet18": "cifar-resnet18",
    "resnet34": "cifar-resnet34",
    "resnet50": "cifar-resnet50",
    "ResNet18": "torchvision-resnet18",
    "ResNet34": "torchvision-resnet34",
    "ResNet50": "torchvision-resnet50",
}


def fold(checkpoint: Checkpoint, settings: Settings) -> Folded:
    """Apply the masks of all layers at the run's k."""
    density = settings.needed("k", "the share of kept weights", "--k")
    check_density(density, "k")

    def keep(layer: str, scores: Tensor) -> Kept:
        return keep_largest(scores, pruned_count(density, scores.numel()))

    return with_normalisation(
        fold_scores(checkpoint, scores=SCORES, keep=keep), normalisation_by_flag(settings, STATISTICS)
    )


LAYOUT = Layout(
    name="hydra",
    about="HYDRA, inspire-group/hydra: popup_scores, one k for all layers",
    settings=("k", "normalize", "arch", "dataset"),
    density="k",
    fold=fold,
    architectures=ARCHITECTURES,
)
