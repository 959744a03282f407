"""ATMC (Gui et al. 2019): adversarial training under a weight budget and, optionally, few values per layer.

Phases: dense training; projected training, in which only the largest weights within the budget survive every step
(others may come back); and for 1-bit targets ADMM quantisation, in which a copy Z with two nonzero values per layer and
the weights are pulled towards each other. Z is deployed.
DEVIATION: 1-D two-means is solved exactly over the sorted weights instead of by Lloyd iterations from random seeds.
DEVIATION: only surviving weights are clustered, so that Z keeps the budget; the original does not enforce it on Z.
DEVIATION: budgets per layer (p) beside the original's global one; no low-rank decomposition.
DEVIATION: survivors are never moved to the level zero, which the original's clusters include.
DEVIATION: Z starts as the quantised W, the original's as W itself until the first update.
DEVIATION: `interval` counts the steps of the whole phase; the original's counts those of each epoch anew.
DEVIATION: every phase goes on from the last epoch of the one before, the original's from its best one.
DEVIATION: no other method here learns levels: a binary row of ATMC is 1-bit with learned levels, two per layer.
DEVIATION: the attack is the suite's, with a random start; the original's random start has no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from methods.base import Architecture, Batch, Method, Objective, Phase, Target, Trainable
from methods.layers import CompressedConv2d, budget_groups, compressed_layers, set_budgets, to_plain
from methods.projections import joint_top_k_masks, two_means

WEIGHTS: frozenset[Trainable] = frozenset({"weights", "norm"})


class AdmmConv2d(CompressedConv2d):
    """A convolution with the variables of ADMM: the quantised copy Z and the scaled dual U."""

    quantized: Tensor  # Z, of the weight's shape
    dual: Tensor  # U, of the weight's shape

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, padding=padding)
        self.register_buffer("quantized", torch.zeros_like(self.weight))
        self.register_buffer("dual", torch.zeros_like(self.weight))

    @torch.no_grad()
    def quantize(self) -> None:
        """Set Z to the two-level projection of W + U for surviving weights, and to zero elsewhere."""
        alive = self.weight != 0
        self.quantized.zero_()
        if alive.any():
            self.quantized[alive] = two_means((self.weight + self.dual)[alive])


@dataclass(frozen=True)
class Atmc(Method):
    """ATMC: projected adversarial training; 1-bit by ADMM with two learned levels per layer."""

    name: ClassVar[str] = "atmc"
    objective: ClassVar[str] = "half_clean"

    dense_share: float = 200 / 550  # of the epochs; without quantisation, its share goes to the other two phases
    sparse_share: float = 200 / 550
    dense_lr: float = 0.05  # SGD, divided by 10 at the original's epochs
    sparse_lr: float = 0.01
    quantize_lr: float = 0.005
    # "cosine" is for short runs: in a phase of three epochs, the original's steps leave only one epoch to learn in.
    schedule: Literal["step", "cosine"] = "step"
    weight_decay: float = 1e-4
    rho: float = 0.1  # weight of ADMM's penalty
    interval: int = 10  # steps between updates of Z and U, counted from the start of the phase
    bn_recalibrate: bool = False  # the original deploys Z with the batch-norm statistics gathered under W

    def __post_init__(self) -> None:
        if not (self.dense_share > 0 and self.sparse_share > 0 and self.dense_share + self.sparse_share < 1):
            raise ValueError(
                "dense_share and sparse_share are shares of the epochs, above 0 and together below 1, "
                f"got {self.dense_share:g} and {self.sparse_share:g}"
            )
        if self.rho <= 0:
            raise ValueError(f"rho must be positive, got {self.rho:g}")
        if self.interval < 1:
            raise ValueError(f"interval must be at least 1 step, got {self.interval}")

    def refusal(self, target: Target) -> str | None:
        """Refuse a dense target: the projection would do nothing."""
        return "atmc projects onto a weight budget: keep_ratio must be below 1" if target.dense else None

    def build(self, architecture: Architecture, target: Target) -> nn.Module:
        """Build a dense network with Kaiming-normal weights and affine batch norm."""
        conv = AdmmConv2d if target.weights == "binary" else CompressedConv2d
        model = architecture(conv=conv, norm=nn.BatchNorm2d)
        set_budgets(model, target)
        for layer in compressed_layers(model):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        return model

    def phases(self, epochs: int, target: Target) -> Sequence[Phase]:
        """Return dense and projected training, and quantisation for 1-bit targets, at least one epoch each."""
        quantized = target.weights == "binary"
        if epochs < 2 + quantized:
            raise ValueError(
                f"atmc has {2 + quantized} phases here and needs at least {2 + quantized} epochs, got {epochs}"
            )
        total = 1.0 if quantized else self.dense_share + self.sparse_share
        dense = min(max(1, round(epochs * self.dense_share / total)), epochs - 1 - quantized)
        sparse = min(max(1, round(epochs * self.sparse_share / total)), epochs - dense - quantized)
        if not quantized:
            sparse = epochs - dense
        # Milestones of the original's example runs, as fractions of their 200, 200 and 150 epochs.
        phases = [
            self._phase("dense", dense, self.dense_lr, (0.4, 0.6, 0.75)),
            self._phase("sparse", sparse, self.sparse_lr, (0.15, 0.3, 0.45, 0.6)),
        ]
        if quantized:
            phases.append(self._phase("quantize", epochs - dense - sparse, self.quantize_lr, (0.4, 8 / 15, 0.8)))
        return phases

    def begin_phase(self, model: nn.Module, phase: Phase) -> None:
        """Project the weights before projected training and quantisation; initialise Z before quantisation."""
        if phase.name != "dense":
            project(model)
        if phase.name == "quantize":
            for layer in admm_layers(model):
                layer.quantize()

    def loss(self, model: nn.Module, phase: Phase, batch: Batch, objective: Objective) -> Tensor:
        """Add ADMM's penalty rho / 2 * sum ||W + U - Z||^2 during quantisation."""
        loss = objective(model, batch)
        if phase.name == "quantize":
            distance = [(layer.weight + layer.dual - layer.quantized).square().sum() for layer in admm_layers(model)]
            loss = loss + self.rho / 2 * torch.stack(distance).sum()
        return loss

    def after_step(self, model: nn.Module, phase: Phase, step: int) -> None:
        """Project onto the budget after every step; every `interval` steps, update Z and then U."""
        if phase.name == "dense":
            return
        project(model)
        if phase.name == "quantize" and step > 0 and step % self.interval == 0:
            with torch.no_grad():
                for layer in admm_layers(model):
                    layer.quantize()
                    layer.dual += layer.weight - layer.quantized

    def export(self, model: nn.Module) -> nn.Module:
        """Return the projected network; once quantisation has started, with Z in place of W in every layer."""
        plain = to_plain(model)
        convolutions = [module for module in plain.modules() if isinstance(module, nn.Conv2d)]
        # With a global budget, a layer's Z may be all zero, and lacks weights that the layer got since Z's last update.
        if any(bool(layer.quantized.any()) for layer in admm_layers(model)):
            for layer, conv in zip(admm_layers(model), convolutions, strict=True):
                conv.weight.copy_(layer.quantized)
        return plain

    def _phase(self, name: str, epochs: int, lr: float, milestones: tuple[float, ...]) -> Phase:
        decay = self.weight_decay
        return Phase(name, epochs, WEIGHTS, lr, weight_decay=decay, schedule=self.schedule, milestones=milestones)


def admm_layers(model: nn.Module) -> list[AdmmConv2d]:
    """Return the layers that have ADMM variables."""
    return [layer for layer in compressed_layers(model) if isinstance(layer, AdmmConv2d)]


@torch.no_grad()
def project(model: nn.Module) -> None:
    """Keep the largest weight magnitudes of every budget group and zero the rest, in place."""
    for layers in budget_groups(model):
        masks = joint_top_k_masks([layer.weight.abs() for layer in layers], layers[0].keep_count)
        for layer, mask in zip(layers, masks, strict=True):
            layer.weight.mul_(mask)
