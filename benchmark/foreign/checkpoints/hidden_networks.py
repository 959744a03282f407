"""Edge-popup: https://github.com/allenai/hidden-networks.

Read in `utils/conv_type.py` (commits 2ebdc7c to 9321120, the same code), `utils/net_utils.py` (74c0203), `main.py`
(0e1c521), `models/*.py`, `utils/bn_type.py` and `data/cifar.py` (faa35e2) there.

- A masked convolution has `weight` and `scores` of its shape; the classifier is a 1x1 convolution. `SubnetConv` sorts
  |scores| and sets the int((1 - prune_rate) * size) smallest to zero: `prune_rate` is the share that is KEPT,
  although the repository's README calls it the pruned one. All masked layers have the same.
- `FixedSubnetConv` means it the other way round, and overwrites its scores with the mask of zeros and ones once it is
  set: what is stored multiplies the weight, and `prune_rate` no longer matters.
- `SampleSubnetConv` draws its mask in every pass; that is no fixed network and refused.
- The run's `settings.txt`, one folder above `checkpoints`, holds its arguments as a Namespace.
- Images are always standardised, by the loader, with the statistics of `data/cifar.py`.
"""

from __future__ import annotations

from torch import Tensor

from benchmark.errors import UserError
from benchmark.foreign.checkpoints.layout import (
    Folded,
    Layout,
    Statistics,
    dataset_name,
    fold_scores,
    with_normalisation,
)
from benchmark.foreign.checkpoints.masks import Kept, check_density, keep_largest, pruned_count
from benchmark.foreign.checkpoints.opening import Checkpoint
from benchmark.foreign.checkpoints.settings import Settings

SCORES = "scores"
STATISTICS: dict[str, Statistics] = {"cifar10": ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262))}
ARCHITECTURES = {
    "cResNet18": "resnet18",
    "cResNet34": "resnet34",
    "cResNet50": "resnet50",
    "ResNet18": "torchvision-resnet18",
    "ResNet50": "torchvision-resnet50",
    "ResNet101": "torchvision-resnet101",
    "WideResNet50_2": "torchvision-wide_resnet50_2",
    "WideResNet101_2": "torchvision-wide_resnet101_2",
}


def fold(checkpoint: Checkpoint, settings: Settings) -> Folded:
    """Apply the masks of all layers at the run's share, or the stored masks of fixed layers."""
    kind = settings.text("conv_type")
    if kind not in ("SubnetConv", "FixedSubnetConv"):
        raise UserError(
            "the type of the convolutions (conv_type in the repository) must be SubnetConv or FixedSubnetConv, "
            f"{'and nothing says which' if kind is None else f'got {kind}'}; give --set conv_type=SubnetConv, or the "
            "run's settings.txt by --config"
        )
    density = 1.0
    if kind == "SubnetConv":
        density = settings.needed("prune_rate", "the share of kept weights", "--k")
        check_density(density, "prune_rate")

    def keep(layer: str, scores: Tensor) -> Kept:
        if kind == "SubnetConv":
            return keep_largest(scores, pruned_count(density, scores.numel()))
        if not bool(((scores == 0) | (scores == 1)).all()):
            raise UserError(
                f"{checkpoint.path}: {layer}.{SCORES} holds other values than 0 and 1, but a FixedSubnetConv stores "
                "its mask there; give --set conv_type=SubnetConv if these are scores"
            )
        return Kept(scores == 1, 0)

    normalisation = STATISTICS.get(dataset_name(settings, "set") or "")
    return with_normalisation(fold_scores(checkpoint, scores=SCORES, keep=keep), normalisation)


LAYOUT = Layout(
    name="hidden-networks",
    about="edge-popup, allenai/hidden-networks: scores, one prune_rate for all layers",
    settings=("prune_rate", "conv_type", "arch", "set"),
    density="prune_rate",
    fold=fold,
    architectures=ARCHITECTURES,
    dataset="set",
)
