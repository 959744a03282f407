"""AT: adversarial training of a dense network, the parent every compressed row is measured against.

Full precision follows Madry et al. 2018; binary is BinaryConnect (Courbariaux et al. 2015) on every layer, first and
last included: latent real weights, sign in the forward pass, straight-through gradient, latent weights clipped.
DEVIATION: latent weights are clipped after the optimiser's step instead of inside the next forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import nn

from methods.base import Architecture, Method, Phase, Target, Trainable
from methods.layers import CompressedConv2d, compressed_layers, to_plain


@dataclass(frozen=True)
class AT(Method):
    """Adversarial training of a dense network, full precision or binary (BinaryConnect)."""

    name: ClassVar[str] = "at"
    dense_only: ClassVar[bool] = True

    lr: float = 0.1  # full precision: SGD, divided by 10 at half and three quarters of the epochs
    binary_lr: float = 1e-4  # binary: Adam, cosine
    weight_decay: float = 5e-4

    def build(self, architecture: Architecture, target: Target) -> nn.Module:
        """Build with Kaiming-normal weights and affine batch norm."""
        conv = partial(CompressedConv2d, binary=target.weights == "binary")
        model = architecture(conv=conv, norm=nn.BatchNorm2d)
        for layer in compressed_layers(model):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        self._clip(model)
        return model

    def phases(self, epochs: int, target: Target) -> Sequence[Phase]:
        """Return one phase that trains weights and normalisation."""
        trains: frozenset[Trainable] = frozenset({"weights", "norm"})
        if target.weights == "binary":
            return [Phase("train", epochs, trains, self.binary_lr, "adam", weight_decay=self.weight_decay)]
        return [Phase("train", epochs, trains, self.lr, weight_decay=self.weight_decay, schedule="step")]

    def after_step(self, model: nn.Module, phase: Phase, step: int) -> None:
        """Clip latent weights to [-1, 1]; a latent weight far outside could never change sign again."""
        self._clip(model)

    def export(self, model: nn.Module) -> nn.Module:
        """Return the network with the signs (binary) or the weights (full precision) as plain convolutions."""
        return to_plain(model)

    @staticmethod
    @torch.no_grad()
    def _clip(model: nn.Module) -> None:
        for layer in compressed_layers(model):
            if layer.binary:
                layer.weight.clamp_(-1.0, 1.0)
