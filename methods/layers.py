"""The compressible layer, and functions on networks made of it.

A layer has a weight and optionally scores and a boolean mask. The network computes with `effective_weight`; `to_plain`
turns the layer into an ordinary convolution for export.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from methods.allocation import weight_budget
from methods.base import Architecture, Granularity, Target, Trainable
from methods.granularity import layer_budgets, score_shape, two_of_four_mask
from methods.projections import joint_top_k_masks
from methods.sparse_attack import SparseConvolution


class _Selected(torch.autograd.Function):
    """Forward: the masked weight. Backward: as if the mask were the score magnitudes, each of its group."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scores, mask)
        return weight * mask

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weight, scores, mask = ctx.saved_tensors
        to_weight, to_scores, _ = ctx.needs_input_grad
        return (
            grads[0] * mask if to_weight else None,
            (grads[0] * weight).sum_to_size(scores.shape).mul_(scores.sgn()) if to_scores else None,
            None,
        )


class _StraightThroughSign(torch.autograd.Function):
    """Forward: +1 where the value is >= 0, else -1. Backward: identity (BinaryConnect, Courbariaux et al. 2015)."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        return binary_sign(values)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Tensor:
        return grads[0]


def binary_sign(values: Tensor) -> Tensor:
    """Return +1 where a value is >= 0 and -1 elsewhere; unlike torch.sign, it never returns 0."""
    return torch.where(values >= 0, 1.0, -1.0).to(values.dtype)


class CompressedConv2d(nn.Module):
    """A bias-free convolution whose weight may be binarised and masked.

    Args:
        in_channels, out_channels, kernel_size, stride, padding: as in torch.nn.Conv2d.
        binary: compute with the sign of `weight` instead of its value.
        scored: add a `scores` parameter of the weight's shape, and a `mask` chosen from it.
    The mask is a buffer and thus part of every checkpoint. `set_budgets` sets the number of weights it keeps; loading a
    checkpoint with another budget raises an error.
    """

    weight: nn.Parameter  # (out, in, k, k)
    scores: nn.Parameter | None  # (out, in, k, k), or smaller and broadcast to it: one per group
    mask: Tensor | None  # (out, in, k, k) bool

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        binary: bool = False,
        scored: bool = False,
    ) -> None:
        super().__init__()
        template = nn.Conv2d(in_channels, out_channels, kernel_size, bias=False)
        self.weight = nn.Parameter(template.weight.detach())  # torch's default initialisation
        shape = self.weight.shape
        self.register_parameter("scores", nn.Parameter(torch.zeros(shape)) if scored else None)
        self.register_buffer("mask", torch.ones(shape, dtype=torch.bool) if scored else None)
        self.stride, self.padding, self.binary = stride, padding, binary
        self.budget_group = 0  # layers of the same group share `keep_count`
        self.keep_count = self.weight.numel()
        self.granularity: Granularity = "weight"
        self._held: Tensor | None = None
        self._sparse: SparseConvolution | None = None  # used in attacks if it is faster

    @property
    def fan_in(self) -> int:
        """Number of inputs per output: in_channels * kernel_size ** 2."""
        return self.weight[0].numel()

    @property
    def group_size(self) -> int:
        """Number of weights that share a score."""
        return 1 if self.scores is None else self.weight.numel() // self.scores.numel()

    def set_granularity(self, granularity: Granularity) -> None:
        """Replace the scores by zeros, one per group of `granularity`."""
        self.granularity = granularity
        self.scores = nn.Parameter(torch.zeros(score_shape(self.weight.shape, granularity)))

    def effective_weight(self) -> Tensor:
        """Return the weight that the network computes with, differentiable in `weight` and `scores`.

        All scores get the gradient dL/d(effective) * weight * sign(score) (edge-popup, Ramanujan et al. 2020), summed
        over the weights of a group.
        """
        weight: Tensor = self.weight
        if self.binary:
            weight = _StraightThroughSign.apply(weight)  # type: ignore[no-untyped-call]
        if self.mask is None:
            return weight
        if self.scores is not None and self.scores.requires_grad:
            return _Selected.apply(weight, self.scores, self.mask)  # type: ignore[no-untyped-call, no-any-return]
        return weight * self.mask

    def forward(self, images: Tensor) -> Tensor:
        """Convolve (B, in, H, W) feature maps with the effective weight."""
        if self._sparse is not None:
            return self._sparse(images)
        weight = self.effective_weight() if self._held is None else self._held
        return F.conv2d(images, weight, stride=self.stride, padding=self.padding)

    def get_extra_state(self) -> dict[str, int]:
        """Return the budget, to store it in the state dict."""
        return {"budget_group": self.budget_group, "keep_count": self.keep_count}

    def set_extra_state(self, state: Any) -> None:
        """Refuse a state dict with another budget.

        Raises:
            ValueError: if the stored budget differs from this layer's.
        """
        if state != self.get_extra_state():
            raise ValueError(f"checkpoint was made with budget {state}, but this network has {self.get_extra_state()}")


def compressed_layers(model: nn.Module) -> list[CompressedConv2d]:
    """Return the compressible layers in module order."""
    return [module for module in model.modules() if isinstance(module, CompressedConv2d)]


def set_budgets(model: nn.Module, target: Target) -> None:
    """Set the exact weight budget of every compressible layer, and give its groups of weights one score each.

    Raises:
        ValueError: if the target leaves a layer, or the network, without weights.
    """
    layers = compressed_layers(model)
    sizes = [layer.weight.numel() for layer in layers]
    for layer in layers if target.granularity != "weight" else ():
        layer.set_granularity(target.granularity)
    if target.allocation == "global" and target.granularity == "weight":
        if weight_budget(sum(sizes), target.keep_ratio) < 1:
            raise ValueError(f"keep_ratio {target.keep_ratio:g} of {sum(sizes):,} weights keeps none; raise it")
        for layer in layers:
            layer.budget_group, layer.keep_count = 0, weight_budget(sum(sizes), target.keep_ratio)
        return
    budgets = layer_budgets([layer.weight.shape for layer in layers], target)
    for group, (layer, count) in enumerate(zip(layers, budgets, strict=True)):
        layer.budget_group, layer.keep_count = group, count


def budget_groups(model: nn.Module) -> list[list[CompressedConv2d]]:
    """Return the groups of layers that share a budget: one layer each, or all layers for a global budget."""
    groups: dict[int, list[CompressedConv2d]] = {}
    for layer in compressed_layers(model):
        groups.setdefault(layer.budget_group, []).append(layer)
    for layers in groups.values():
        assert len({layer.keep_count for layer in layers}) == 1, (
            "set_budgets must be called before masks and projections"
        )
    return list(groups.values())


@torch.no_grad()
def refresh_masks(model: nn.Module) -> None:
    """Set every mask to the largest score magnitudes of its budget group; call it after scores change."""
    for layers in budget_groups(model):
        magnitudes = [layer.scores.abs() for layer in layers if layer.scores is not None]
        if layers[0].granularity == "2:4":
            masks = [two_of_four_mask(scores) for scores in magnitudes]
        else:
            masks = joint_top_k_masks(magnitudes, layers[0].keep_count // layers[0].group_size)
        for layer, mask in zip(layers, masks, strict=True):
            assert layer.mask is not None, "a scored layer has a mask"
            layer.mask.copy_(mask)  # broadcasts a group's bit to its weights


@torch.no_grad()
def clip_latent(model: nn.Module) -> None:
    """Clip the latent weights of binary layers to [-1, 1], as weights far outside could hardly change sign."""
    for layer in compressed_layers(model):
        if layer.binary:
            layer.weight.clamp_(-1.0, 1.0)


def build_prunable(architecture: Architecture, target: Target, *, binary: bool) -> nn.Module:
    """Build a network with budgets and with masks that keep all weights until a method prunes.

    Weights are Kaiming-normal, batch norm is affine; with `binary`, the network computes with signs of latent weights.
    """
    model = architecture(conv=partial(CompressedConv2d, scored=True, binary=binary), norm=nn.BatchNorm2d)
    set_budgets(model, target)
    for layer in compressed_layers(model):
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    clip_latent(model)
    return model


def parameters_by_role(model: nn.Module) -> dict[Trainable, dict[str, nn.Parameter]]:
    """Return a network's parameters by role, each by qualified name: scores, normalisation, or weights (all others)."""
    roles: dict[Trainable, dict[str, nn.Parameter]] = {"weights": {}, "scores": {}, "norm": {}}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if name.rpartition(".")[2] == "scores":
                roles["scores"][name] = parameter
            elif isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm):
                roles["norm"][name] = parameter
            else:
                roles["weights"][name] = parameter
    return roles


@torch.no_grad()
def to_plain(model: nn.Module) -> nn.Module:
    """Return a copy in which every compressible layer is an ordinary torch.nn.Conv2d; `model` is unchanged."""
    plain = copy.deepcopy(model)
    for parent in list(plain.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, CompressedConv2d):
                out, inner, size, _ = layer.weight.shape
                conv = nn.Conv2d(inner, out, size, layer.stride, layer.padding, bias=False, device="meta")
                conv.weight = nn.Parameter(layer.effective_weight().detach().clone(), requires_grad=False)
                setattr(parent, name, conv)
    return plain.requires_grad_(False).eval()
