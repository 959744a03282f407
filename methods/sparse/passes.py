"""Passes in train mode as one differentiable operation on images and parameters, by `TrainingPlan`.

Running statistics move with every forward pass, as in a dense one. Several may be alive before their backward passes:
each has an arena of its own. Results do not depend on the number of threads.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from methods.sparse import sweeps
from methods.sparse.layout import Map
from methods.sparse.lists import Floats
from methods.sparse.network import in_threads, zeros
from methods.sparse.normed import Doubles, NormedLayer, Statistics
from methods.sparse.training import Activation, Backward, Steps, TrainingPlan
from methods.sparse.weight_gradient import weight_gradient

Arenas = dict[tuple[int, ...], list[Floats]]  # free ones, by the images' shape and the arenas' size

# Numbers that are not finite pass through silently, as in torch: the training loop finds them in the loss.
_SILENT = np.errstate(invalid="ignore", over="ignore")
_NO_SWEEPS, _NO_FACTORS = np.zeros((0, 9), np.int64), np.zeros((0, 5, 0), np.float32)
_NO_LOGITS = np.zeros((0, 0), np.float32)


def features(plan: TrainingPlan, free: Arenas, images: Tensor, *, parameters: bool) -> Tensor:
    """Return the features (B, C) of images (B, C, H, W), the means of the last maps; running statistics move.

    Args:
        plan: for the images' shape.
        free: arenas of earlier passes of the network.
        images: differentiable.
        parameters: whether gradients also reach the held weights, and the weights and biases of the norms.
    """
    tensors = []
    for layer, name in plan.parameters if parameters else ():
        tensors.append(layer.part.held() if name == "conv" else getattr(layer.norm, name))
    result: Tensor = _Features.apply(images, plan, free, *tensors)
    return result


def lease(plan: TrainingPlan, free: Arenas) -> Floats:
    """Return arenas that nobody else uses as long as this array is alive; borders of their maps are zero."""
    size = (plan.groups, plan.width)
    kept = free.setdefault((*plan.shape, *size), [])
    memory = kept.pop() if kept else zeros(*size)
    leased = memory[:]
    weakref.finalize(leased, kept.append, memory).atexit = False
    leased[:, plan.stats[0] : plan.image.start] = 0  # sums, after a pass that was interrupted
    return leased


class _Pass:
    """A pass: a plan, arenas, and the statistics of its layers."""

    def __init__(self, plan: TrainingPlan, arenas: Floats, *, keep: bool) -> None:
        self.plan, self.arenas, self.keep = plan, arenas, keep
        self.statistics: dict[NormedLayer, Statistics] = {}

    def _phase(self, steps: Steps, operations: Sequence[_Sweep], images: Floats, pooled: Floats) -> None:
        plan = self.plan
        places, factors = _NO_SWEEPS, _NO_FACTORS
        if operations:
            places = np.array([each.place for each in operations], np.int64)
            factors = np.zeros((len(operations), 5, max(each.channels for each in operations)), np.float32)
            for number, each in enumerate(operations):
                for which, values in enumerate(each.factors):
                    factors[number, which, : each.channels] = values
        fixed = (plan.place, plan.lanes, places, factors, steps, plan.lists, plan.builder.size, plan.strips, plan.masks)

        def part(number: int, begin: int, end: int) -> None:
            thread = -1 if self.keep else number
            sweeps.phase(self.arenas, begin, end, thread, *fixed, plan.ends, images, pooled, _NO_LOGITS)

        in_threads(plan.groups, part)

    def forward(self, images: Floats) -> Floats:
        """Return the features of images."""
        pooled = np.empty((len(images), self.plan.last.channels), np.float32)
        for phase in self.plan.forward:
            operations = [] if phase.activation is None else [self._activated(phase.activation)]
            self._phase(phase.steps, operations, images, pooled)
            for layer in phase.layers:
                self.statistics[layer] = self._measured(layer, len(images))
        return pooled

    def _measured(self, layer: NormedLayer, images: int) -> Statistics:
        sums = np.empty((layer.channels, 2))
        sweeps.collect(self.arenas, layer.stat, sums)
        means, far = layer.means_far_from_zero(sums, images)
        if far.any():
            place = np.array(_Sweep(layer.y, None, layer.y, [], cut=False).place, np.int64)
            fixed = (self.plan.lanes, place, layer.stat, means, far)
            in_threads(self.plan.groups, lambda _, begin, end: sweeps.centre(self.arenas, begin, end, *fixed))
            again = np.empty_like(sums)
            sweeps.collect(self.arenas, layer.stat, again)
            sums[far] = again[far]
        return layer.move_statistics(sums, images, means * far)

    def _activated(self, activation: Activation) -> _Sweep:
        layer, shortcut = activation.layer, activation.shortcut
        own = self.statistics[layer]
        factors = [own.scale, own.mean, np.ones(layer.channels), np.zeros(layer.channels), layer.beta]
        second = activation.beside
        if shortcut is not None:
            beside, second = self.statistics[shortcut], shortcut.y
            factors[2:] = beside.scale, beside.mean, layer.beta + shortcut.beta
        return _Sweep(layer.y, second, activation.place, factors, cut=True)

    def backward(
        self, gradient: Floats, *, to_images: bool, wanted: set[tuple[NormedLayer, str]]
    ) -> tuple[Floats | None, dict[tuple[NormedLayer, str], Tensor]]:
        """Return the gradients of images and parameters from that of the features."""
        plan, results = self.plan, dict[tuple[NormedLayer, str], Tensor]()
        images = np.empty(plan.shape, np.float32)
        self._phase(plan.unpool, [], images, gradient)
        for phase in plan.backward:
            operations = []
            for number, each in enumerate(phase.gradients):
                layer = each.layer
                swept = _Sweep(each.outer, layer.y, each.to_conv, [], cut=False)
                operations.append(swept)
                if number or not phase.counted:
                    self._count(swept, plan.stats[0])
                sums, own = np.empty((layer.channels, 2)), self.statistics[layer]
                sweeps.collect(self.arenas, plan.stats[0], sums)
                to_weight, to_bias = layer.to_norm(sums, own)
                swept.factors.extend(layer.backward_factors(to_weight, to_bias, own))
                for name, value in (("weight", to_weight), ("bias", to_bias)):
                    if (layer, name) in wanted:
                        results[layer, name] = torch.from_numpy(value.astype(np.float32))
            if phase.activation is not None:
                operations.append(self._activated(phase.activation))
            last = phase is plan.backward[-1]
            self._phase(phase.steps[: 0 if last and not to_images else None], operations, images, gradient)
            self._to_weights(phase, wanted, results)
        return (images if to_images else None), results

    def _count(self, swept: _Sweep, stat: int) -> None:
        place = np.array(swept.place, np.int64)
        in_threads(self.plan.groups, lambda _, begin, end: sweeps.count(self.arenas, begin, end, place, stat))

    def _to_weights(
        self, phase: Backward, wanted: set[tuple[NormedLayer, str]], results: dict[tuple[NormedLayer, str], Tensor]
    ) -> None:
        plan = self.plan
        for each in phase.gradients:
            layer, part = each.layer, each.layer.part
            if (layer, "conv") in wanted:
                maps = plan.real(layer.source), plan.real(each.to_conv)
                size = part.conv.weight.shape[2]
                to_weight = weight_gradient(
                    self.arenas, plan.groups, *maps, size=size, stride=part.stride, padding=part.padding
                )
                results[layer, "conv"] = torch.from_numpy(to_weight).contiguous(memory_format=torch.channels_last)


class _Sweep:
    """What a phase reads and writes before its steps, see `sweeps`."""

    def __init__(self, first: Map, second: Map | None, into: Map, factors: list[Doubles], *, cut: bool) -> None:
        self.channels, self.factors = into.channels, factors
        beside = -1 if second is None else second.inner
        shape = (into.rs, into.cs, into.rows, into.cols * into.lanes, into.channels)
        self.place = (first.inner, beside, into.inner, *shape, int(cut))


class _Features(torch.autograd.Function):
    @staticmethod
    @_SILENT
    def forward(ctx: Any, images: Tensor, plan: TrainingPlan, free: Arenas, *parameters: Tensor) -> Tensor:
        arenas = lease(plan, free)
        ctx.network = _Pass(plan, arenas, keep=any(ctx.needs_input_grad[3:]))
        result = ctx.network.forward(images.detach().contiguous().numpy())
        del ctx.network.arenas
        # They are free again as soon as autograd forgets what it has saved.
        ctx.save_for_backward(torch.from_numpy(arenas))
        return torch.from_numpy(result)

    @staticmethod
    @once_differentiable
    @_SILENT
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        network: _Pass = ctx.network
        (arenas,) = ctx.saved_tensors
        network.arenas = arenas.numpy()
        names = network.plan.parameters if len(ctx.needs_input_grad) > 3 else []
        wanted = {name for name, needed in zip(names, ctx.needs_input_grad[3:], strict=True) if needed}
        images, results = network.backward(
            gradient.contiguous().numpy(), to_images=ctx.needs_input_grad[0], wanted=wanted
        )
        del network.arenas
        to_images = None if images is None else torch.from_numpy(images)
        return to_images, None, None, *(results.get(name) for name in names)
