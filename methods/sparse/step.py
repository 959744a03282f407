"""Replaces the passes of a training step by sparse ones, where the network keeps few of its weights.

In train mode a pass is that of `passes`; attacks in eval mode have the norms folded into the convolutions, as for an
evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers import CompressedConv2d
from methods.sparse.folding import folded
from methods.sparse.network import Floats, SparseNetwork, share_of_dense
from methods.sparse.parts import NormedConv, ResidualParts
from methods.sparse.support import kernel_name, kernels

MAX_SHARE = 0.2  # see `share_of_dense`; above it dense passes are about as fast

DENSE = "dense"

_arenas: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], list[Floats]]] = WeakKeyDictionary()
_used: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()  # by the network's steps that could be sparse


def kernels_used(model: nn.Module) -> str | None:
    """Return what has computed those training steps of a network that could be sparse; None if there were none."""
    return _used.get(model)


def kernels_to_use() -> str:
    """Return what computes such steps of a new network here."""
    return kernel_name() or DENSE


def keep_kernels(model: nn.Module, used: str) -> None:
    """Let a network's training go on with what it has begun: `DENSE`, or the kernels that are here."""
    assert used in (DENSE, kernels_to_use()), "the caller has refused other kernels"
    _used[model] = used


class SparseStep:
    """In place of the network's own `forward` within a training step, during which its weights do not change."""

    def __init__(self, model: nn.Module, parts: ResidualParts, compiled: ModuleType) -> None:
        self.model, self.parts, self.compiled = model, parts, compiled
        self.plans: dict[torch.Size, Any] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits, differentiable in images, held weights and norms; the network's own in eval mode."""
        return self.in_train_mode(images, parameters=True) if self.model.training else self.dense(images)

    def dense(self, images: Tensor) -> Tensor:
        """Return what the network's own `forward` computes."""
        logits: Tensor = type(self.model).forward(self.model, images)
        return logits

    def fits(self, images: Tensor) -> bool:
        """Return whether passes with such images are those of this class; of one image, norms have no statistics."""
        plain = images.dtype == torch.float32 and images.device.type == "cpu" and images.ndim == 4 and len(images) > 1
        return plain and not torch.is_autocast_enabled("cpu") and self.one_mode()

    def one_mode(self) -> bool:
        """Return whether all norms are in the network's mode."""
        return all(part.norm.training == self.model.training for part in self.parts.convolutions())

    def in_train_mode(self, images: Tensor, *, parameters: bool) -> Tensor:
        """Return logits, differentiable in images, and with `parameters` in held weights and norms."""
        if not self.fits(images):
            return self.dense(images)
        from methods.sparse.passes import features  # compiles kernels
        from methods.sparse.training import TrainingPlan

        if images.shape not in self.plans:
            self.plans[images.shape] = TrainingPlan(self.parts, images.shape)
        free = _arenas.setdefault(self.model, {})
        means = features(self.plans[images.shape], free, images, parameters=parameters)
        classifier = self.parts.classifier
        logits: Tensor = classifier.norm(F.conv2d(means[:, :, None, None], classifier.held()))
        return logits.flatten(1)

    def attacking(self) -> Callable[[Tensor], Tensor]:
        """Return what computes logits for an attack, in the mode that the network has now."""
        if self.model.training:
            return partial(self.in_train_mode, parameters=False)
        network, norm = SparseNetwork(folded(self.parts), self.compiled), self.parts.classifier.norm

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
    if parts is None or share_of_dense(folded(parts)) > MAX_SHARE:
        yield
        return
    compiled = kernels()
    if _used.setdefault(model, kernels_to_use()) == DENSE or compiled is None:
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
    held = (part.held() for part in (*step.parts.convolutions(), step.parts.classifier))
    exact = all(each.dtype == torch.float32 for each in held) and not torch.is_autocast_enabled("cpu")
    sparse = exact and step.one_mode()
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
    if type(part.conv).forward is not CompressedConv2d.forward or "forward" in vars(part.conv):
        return False
    if not isinstance(held, Tensor) or held.dtype != torch.float32 or held.device.type != "cpu":
        return False
    if not held.is_contiguous(memory_format=torch.channels_last):
        return False
    size = held.shape[2]
    if size not in (1, 3) or part.padding != size // 2 or part.stride not in (1, 2):
        return False
    return not normed or (type(norm) is nn.BatchNorm2d and "forward" not in vars(norm))
