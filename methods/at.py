"""AT: adversarial training of a dense network, the parent every compressed row is measured against.

Full precision follows Madry et al. 2018; binary is BinaryConnect (Courbariaux et al. 2015) on every layer, first and
last included: latent real weights, sign in the forward pass, straight-through gradient, latent weights clipped.
DEVIATION: latent weights are clipped after the optimiser's step instead of inside the next forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from methods.base import Architecture, Method, Phase, Target, Trainable
from methods.layers import CompressedConv2d, clip_latent, compressed_layers, to_plain


@dataclass(frozen=True)
class AT(Method):
    """Adversarial training of a dense network, full precision or binary (BinaryConnect)."""

    name: ClassVar[str] = "at"
    own_axes: ClassVar[Mapping[str, float | bool]] = {"keep_ratio": 1.0}

    lr: float = 0.1  # full precision: SGD, divided by 10 at half and three quarters of the epochs
    binary_lr: float = 1e-4  # binary: Adam, cosine
    weight_decay: float = 5e-4

    def refusal(self, target: Target) -> str | None:
        """Refuse a sparse target: this is the dense parent."""
        if target.dense:
            return None
        return f"{self.name} trains dense networks: keep_ratio must be 1, got {target.keep_ratio:g}"

    def build(self, architecture: Architecture, target: Target) -> nn.Module:
        """Build with Kaiming-normal weights and affine batch norm."""
        conv = partial(CompressedConv2d, binary=target.weights == "binary")
        model = architecture(conv=conv, norm=nn.BatchNorm2d)
        for layer in compressed_layers(model):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        clip_latent(model)
        return model

    def phases(self, epochs: int, target: Target) -> Sequence[Phase]:
        """Return one phase that trains weights and normalisation."""
        trains: frozenset[Trainable] = frozenset({"weights", "norm"})
        if target.weights == "binary":
            return [Phase("train", epochs, trains, self.binary_lr, "adam", weight_decay=self.weight_decay)]
        return [Phase("train", epochs, trains, self.lr, weight_decay=self.weight_decay, schedule="step")]

    def after_step(self, model: nn.Module, phase: Phase, step: int) -> None:
        """Clip the latent weights of a binary network to [-1, 1]."""
        clip_latent(model)

    def export(self, model: nn.Module) -> nn.Module:
        """Return the network with the signs (binary) or the weights (full precision) as plain convolutions."""
        return to_plain(model)
