"""The plan of a pass in train mode: batch norm with the statistics of the batch, gradients to images and parameters.

The convolutions are those of a program. Batch norm needs the sums over all images before the next convolution, so that
a pass goes layer by layer, in phases: each normalises maps and convolves them, one group of images after the other.
What a phase alone reads lies in scratch memory, which stays in the cache; a backward pass computes it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from methods.sparse import kernels
from methods.sparse.layout import PACK, POOL, UNPACK, UNPOOL, Map
from methods.sparse.normed import NormedLayer
from methods.sparse.parts import NormedConv, ResidualBlock, ResidualParts
from methods.sparse.plan import Builder
from methods.sparse.sweeps import SCRATCH
from methods.sparse.tile import LANES

Steps = NDArray[np.int64]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Activation:
    """ReLU of a layer's norm, plus the maps of an earlier block or the norm of a shortcut."""

    layer: NormedLayer
    place: Map
    beside: Map | None = None
    shortcut: NormedLayer | None = None


@dataclass(frozen=True)
class Forward:
    """A phase: an activation, steps that read it, and the layers whose sums they count."""

    activation: Activation | None
    steps: Steps
    layers: tuple[NormedLayer, ...]


@dataclass(frozen=True)
class Gradient:
    """Of a layer: after its norm (and the ReLU, if it is positive), and where to write that after its convolution."""

    layer: NormedLayer
    outer: Map
    to_conv: Map


@dataclass(frozen=True)
class Backward:
    """A phase: gradients of a layer, and of the shortcut beside it; then steps.

    Attributes:
        counted: whether the sums for the first layer are there.
        activation: in scratch memory, which the layer has read; None: it is where it was.
    """

    gradients: tuple[Gradient, ...]
    counted: bool
    activation: Activation | None
    steps: Steps


