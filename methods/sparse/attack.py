"""Replaces the passes of a training step by sparse ones, where the network keeps few of its weights.

In train mode a pass is that of `passes`; attacks in eval mode have the norms folded into the convolutions, as for an
evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.sparse.network import Floats, SparseNetwork, share_of_dense
from methods.sparse.parts import NormedConv, ResidualParts
from methods.sparse.support import kernel_name, kernels

MAX_SHARE = 0.2  # see `share_of_dense`; above it dense passes are about as fast

DENSE = "dense"

_arenas: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], list[Floats]]] = WeakKeyDictionary()
_used: str | None = None  # by the training steps of this process that could be sparse


def kernels_used() -> str | None:
    """Return what has computed those training steps of this process that could be sparse; None if there were none."""
    return _used


def kernels_to_use() -> str:
    """Return what computes such steps here."""
    return kernel_name() or DENSE


@dataclass(frozen=True)
class FoldedConv:
    """A convolution with the norm after it folded in, see `program.Convolution`."""

    weight: Tensor
    bias: Tensor
    stride: int
    padding: int


@dataclass(frozen=True)
class FoldedBlock:
    """See `program.Block`."""

    convs: tuple[FoldedConv, ...]
    shortcut: FoldedConv | None
    stride: int


@dataclass(frozen=True)
class FoldedParts:
    """See `program.Folded`."""

    mean: Tensor
    std: Tensor
    stem: FoldedConv
    blocks: tuple[FoldedBlock, ...]
    classifier: FoldedConv


class SparseStep:
    """In place of the network's own `forward` within a training step, during which its weights do not change."""

    def __init__(self, model: nn.Module, parts: ResidualParts, compiled: ModuleType) -> None:
        self.model, self.parts, self.compiled = model, parts, compiled
        self.plans: dict[torch.Size, Any] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits, differentiable in images, held weights and norms; the network's own where it is in eval mode.
        """
        if not self.fits(images) or not self.model.training:
            logits: Tensor = type(self.model).forward(self.model, images)
            return logits
        return self.in_train_mode(images, parameters=True)

    def fits(self, images: Tensor) -> bool:
        """Return whether passes with such images are those of this class; of one image, norms have no statistics."""
        plain = images.dtype == torch.float32 and images.device.type == "cpu" and images.ndim == 4
        return plain and len(images) > 1 and not torch.is_autocast_enabled("cpu")

    def in_train_mode(self, images: Tensor, *, parameters: bool) -> Tensor:
        """Return logits, differentiable in images, and with `parameters` in held weights and norms."""
        from methods.sparse.passes import features  # compiles kernels
        from methods.sparse.training import TrainingPlan

        if images.shape not in self.plans:
            self.plans[images.shape] = TrainingPlan(self.parts, images.shape)
        free = _arenas.setdefault(self.model, {})
        means = features(self.plans[images.shape], free, images, parameters=parameters)
        classifier = self.parts.classifier
        logits: Tensor = classifier.norm(F.conv2d(means[:, :, None, None], classifier.conv._held))
        return logits.flatten(1)

    def attacking(self) -> Callable[[Tensor], Tensor]:
        """Return what computes logits for an attack, in the mode that the network has now."""
        if self.model.training:
            return lambda images: self.in_train_mode(images, parameters=False)
        network, norm = SparseNetwork(_folded(self.parts), self.compiled), self.parts.classifier.norm

        def in_eval_mode(images: Tensor) -> Tensor:
            logits: Tensor = norm(network(images)[:, :, None, None])
            return logits.flatten(1)

        return in_eval_mode


@contextmanager
def sparse_step(model: nn.Module) -> Iterator[None]:
    """Let the network's forward passes in train mode inside the block be sparse, if it can be done and is faster.

    Weights must be held, and nothing but running statistics and modes may change inside the block.
    """
    parts = residual_parts(model)
    if parts is None or share_of_dense(_folded(parts)) > MAX_SHARE:
        yield
        return
    global _used
    compiled, _used = kernels(), kernels_to_use()
    if compiled is None:
        yield
        return
    object.__setattr__(model, "forward", SparseStep(model, parts, compiled))
    try:
        yield
    finally:
        object.__delattr__(model, "forward")


@contextmanager
def sparse_attack(model: nn.Module) -> Iterator[bool]:
    """Let the passes of an attack inside the block be sparse, within `sparse_step`, if it is one; yield whether.

    The mode must not change inside the block. Gradients reach the images alone.
    """
    step = vars(model).get("forward")
    if not isinstance(step, SparseStep):
        yield False
        return
    held = (part.conv._held for part in (*step.parts.convolutions(), step.parts.classifier))
    sparse = all(each.dtype == torch.float32 for each in held) and not torch.is_autocast_enabled("cpu")
    if sparse:
        object.__setattr__(model, "forward", step.attacking())
    else:
        object.__delattr__(model, "forward")
    try:
        yield sparse
    finally:
        object.__setattr__(model, "forward", step)


def residual_parts(model: nn.Module) -> ResidualParts | None:
    """Return the parts of a network in float32 on the CPU that has no other computation than these; else None."""
    describe: Callable[[], ResidualParts | None] | None = getattr(model, "residual_parts", None)
    parts = None if describe is None else describe()
    compiled = model._compiled_call_impl is not None  # traces of its own passes
    if parts is None or compiled or "forward" in vars(model) or any(_hooked(module) for module in model.modules()):
        return None
    plain = all(_plain(each, normed=True) for each in parts.convolutions()) and _plain(parts.classifier, normed=False)
    return parts if plain else None


def _hooked(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def _plain(part: NormedConv, *, normed: bool) -> bool:
    """Return whether a convolution holds its weight, is of a size that programs have, and has an ordinary norm.

    Only weights in channels_last, the layout of training: contiguous ones give the bits of a plain implementation.
    """
    held, norm = getattr(part.conv, "_held", None), part.norm
    if not isinstance(held, Tensor) or held.dtype != torch.float32 or held.device.type != "cpu":
        return False
    if not held.is_contiguous(memory_format=torch.channels_last):
        return False
    size = held.shape[2]
    if size not in (1, 3) or part.padding != size // 2 or part.stride not in (1, 2):
        return False
    return not normed or (type(norm) is nn.BatchNorm2d and "forward" not in vars(norm))


def _folded(parts: ResidualParts) -> FoldedParts:
    """Return the network in eval mode with folded norms; the last norm, after the classifier, is left out."""
    blocks = tuple(
        FoldedBlock(
            tuple(_fold(conv) for conv in block.convs),
            None if block.shortcut is None else _fold(block.shortcut),
            1 if block.shortcut is None else block.shortcut.stride,
        )
        for block in parts.blocks
    )
    held = _held(parts.classifier)
    classifier = FoldedConv(held, held.new_zeros(len(held)), 1, 0)
    return FoldedParts(parts.mean, parts.std, _fold(parts.stem), blocks, classifier)


def _held(part: NormedConv) -> Tensor:
    held: Tensor = part.conv._held
    return held.detach()


def _fold(part: NormedConv) -> FoldedConv:
    norm, weight = part.norm, _held(part)
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    if norm.training:  # its weight is as good for counting what is not zero
        return FoldedConv(weight, weight.new_zeros(len(weight)), part.stride, part.padding)
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    bias = -norm.running_mean.double() * scale
    if norm.bias is not None:
        bias = bias + norm.bias.detach().double()
    scaled = (weight.double() * scale[:, None, None, None]).float()
    return FoldedConv(scaled, bias.float(), part.stride, part.padding)
