"""HARP: https://github.com/intellisec/harp, commit 9f343c0.

Read in `models/layers.py`, `models/*_cifar.py`, `utils/utils.py`, `utils/model.py`, `utils/hw.py`,
`utils/logging.py`, `args.py`, `train.py` and `data/*.py` there.

- A masked convolution or linear layer has `weight`, mostly `bias`, `popup_scores`, and a learned scalar `k_score`. It
  keeps the share k_min + (1 - k_min) * sigmoid(k_score), computed in float32, where k_min = alpha * k of the whole
  run.
- With `prune_reg` weight, the int((1 - share) * size) smallest |popup_scores| are set to zero; the product is float32
  too.
- With `prune_reg` channel there is one score per input channel, and the round(share * channels) largest are kept.
- In the mode `pretrain` nothing is pruned. The mask multiplies the weight; biases are not masked, nothing is scaled.
- k, alpha, prune_reg and exp_mode are no tensors: the run's `setup.log`, one folder above the checkpoint, holds them.
- `normalize` standardises inside the network with statistics of `data/*.py`; they are attributes and not in the state
  dict.
- Training pulls the kept share of all layers down to k, so another k or alpha shows in the sum, which is checked.
- `checkpoint_dense` beside it was folded at k for every layer, not at the learned shares: another network, with
  `k_score` keys but without scores, and refused.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.errors import UserError
from benchmark.foreign.checkpoints import hydra
from benchmark.foreign.checkpoints.layout import (
    Folded,
    Layout,
    Statistics,
    fold_scores,
    normalisation_by_flag,
    with_normalisation,
)
from benchmark.foreign.checkpoints.masks import Kept, check_density, keep_largest
from benchmark.foreign.checkpoints.opening import Checkpoint
from benchmark.foreign.checkpoints.settings import Settings

SHARE = "k_score"
STATISTICS: dict[str, Statistics] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "svhn": ((0.43090966, 0.4302428, 0.44634357), (0.19759192, 0.20029082, 0.19811132)),
}
TOLERANCE = 0.25  # of k: training stops within a fraction of a percent of it, layers round to whole weights


def fold(checkpoint: Checkpoint, settings: Settings) -> Folded:
    """Apply the masks of all layers, each at its learned share."""
    mode = settings.text("exp_mode")
    if mode is None:
        raise UserError(
            "the mode of the run (exp_mode in the repository) is neither in the checkpoint nor in a config beside it; "
            "give --set exp_mode=harp_finetune, or what it was, or the run's setup.log by --config"
        )
    by_channel = _by_channel(settings, pretrained=mode == "pretrain")
    least = 0.0
    if mode != "pretrain":
        density = settings.needed("k", "the share of kept weights", "--k")
        check_density(density, "k")
        least = density * settings.needed("alpha", "the lower bound of a layer's share", "--set alpha=NUMBER")

    def keep(layer: str, scores: Tensor) -> Kept:
        learned = checkpoint.state.get(f"{layer}.{SHARE}")
        if learned is None or learned.numel() != 1:
            raise UserError(
                f"{checkpoint.path}: the key {layer}.{SHARE} is missing or no single number, so the layer's share is "
                "unknown; give a checkpoint of HARP"
            )
        if mode == "pretrain":
            return keep_largest(scores, 0)
        share = torch.sigmoid(learned.reshape(())) * (1 - least) + least
        return _keep_channels(layer, scores, share) if by_channel else _keep_weights(scores, share)

    folded = fold_scores(checkpoint, scores=hydra.SCORES, dropped=(SHARE,), keep=keep)
    if mode.startswith("harp") and not by_channel:
        _check_total(folded, density)
    return with_normalisation(folded, normalisation_by_flag(settings, STATISTICS))


def _by_channel(settings: Settings, *, pretrained: bool) -> bool:
    prune_reg = settings.text("prune_reg")
    if pretrained or prune_reg in ("weight", "channel"):
        return prune_reg == "channel"
    raise UserError(
        "what is pruned (prune_reg in the repository, weight or channel) is neither in the checkpoint nor in a config "
        f"beside it{'' if prune_reg is None else f', got {prune_reg}'}; give --set prune_reg=weight or channel"
    )


def _keep_weights(scores: Tensor, share: Tensor) -> Kept:
    return keep_largest(scores, int((1 - share) * scores.numel()))  # in float32, as in the original


def _keep_channels(layer: str, scores: Tensor, share: Tensor) -> Kept:
    if scores.ndim < 2 or scores.numel() != scores.shape[1]:
        raise UserError(
            f"{layer}.{hydra.SCORES} has shape {tuple(scores.shape)} instead of one score per input channel; give "
            "--set prune_reg=weight if single weights were pruned"
        )
    return keep_largest(scores, scores.shape[1] - int(torch.round(share * scores.shape[1])))


def _check_total(folded: Folded, density: float) -> None:
    total = folded.density
    assert total is not None
    if abs(total - density) > TOLERANCE * density:
        raise UserError(
            f"at k = {density:g} the learned shares keep {total:.4g} of all weights, but HARP trains them until they "
            "keep k: k or alpha is another; give those of the run, or its setup.log by --config"
        )


LAYOUT = Layout(
    name="harp",
    about="HARP, intellisec/harp: popup_scores, a learned share k_score per layer",
    settings=("k", "alpha", "exp_mode", "prune_reg", "normalize", "arch", "dataset"),
    density="k",
    fold=fold,
    architectures=hydra.ARCHITECTURES,
    wrappers=("basic_model.",),  # of free adversarial training
)
