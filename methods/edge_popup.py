"""Adversarial edge-popup: the weights stay random, training only chooses which of them to keep.

Liu, Zhao, Süsstrunk, Salzmann, NeurIPS 2022, after Ramanujan et al. 2020. A layer keeps the weights with the largest
score magnitudes, as many as its budget allows; scores are trained through the selection as if it were the identity.
Batch norm has no affine part, so the scores are the only trainable tensors.
DEVIATION: layer budgets are exact integers that add up to the network's budget (see `methods.allocation`).
DEVIATION: `scale_fan` scales fan_in by the ratio kept; one of the released code's two spellings uses the ratio removed.
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
    score_fan: Literal["none", "all", "last", "all_but_last"] = "none"  # layers whose scale is over sqrt(fan_in)
    binary_init: Literal["pm1", "signed_kaiming_constant"] = "pm1"  # one magnitude per layer, random sign
    fp_init: Literal["uniform_pm1", "kaiming_normal", "kaiming_uniform"] = "uniform_pm1"  # U(-1, 1)
    scale_fan: Literal["none", "global", "layer"] = "none"  # kaiming gains count only the kept share of fan_in
    lr: float = 0.1  # SGD, cosine
    weight_decay: float = 5e-4  # on the scores

    def __post_init__(self) -> None:
        if self.score_scale <= 0:
            raise ValueError(f"score_scale must be positive, got {self.score_scale:g}")

    def refusal(self, target: Target) -> str | None:
        """Refuse a dense target, where there is nothing to choose, and layer-wise scaling without layer budgets."""
        if target.dense:
            return f"{self.name} selects weights: keep_ratio must be below 1"
        if self.scale_fan == "layer" and target.allocation == "global":
            return f"{self.name}: scale_fan 'layer' needs budgets per layer; allocation is global"
        return None

    def build(self, architecture: Architecture, target: Target) -> nn.Module:
        """Draw and freeze the random weights, draw the scores, and choose the first masks."""
        conv = partial(CompressedConv2d, scored=True)
        model = architecture(conv=conv, norm=partial(nn.BatchNorm2d, affine=False))
        set_budgets(model, target)
        layers = compressed_layers(model)
        for layer in layers:
            self._draw_weights(layer, target)
            self._draw_scores(layer, last=layer is layers[-1])
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
    def _draw_weights(self, layer: CompressedConv2d, target: Target) -> None:
        gain = math.sqrt(2.0 / (layer.fan_in * self._kept_share(layer, target)))
        if target.weights == "binary":
            # The layer arrives with torch's default initialisation, whose sign is a fair coin.
            magnitude = gain if self.binary_init == "signed_kaiming_constant" else 1.0
            layer.weight.copy_(magnitude * binary_sign(layer.weight))
        elif self.fp_init == "uniform_pm1":
            layer.weight.uniform_(-1.0, 1.0)
        elif self.fp_init == "kaiming_normal":
            layer.weight.normal_(0.0, gain)
        else:
            bound = math.sqrt(3.0) * gain  # the uniform with the normal's variance
            layer.weight.uniform_(-bound, bound)

    def _kept_share(self, layer: CompressedConv2d, target: Target) -> float:
        """Return the share of fan_in that Kaiming's gain counts."""
        if self.scale_fan == "none":
            return 1.0
        return target.keep_ratio if self.scale_fan == "global" else layer.keep_count / layer.weight.numel()

    @torch.no_grad()
    def _draw_scores(self, layer: CompressedConv2d, *, last: bool) -> None:
        assert layer.scores is not None, "built with scored=True"
        scaled = self.score_fan == "all" or self.score_fan == ("last" if last else "all_but_last")
        scale = self.score_scale / math.sqrt(layer.fan_in) if scaled else self.score_scale
        if self.score_init == "uniform":
            layer.scores.uniform_(-scale, scale)
        else:
            layer.scores.normal_(0.0, scale)
