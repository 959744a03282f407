"""Robust binary subnetworks: https://github.com/IVRL/RobustBinarySubNet, commit 3c5bd5d.

Read in `code/arch/conv_type.py`, `net_utils.py`, `resnet_cifar.py`, `resnet_cifar_small.py`, `builder.py`,
`code/util/model_parser.py`, `pr_scheduler.py`, `code/run/train.py` and `aa_standard.py` there.

- The network is the second part of a Sequential whose first standardises images in [0, 1] and has no tensors: keys
  begin with `1.`, within DataParallel with `module.1.`.
- A `SubnetConv` has `weight`, which is -1 or +1 with `init: binary` and is used as it is, and `scores`. It sorts
  |scores| and sets the int((1 - share) * size) smallest to zero.
- The layers' shares follow from `prune_rate` (of weights KEPT in the whole network) and `pr_scale`, the paper's p: a
  layer of n weights keeps c * n^p of them, layers by ascending size, where c is chosen anew after each from what is
  left.
- A `BinConv` has `weight` and `binweight`, the last pass's signs. It computes with the signs of `weight`, +1 for 0,
  without a scale; with `binconv_stochastic` it draws them, which is no fixed network and refused.
- A last batch norm `last` follows the classifier with `end_with_bn`. An evaluation without that option ignores its
  keys.
- The run's `settings.txt`, one folder above `checkpoints`, holds its arguments as a Namespace.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import UserError
from benchmark.foreign.checkpoints.layout import (
    NONE,
    Folded,
    Layout,
    Statistics,
    fold_scores,
    with_normalisation,
)
from benchmark.foreign.checkpoints.masks import Kept, check_density, keep_largest, pruned_count
from benchmark.foreign.checkpoints.opening import Checkpoint
from benchmark.foreign.checkpoints.settings import Settings

SCORES, SIGNS = "scores", "binweight"
_NAMED: dict[str, Statistics] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
ARCHITECTURES = {
    **{f"cResNet{depth}{data}": f"resnet{depth}" for depth in (18, 34, 50) for data in ("", "_cifar100")},
    **{
        f"ResNet34_001_p{name}{data}": f"resnet34-narrow-p{p}"
        for name, p in (("1", "1.0"), ("05", "0.5"), ("01", "0.1"), ("0", "0.0"))
        for data in ("", "_cifar100")
    },
}


def fold(checkpoint: Checkpoint, settings: Settings) -> Folded:
    """Apply masks and signs."""
    _check_last(checkpoint, settings)
    if settings.text("nonlinearity") not in (None, "relu"):
        raise UserError(
            f"{settings.named}: nonlinearity is {settings.text('nonlinearity')}, but the networks here use relu; this "
            "checkpoint cannot be imported: export it as ONNX from its repository"
        )
    signed = [key.removesuffix(f".{SIGNS}") for key in checkpoint.state if key.endswith(f".{SIGNS}")]
    if signed:
        folded = _fold_signs(checkpoint, settings, signed)
    else:
        sizes = {
            key.removesuffix(f".{SCORES}"): value.numel()
            for key, value in checkpoint.state.items()
            if key.endswith(f".{SCORES}")
        }
        shares = {}
        if sizes:
            density = settings.needed("prune_rate", "the share of kept weights", "--k")
            check_density(density, "prune_rate")
            p = settings.needed("pr_scale", "the paper's p", "--set pr_scale=NUMBER")
            shares = layer_shares(sizes, density, p)

        def keep(layer: str, scores: Tensor) -> Kept:
            return keep_largest(scores, pruned_count(shares[layer], scores.numel()))

        folded = fold_scores(checkpoint, scores=SCORES, keep=keep)
    return with_normalisation(folded, _normalisation(settings))


def layer_shares(sizes: Mapping[str, int], density: float, p: float) -> dict[str, float]:
    """Return the share of its weights that each layer keeps.

    The arithmetic, and with it every rounding, is the repository's.

    Args:
        sizes: weights per masked layer, in the network's order.
        density: share of all their weights that the network keeps.
        p: 1 for the same share everywhere, 0 for the same number.

    Raises:
        UserError: if p is not from 0 to 1.
    """
    if not 0 <= p <= 1:
        raise UserError(f"pr_scale must be from 0 to 1, got {p:g}; give the run's own by --set pr_scale=NUMBER")
    names = sorted(sizes, key=lambda name: sizes[name])
    counts = [sizes[name] for name in names]
    left = int(density * np.sum(counts))
    factor = density * np.sum(counts) / np.sum(np.power(counts, p))
    shares = {}
    for position, (name, count) in enumerate(zip(names, counts, strict=True)):
        share = factor * np.power(count, p - 1.0)
        if share > 1:
            share = 1.0
        left -= int(share * count)
        rest = np.sum(np.power(counts[position + 1 :], p))
        factor = left / rest if rest else math.nan
        shares[name] = float(share)
    return shares


def _fold_signs(checkpoint: Checkpoint, settings: Settings, layers: list[str]) -> Folded:
    if settings.flag("binconv_stochastic"):
        raise UserError(
            f"{settings.named}: binconv_stochastic is set, so the network draws its signs anew in every pass; it is no "
            "fixed network and cannot be imported"
        )
    state = {key: value for key, value in checkpoint.state.items() if not key.endswith(f".{SIGNS}")}
    for layer in layers:
        weight = state.get(f"{layer}.weight")
        if weight is None:
            raise UserError(
                f"{checkpoint.path}: the key {layer}.weight is missing, but {layer}.{SIGNS} is there; fetch the "
                "checkpoint again"
            )
        state[f"{layer}.weight"] = torch.where(weight >= 0, 1.0, -1.0)
    return Folded(state, kept={})


def _check_last(checkpoint: Checkpoint, settings: Settings) -> None:
    configured, stored = settings.flag("end_with_bn"), any(key.startswith("last.") for key in checkpoint.state)
    if configured is not None and configured != stored:
        raise UserError(
            f"{settings.named}: end_with_bn is {configured}, but the checkpoint has {'' if stored else 'no '}keys of a "
            "last batch norm (last.*); give the checkpoint's own file by --config"
        )


def _normalisation(settings: Settings) -> Statistics | None:
    if "normalize" not in settings.values:
        return None
    value = settings.get("normalize")
    if value is None:
        return NONE
    if isinstance(value, Mapping):
        bias, scale = value.get("bias"), value.get("scale")
        if isinstance(bias, list | tuple) and isinstance(scale, list | tuple):
            return tuple(map(float, bias)), tuple(map(float, scale))
        return None
    name = str(value).lower().removesuffix("_normalize")
    return _NAMED.get("imagenet" if name.startswith("imagenet") else name)


LAYOUT = Layout(
    name="robustbinarysubnet",
    about="IVRL/RobustBinarySubNet: scores and fixed weights, shares from prune_rate and pr_scale; binweight",
    settings=(
        "prune_rate",
        "pr_scale",
        "normalize",
        "end_with_bn",
        "binconv_stochastic",
        "nonlinearity",
        "model_type",
        "dataset",
    ),
    density="prune_rate",
    fold=fold,
    architectures=ARCHITECTURES,
    wrappers=("1.",),
    renamed={"last.": "last_norm."},
)
