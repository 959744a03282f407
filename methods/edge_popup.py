"""Adversarial edge-popup: the weights stay random, training only chooses which of them to keep.

Liu, Zhao, Süsstrunk, Salzmann, NeurIPS 2022, after Ramanujan et al. 2020. A layer keeps the weights with the largest
score magnitudes, as many as its budget allows; scores are trained through the selection as if it were the identity.
Batch norm has no affine part, so the scores are the only trainable tensors.
DEVIATION: layer budgets are exact integers that add up to the network's budget (see `methods.allocation`).
DEVIATION: the scale of `signed_kaiming_constant` is not divided by the keep ratio; under batch norm it cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import nn

from methods.base import Architecture, Method, Phase, Target
from methods.layers import (
    CompressedConv2d,
    binary_sign,
    compressed_layers,
    refresh_masks,
    set_budgets,
    to_plain,
)


@dataclass(frozen=True)
class EdgePopup(Method):
    """Adversarial edge-popup: selects a subnetwork of a frozen random network by trained scores."""

    name: ClassVar[str] = "edge_popup"

    score_init: Literal["uniform", "normal"] = "uniform"
    score_scale: float = 0.01  # half width of the uniform, standard deviation of the normal
    binary_init: Literal["pm1", "signed_kaiming_constant"] = "pm1"  # one magnitude per layer, random sign
    fp_init: Literal["uniform_pm1"] = "uniform_pm1"  # U(-1, 1)
    lr: float = 0.1  # SGD, cosine
    weight_decay: float = 5e-4  # on the scores

    def __post_init__(self) -> None:
        if self.score_scale <= 0:
            raise ValueError(f"score_scale must be positive, got {self.score_scale:g}")

    def refusal(self, target: Target) -> str | None:
        """Refuse a dense target: with every weight kept there is nothing to choose."""
        return "edge_popup selects weights: keep_ratio must be below 1" if target.dense else None

    def build(self, architecture: Architecture, target: Target) -> nn.Module:
        """Draw and freeze the random weights, draw the scores, and choose the first masks."""
        conv = partial(CompressedConv2d, scored=True)
        model = architecture(conv=conv, norm=partial(nn.BatchNorm2d, affine=False))
        set_budgets(model, target)
        for layer in compressed_layers(model):
            self._draw(layer, target)
        refresh_masks(model)
        return model

    def phases(self, epochs: int, target: Target) -> Sequence[Phase]:
        """Return one phase that trains the scores alone."""
        return [Phase("search", epochs, frozenset({"scores"}), self.lr, weight_decay=self.weight_decay)]

    def after_step(self, model: nn.Module, phase: Phase, step: int) -> None:
        """Choose the masks anew: once per update, shared by all passes of the next attack."""
        refresh_masks(model)

    def export(self, model: nn.Module) -> nn.Module:
        """Return the selected subnetwork as plain convolutions with zeros for what was dropped."""
        return to_plain(model)

    @torch.no_grad()
    def _draw(self, layer: CompressedConv2d, target: Target) -> None:
        if target.weights == "fp":
            layer.weight.uniform_(-1.0, 1.0)
        else:
            # The layer arrives with torch's default initialisation, whose sign is a fair coin.
            gain = math.sqrt(2.0 / layer.fan_in) if self.binary_init == "signed_kaiming_constant" else 1.0
            layer.weight.copy_(gain * binary_sign(layer.weight))
        assert layer.scores is not None, "built with scored=True"
        if self.score_init == "uniform":
            layer.scores.uniform_(-self.score_scale, self.score_scale)
        else:
            layer.scores.normal_(0.0, self.score_scale)