class TrainingPlan:
    """Of a residual network with the weights that it has when this is made, for batches of one shape."""

    def __init__(self, parts: ResidualParts, shape: torch.Size) -> None:
        """Take parts as `step.residual_parts` returns them, and the images' shape (B, C, H, W)."""
        self.shape, self.groups, self.builder = shape, -(-shape[0] // LANES), Builder(LANES, (1, 1))
        self.lanes = shape[0] - (self.groups - 1) * LANES
        self.scratch: dict[tuple[str, Shape], Map] = {}
        self.scratch_size = self.begun = 0
        builder, (_, channels, rows, cols) = self.builder, shape
        widest = max(layer.conv.weight.shape[0] for layer in parts.convolutions())
        self.stats = [builder.space(2 * LANES * widest) for _ in range(2)]
        self.image = builder.map(channels, rows, cols)
        self.forward: list[Forward] = []
        self.layers: list[NormedLayer] = []
        self.blocks: list[tuple[list[NormedLayer], NormedLayer | None, list[Activation]]] = []
        self._plan_forward(parts)
        self._plan_backward()
        # What a pass is differentiable in, beside images: each layer's held weight, and its norm's weight and bias.
        self.parameters: list[tuple[NormedLayer, str]] = []
        for layer in self.layers:
            affine = [name for name in ("weight", "bias") if getattr(layer.norm, name) is not None]
            self.parameters.extend((layer, name) for name in ("conv", *affine))
        self.lists = builder.lists.arrays(builder.tiles)
        self.place = -(-(builder.size + builder.part) // 16) * 16  # of scratch memory
        self.width = self.place + self.scratch_size
        pixels = (parts.mean.flatten(), 1 / parts.std.flatten())
        nothing = np.zeros((self.last.channels, 0), np.float32)
        self.ends = (*(each.float().numpy() for each in pixels), nothing, np.zeros(0, np.float32))
        self.strips, self.masks = np.array([LANES, 1, 1], np.int64), kernels.lane_masks(LANES, 1, 1)

    def real(self, place: Map) -> Map:
        """Return where a map lies in an arena, if each group uses its own scratch memory."""
        return replace(place, start=place.start - SCRATCH + self.place) if place.start >= SCRATCH else place

    def _temporary(self, name: str, like: Map) -> Map:
        """Return the map of a name and shape in scratch memory."""
        shape = like.channels, like.rows, like.cols
        if (name, shape) not in self.scratch:
            self.scratch[name, shape] = Map(SCRATCH + self.scratch_size, *shape, LANES)
            self.scratch_size += -(-self.scratch[name, shape].size // 16) * 16 + 16
        return self.scratch[name, shape]

    def _cut(self) -> Steps:
        """Return the steps since the last cut."""
        first, self.begun = self.begun, len(self.builder.steps)
        return self.builder.cut(first)

    def _layer(self, part: NormedConv, source: Map, stat: int = 0) -> NormedLayer:
        self.layers.append(NormedLayer(part, source, self.builder, self.stats[stat]))
        return self.layers[-1]

    def _plan_forward(self, parts: ResidualParts) -> None:
        builder = self.builder
        builder.map_step(PACK, self.image)
        stem = self._layer(parts.stem, self.image)
        self.forward.append(Forward(None, self._cut(), (stem,)))
        activation = Activation(stem, self._like(stem.y))
        for block in parts.blocks:
            activation = self._plan_block(block, activation)
        self.last = activation.place
        builder.map_step(POOL, self.last)
        self.forward.append(Forward(activation, self._cut(), ()))

    def _plan_block(self, block: ResidualBlock, activation: Activation) -> Activation:
        first, layers, activations = activation, list[NormedLayer](), list[Activation]()
        shortcut: NormedLayer | None = None
        for part in block.convs:
            layers.append(self._layer(part, activation.place))
            if part is block.convs[0] and block.shortcut is not None:
                shortcut = self._layer(block.shortcut, first.place, stat=1)
            here = layers[-1:] if part is not block.convs[0] or shortcut is None else [layers[0], shortcut]
            self.forward.append(Forward(activation, self._cut(), tuple(here)))
            activations.append(activation)
            activation = Activation(layers[-1], self._temporary("source", layers[-1].y))
        self.blocks.append((layers, shortcut, activations))
        beside = first.place if shortcut is None else None
        return Activation(layers[-1], self._like(layers[-1].y), beside, shortcut)

    def _like(self, place: Map) -> Map:
        return self.builder.map(place.channels, place.rows, place.cols)

    def _plan_backward(self) -> None:
        builder, spare = self.builder, dict[Shape, list[Map]]()

        def new(like: Map, *avoid: Map) -> Map:
            made = spare.setdefault((like.channels, like.rows, like.cols), [])
            free = next((each for each in made if each not in avoid), None)
            if free is None:
                made.append(free := self._like(like))
            return free

        self.backward: list[Backward] = []
        outer, counted = new(self.last), False
        builder.map_step(UNPOOL, outer, mask=self.last.start - outer.start)
        self.unpool = self._cut()
        stat = self.stats[0]
        for layers, shortcut, activations in reversed(self.blocks):
            here = outer
            for layer, activation in zip(layers[:0:-1], activations[:0:-1], strict=True):
                to_conv, target = self._temporary("gradient", layer.y), new(activation.place, outer, here)
                layer.plan_backward(to_conv, target, activation.place, stat, activation.layer.y)
                self.backward.append(Backward((Gradient(layer, here, to_conv),), counted, activation, self._cut()))
                here, counted = target, True
            first, source, y = layers[0], activations[0].place, activations[0].layer.y
            to_conv, target = self._temporary("gradient", first.y), new(source, outer, here)
            gradients = [Gradient(first, here, to_conv)]
            whole = shortcut is None or first.part.stride == shortcut.part.stride
            if shortcut is None:
                first.plan_backward(to_conv, target, source, stat, y, res=outer.start - target.start)
            else:
                gradients.append(Gradient(shortcut, outer, self._temporary("shortcut", shortcut.y)))
                extra = (shortcut, gradients[1].to_conv)
                first.plan_backward(to_conv, target, source, stat if whole else None, y, extra=extra)
            self.backward.append(Backward(tuple(gradients), counted, None, self._cut()))
            outer, counted = target, whole
        stem = self.layers[0]
        to_conv, gradient = self._temporary("gradient", stem.y), self._like(self.image)
        stem.plan_backward(to_conv, gradient, None, None, None)
        builder.map_step(UNPACK, gradient)
        self.backward.append(Backward((Gradient(stem, outer, to_conv),), counted, None, self._cut()))
