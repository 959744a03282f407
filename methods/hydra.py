"""HYDRA (Sehwag et al. 2020): train a dense network, learn which weights to keep, fine-tune the rest.

Phases: pretrain (weights), prune (scores, weights frozen), fine-tune (weights under the fixed mask). Scores start
from the weights, so the first mask is the one of magnitude pruning.
DEVIATION: layer budgets come from `allocate`; p=1 is the original's same ratio in every layer.
DEVIATION: the classifier is a bias-free 1x1 convolution and is pruned like every other layer.
DEVIATION: with TRADES an update makes two passes in train mode, clean and adversarial; HYDRA's trainer makes four,
three of them clean, which its batch-norm statistics follow.
DEVIATION: the attack of TRADES starts within [0, 1]; HYDRA's starts at a Gaussian step that is not clipped.
DEVIATION: the binary form is a reconstruction; neither HYDRA nor the paper released one. B1 is BinaryConnect in all
phases with scores from the latent weights, B2 binarises in the fine-tuning phase only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from methods.base import Architecture, DenseTraining, Method, Phase, Target, Trainable
from methods.layers import build_prunable, clip_latent, compressed_layers, refresh_masks, to_plain

WEIGHTS: frozenset[Trainable] = frozenset({"weights", "norm"})
SCORES: frozenset[Trainable] = frozenset({"scores", "norm"})


@dataclass(frozen=True)
class Hydra(Method):
    """HYDRA: pretrain, prune by learned scores, fine-tune."""

    name: ClassVar[str] = "hydra"
    objective: ClassVar[str] = "trades"

    pretrain_share: float = 100 / 220  # of the epochs
    prune_share: float = 20 / 220
    lr: float = 0.1  # for pretraining and pruning, SGD, cosine
    finetune_lr: float = 0.01
    binary_lr: float = 1e-4  # Adam, for latent weights
    weight_decay: float = 1e-4
    binary_phases: Literal["all", "finetune"] = "all"  # B1 or B2

    def __post_init__(self) -> None:
        if not (self.pretrain_share > 0 and self.prune_share > 0 and self.pretrain_share + self.prune_share < 1):
            raise ValueError(
                "pretrain_share and prune_share are shares of the epochs, above 0 and together below 1, "
                f"got {self.pretrain_share:g} and {self.prune_share:g}"
            )

    def refusal(self, target: Target) -> str | None:
        """Refuse a dense target: there is nothing to prune."""
        return "hydra prunes: keep_ratio must be below 1" if target.dense else None

    def first_phase(self, target: Target) -> DenseTraining:
        """Allow an AT run of the same precision to replace pretraining."""
        return DenseTraining("at", target.weights if self.binary_phases == "all" else "fp")

    def build(self, architecture: Architecture, target: Target) -> nn.Module:
        """Build with Kaiming-normal weights, affine batch norm, and masks that keep all weights until pruning."""
        binary = target.weights == "binary" and self.binary_phases == "all"
        return build_prunable(architecture, target, binary=binary)

    def phases(self, epochs: int, target: Target) -> Sequence[Phase]:
        """Return pretraining, pruning and fine-tuning, at least one epoch each."""
        if epochs < 3:
            raise ValueError(f"hydra has three phases and needs at least 3 epochs, got {epochs}")
        pretrain = min(max(1, round(epochs * self.pretrain_share)), epochs - 2)
        prune = min(max(1, round(epochs * self.prune_share)), epochs - pretrain - 1)
        binary = target.weights == "binary"
        dense = self._weight_phase("pretrain", pretrain, self.lr, binary and self.binary_phases == "all")
        search = Phase("prune", prune, SCORES, self.lr, weight_decay=self.weight_decay)
        return [dense, search, self._weight_phase("finetune", epochs - pretrain - prune, self.finetune_lr, binary)]

    def begin_phase(self, model: nn.Module, phase: Phase) -> None:
        """Derive scores and masks from the trained weights before pruning; switch to signs before B2's fine-tuning."""
        if phase.name == "prune":
            scores_from_weights(model)
            refresh_masks(model)
        elif phase.name == "finetune" and phase.optimizer == "adam":
            for layer in compressed_layers(model):
                layer.binary = True
            clip_latent(model)

    def after_step(self, model: nn.Module, phase: Phase, step: int) -> None:
        """Update the masks while scores are trained; otherwise clip latent weights to [-1, 1]."""
        if phase.name == "prune":
            refresh_masks(model)
        else:
            clip_latent(model)

    def export(self, model: nn.Module) -> nn.Module:
        """Return the masked network as plain convolutions."""
        return to_plain(model)

    def _weight_phase(self, name: str, epochs: int, lr: float, binary: bool) -> Phase:
        if binary:
            return Phase(name, epochs, WEIGHTS, self.binary_lr, "adam", weight_decay=self.weight_decay)
        return Phase(name, epochs, WEIGHTS, lr, weight_decay=self.weight_decay)


@torch.no_grad()
def scores_from_weights(model: nn.Module) -> None:
    """Set scores to sqrt(6 / fan_in) * w / max|w| per layer (HYDRA's initialisation), from latent weights if binary.

    For a group of weights, w is the sum of their magnitudes.
    """
    for layer in compressed_layers(model):
        assert layer.scores is not None, "built with scored=True"
        grouped = layer.group_size > 1
        values = layer.weight.abs().sum_to_size(layer.scores.shape) if grouped else layer.weight
        layer.scores.copy_(math.sqrt(6 / layer.fan_in) * values / values.abs().max())
