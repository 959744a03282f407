"""A pass of an attack within training: batch norm with the statistics of the batch, gradients to the images alone.

The convolutions are those of a program; between them `sweeps` read and write whole maps, all groups of images layer by
layer. Running statistics move with every pass, as in a dense one. Results do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from methods.sparse import kernels, sweeps
from methods.sparse.layout import PACK, POOL, UNPACK, UNPOOL, Map
from methods.sparse.network import Floats, in_threads, zeros
from methods.sparse.normed import NormedLayer
from methods.sparse.parts import NormedConv, ResidualParts
from methods.sparse.plan import Builder
from methods.sparse.tile import LANES

Steps = NDArray[np.int64]

# Numbers that are not finite pass through silently, as in torch: the training loop finds them in the loss.
_SILENT = np.errstate(invalid="ignore", over="ignore")


class TrainingPass:
    """A residual network in train mode, with the weights that it has when this is made, for batches of one shape."""

    def __init__(self, parts: ResidualParts, shape: torch.Size, arenas: dict[tuple[int, int], Floats]) -> None:
        """Take parts as `attack.residual_parts` returns them, the images' shape (B, C, H, W), and old arenas."""
        self.shape, self.groups, self.builder = shape, -(-shape[0] // LANES), Builder(LANES, (1, 1))
        builder, (_, channels, rows, cols) = self.builder, shape
        widest = max(layer.conv.weight.shape[0] for layer in parts.convolutions())
        self.stat = builder.space(2 * LANES * widest)
        image = builder.map(channels, rows, cols)
        self.pack = self._ends(PACK, image)
        self.stem = self._layer(parts.stem, image)
        self.blocks: list[tuple[list[NormedLayer], NormedLayer | None]] = []
        maps = self.stem.output()
        for block in parts.blocks:
            source, layers = maps, []
            for conv in block.convs:
                layers.append(self._layer(conv, maps))
                maps = layers[-1].output()
            shortcut = None if block.shortcut is None else self._layer(block.shortcut, source)
            self.blocks.append((layers, shortcut))
        self.last = maps
        self.pool = self._ends(POOL, maps)
        self._plan_backward(image)
        self.lists = builder.lists.arrays(builder.tiles)
        width = -(-(builder.size + builder.part) // 16) * 16 + 16
        self.arenas = arenas.setdefault((self.groups, width), zeros(0, width))
        if not len(self.arenas):
            self.arenas = arenas[self.groups, width] = zeros(self.groups, width)
        pixels = (parts.mean.flatten(), 1 / parts.std.flatten())
        nothing = np.zeros((maps.channels, 0), np.float32)
        self.ends = (*(each.float().numpy() for each in pixels), nothing, np.zeros(0, np.float32))
        self.strips, self.masks = np.array([LANES, 1, 1], np.int64), kernels.lane_masks(LANES, 1, 1)

    def _ends(self, op: int, place: Map, **fields: int) -> Steps:
        first = len(self.builder.steps)
        self.builder.map_step(op, place, **fields)
        return self.builder.cut(first)

    def _layer(self, part: NormedConv, source: Map) -> NormedLayer:
        return NormedLayer(part, source, self.builder, self.stat)

    def _plan_backward(self, image: Map) -> None:
        """Plan the steps of the backward pass, each with the layer whose norm comes before it."""
        builder, spare = self.builder, dict[tuple[int, int, int], list[Map]]()

        def new(like: Map, *avoid: Map) -> Map:
            made = spare.setdefault((like.channels, like.rows, like.cols), [])
            free = next((each for each in made if each not in avoid), None)
            if free is None:
                made.append(free := builder.map(like.channels, like.rows, like.cols))
            return free

        self.gradient_last = outer = new(self.last)
        self.unpool = self._ends(UNPOOL, outer, mask=self.last.start - outer.start)
        normed = {self.stem.z: self.stem, **{layers[-1].z: layers[-1] for layers, _ in self.blocks}}
        # Gradient to a norm's output, the layer, gradient to the convolution's output, whether sums are there already.
        self.back: list[tuple[Map, NormedLayer, Map, bool, Steps]] = []
        counted = False
        nothing = builder.cut(len(builder.steps))
        for layers, shortcut in reversed(self.blocks):
            here, kept = outer, [outer]
            for layer in reversed(layers[1:]):
                to_conv = new(layer.y, *kept, here)
                before = layers[layers.index(layer) - 1]
                target = new(before.z, *kept, to_conv)
                steps = layer.backward(to_conv, target, before.z, self.stat, before.y)
                self.back.append((here, layer, to_conv, counted, steps))
                here, counted = target, True
            first, source = layers[0], layers[0].source
            to_conv = new(first.y, *kept, here)
            y = normed[source].y
            if shortcut is None:
                target, whole = new(source, *kept, to_conv), True
                steps = first.backward(to_conv, target, source, self.stat, y, res=outer.start - target.start)
                self.back.append((here, first, to_conv, counted, steps))
            else:
                to_shortcut = new(shortcut.y, *kept, here, to_conv)
                target = new(source, *kept, to_conv, to_shortcut)
                whole = first.part.stride == shortcut.part.stride
                stat = self.stat if whole else None
                steps = first.backward(to_conv, target, source, stat, y, extra=(shortcut, to_shortcut))
                # The sums for the first layer are there: they are taken before those for the shortcut are counted.
                self.back.append((here, first, to_conv, counted, nothing))
                self.back.append((outer, shortcut, to_shortcut, False, steps))
            outer, counted = target, whole
        to_conv, gradient = new(self.stem.y, outer), builder.map(image.channels, image.rows, image.cols)
        steps = self.stem.backward(to_conv, gradient, None, None, self.stem.y)
        self.back.append((outer, self.stem, to_conv, counted, steps))
        self.unpack = self._ends(UNPACK, gradient)

    def _run(self, steps: Steps, images: Floats, features: Floats) -> None:
        nothing = np.zeros((0, 0), np.float32)

        def part(_: int, begin: int, end: int) -> None:
            size, masks, strips = self.builder.size, self.masks, self.strips
            kernels.run(
                *(self.arenas, begin, end, -1, steps, self.lists, size),
                *(strips, masks, self.ends, images, features, nothing),
            )

        in_threads(self.groups, part)

    def _sweep(self, sweep: Any, *arguments: object) -> None:
        in_threads(self.groups, lambda _, begin, end: sweep(self.arenas, begin, end, *arguments))

    def _clear(self, place: Map) -> None:
        """Keep lanes without an image at zero, where they change no sum."""
        if rest := self.shape[0] % LANES:
            sweeps.clear_lanes(self.arenas[self.groups - 1], shape_of(place), place.inner, place.channels, rest)

    @_SILENT
    def forward(self, images: Floats) -> Floats:
        """Return the features (B, C) of images, the means of the last maps; running statistics move."""
        features = np.empty((len(images), self.last.channels), np.float32)
        self._run(self.pack, images, features)
        self._normalised(self.stem, images, features)
        for layers, shortcut in self.blocks:
            for layer in layers[:-1]:
                self._normalised(layer, images, features)
            final, source = layers[-1], layers[0].source
            if shortcut is None:
                one = np.ones(final.y.channels, np.float32)
                self._normalised(final, images, features, source.inner, one)
            else:
                self._statistics(shortcut, images, features)
                self._normalised(final, images, features, shortcut.y.inner, shortcut.scale, shortcut.shift)
        self._run(self.pool, images, features)
        return features

    def _statistics(self, layer: NormedLayer, images: Floats, features: Floats) -> None:
        self._run(layer.steps, images, features)
        sweeps.collect(self.arenas, self.groups, self.stat, layer.sums)
        layer.move_statistics(len(images) * layer.y.rows * layer.y.cols)

    def _normalised(
        self,
        layer: NormedLayer,
        images: Floats,
        features: Floats,
        beside: int = -1,
        beside_scale: Floats | None = None,
        beside_shift: Floats | None = None,
    ) -> None:
        """Convolve, and write ReLU of the norm, plus what is beside it."""
        self._statistics(layer, images, features)
        shift = layer.shift if beside_shift is None else layer.shift + beside_shift
        scale = layer.scale if beside_scale is None else beside_scale
        places = (shape_of(layer.y), layer.y.inner, layer.z.inner)
        self._sweep(sweeps.normalise, *places, layer.scale, shift, beside, scale)
        self._clear(layer.z)

    @_SILENT
    def backward(self, features: Floats) -> Floats:
        """Return the gradient of the images from that of the features; after `forward`."""
        images = np.empty(self.shape, np.float32)
        self._run(self.unpool, images, features)
        for outer, layer, to_conv, counted, steps in self.back:
            place, channels = shape_of(layer.y), layer.y.channels
            if not counted:
                self._sweep(sweeps.count, place, outer.inner, layer.y.inner, self.stat, channels)
            sums = np.empty((channels, 2))
            sweeps.collect(self.arenas, self.groups, self.stat, sums)
            factors = layer.backward_factors(sums)
            self._sweep(sweeps.denormalise, place, outer.inner, layer.y.inner, to_conv.inner, *factors)
            self._clear(to_conv)
            self._run(steps, images, features)
        self._run(self.unpack, images, features)
        return images

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features (B, C) of images (B, C, H, W), differentiable in the images."""
        features: Tensor = _Features.apply(images, self)
        return features


def shape_of(place: Map) -> tuple[int, int, int, int]:
    """Return what the sweeps need to know about the shape of a map."""
    return place.rs, place.cs, place.rows, place.cols * place.lanes


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, network: TrainingPass) -> Tensor:
        ctx.network = network
        return torch.from_numpy(network.forward(images.detach().contiguous().numpy()))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return torch.from_numpy(ctx.network.backward(gradient.contiguous().numpy())), None
