"""Baselines of every pruning comparison: train a dense network, prune it once by a fixed rule, fine-tune what is left.

LWM keeps the largest weight magnitudes (Han et al. 2015); random pruning keeps a random choice of the same size.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from methods.base import Architecture, DenseTraining, Method, Phase, Target, Trainable
from methods.layers import CompressedConv2d, build_prunable, clip_latent, compressed_layers, refresh_masks, to_plain

WEIGHTS: frozenset[Trainable] = frozenset({"weights", "norm"})


@dataclass(frozen=True)
class PruneFinetune(Method):
    """Dense training, one pruning by `importance`, fine-tuning under the fixed mask."""

    pretrain_share: float = 0.5  # of the epochs
    lr: float = 0.1  # SGD, cosine
    finetune_lr: float = 0.01
    binary_lr: float = 1e-4  # Adam, for latent weights
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        if not 0 < self.pretrain_share < 1:
            raise ValueError(f"pretrain_share is a part of the epochs, between 0 and 1, got {self.pretrain_share:g}")

    @abstractmethod
    def importance(self, layer: CompressedConv2d) -> Tensor:
        """Return a non-negative score per weight; the largest of each budget are kept."""

    def refusal(self, target: Target) -> str | None:
        """Refuse a dense target: there is nothing to prune."""
        return f"{self.name} prunes: keep_ratio must be below 1" if target.dense else None

    def first_phase(self, target: Target) -> DenseTraining:
        """Let an AT run take the place of dense training."""
        return DenseTraining("at", target.weights)

    def build(self, architecture: Architecture, target: Target) -> nn.Module:
        """Build with Kaiming-normal weights, affine batch norm, and masks that keep everything until pruning."""
        return build_prunable(architecture, target, binary=target.weights == "binary")

    def phases(self, epochs: int, target: Target) -> Sequence[Phase]:
        """Return dense training and fine-tuning; at least one epoch each."""
        if epochs < 2:
            raise ValueError(f"{self.name} has two phases and needs at least 2 epochs, got {epochs}")
        pretrain = min(max(1, round(epochs * self.pretrain_share)), epochs - 1)
        lengths = {"pretrain": (pretrain, self.lr), "finetune": (epochs - pretrain, self.finetune_lr)}
        if target.weights == "binary":
            return [
                Phase(name, length, WEIGHTS, self.binary_lr, "adam", weight_decay=self.weight_decay)
                for name, (length, _) in lengths.items()
            ]
        return [
            Phase(name, length, WEIGHTS, lr, weight_decay=self.weight_decay) for name, (length, lr) in lengths.items()
        ]

    @torch.no_grad()
    def begin_phase(self, model: nn.Module, phase: Phase) -> None:
        """Prune before fine-tuning."""
        if phase.name == "finetune":
            for layer in compressed_layers(model):
                assert layer.scores is not None, "built with scored=True"
                layer.scores.copy_(self.importance(layer))
            refresh_masks(model)

    def after_step(self, model: nn.Module, phase: Phase, step: int) -> None:
        """Keep latent weights in [-1, 1]."""
        clip_latent(model)

    def export(self, model: nn.Module) -> nn.Module:
        """Return the masked network as plain convolutions."""
        return to_plain(model)


@dataclass(frozen=True)
class MagnitudePruning(PruneFinetune):
    """LWM: prune the smallest weight magnitudes of a trained network, then fine-tune."""

    name: ClassVar[str] = "lwm"

    def importance(self, layer: CompressedConv2d) -> Tensor:
        """Return weight magnitudes, of the latent weights if binary."""
        return layer.weight.abs()


@dataclass(frozen=True)
class RandomPruning(PruneFinetune):
    """Prune at random, then fine-tune: what a clever choice of weights has to beat."""

    name: ClassVar[str] = "random_pruning"

    def importance(self, layer: CompressedConv2d) -> Tensor:
        """Return random scores."""
        return torch.rand_like(layer.weight)
