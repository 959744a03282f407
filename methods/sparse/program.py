"""Turns a folded residual network into a program: maps in one arena, lists, and the steps of both passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from methods.sparse.layout import CLASSIFY, PACK, POOL, UNCLASSIFY, UNPACK, UNPOOL, Map
from methods.sparse.lists import Arrays, Weights
from methods.sparse.plan import Builder


class Convolution(Protocol):
    """A convolution with the batch norm after it folded in."""

    @property
    def weight(self) -> Tensor:
        """(out, in, k, k)."""

    @property
    def bias(self) -> Tensor:
        """(out,)."""

    @property
    def stride(self) -> int:
        """Of both directions."""

    @property
    def padding(self) -> int:
        """On all sides, with zeros."""


class Block(Protocol):
    """A residual block: convolutions with ReLUs between them, a shortcut, and a ReLU on their sum."""

    @property
    def convs(self) -> Sequence[Convolution]:
        """Two or three."""

    @property
    def shortcut(self) -> Convolution | None:
        """1x1, on every `stride`-th row and column; None passes the maps on."""

    @property
    def stride(self) -> int:
        """Of the shortcut."""


class Folded(Protocol):
    """A residual network: stem, ReLU, blocks, mean over the pixels, classifier."""

    @property
    def mean(self) -> Tensor:
        """(C, 1, 1), of the pixels in [0, 1]."""

    @property
    def std(self) -> Tensor:
        """(C, 1, 1)."""

    @property
    def stem(self) -> Convolution:
        """The first convolution."""

    @property
    def blocks(self) -> Sequence[Block]:
        """In their order."""

    @property
    def classifier(self) -> Convolution:
        """1x1."""


def convolutions(network: Folded) -> list[Convolution]:
    """Return every convolution but the classifier, in order."""
    inner = [conv for block in network.blocks for conv in (*block.convs, block.shortcut) if conv is not None]
    return [network.stem, *inner]


def unsupported(network: Folded) -> str | None:
    """Return why a network cannot become a program; None if it can."""
    for conv in convolutions(network):
        size = tuple(conv.weight.shape[2:])
        if size not in ((1, 1), (3, 3)) or conv.padding != size[0] // 2 or conv.stride not in (1, 2):
            return f"a convolution of {size[0]}x{size[1]} with stride {conv.stride} and padding {conv.padding}"
    if network.stem.stride != 1:
        return f"a first convolution with stride {network.stem.stride}"
    return None


@dataclass
class Program:
    """Everything that the kernels need to run a network on groups of images."""

    lanes: int
    images: int  # of a group
    strips: tuple[int, int]
    channels: int  # of the last map
    forward: NDArray[np.int64]  # steps
    backward: NDArray[np.int64]  # steps; none without gradients
    lists: Arrays
    size: int  # of all maps, in floats; what a convolution keeps between its chunks comes after them
    part: int

    @property
    def width(self) -> int:
        """Floats of an arena."""
        return -(-(self.size + self.part) // 16) * 16 + 16


class _Places:
    """Gives out maps; without gradients they share places, as soon as nobody reads them any more.

    Whole images share with maps of their shape, because borders stay zero. Where images are cut in both directions, all
    borders are written before they are read, and any maps share: a small arena stays in the second-level cache.
    """

    def __init__(self, builder: Builder, *, shared: bool) -> None:
        self.builder, self.shared = builder, shared
        self.made: dict[tuple[int, int, int], list[Map]] = {}
        self.first = builder.size
        self.overlaid = shared and min(builder.strips) > 1

    def new(self, channels: int, rows: int, cols: int, avoid: Sequence[Map] = ()) -> Map:
        """Return a map that is none of those to avoid; they are all that is still to be read."""
        if self.overlaid:
            return self.builder.map_beside(channels, rows, cols, avoid, self.first)
        made = self.made.setdefault((channels, rows, cols), [])
        free = next((each for each in made if self.shared and each not in avoid), None)
        if free is None:
            free = self.builder.map(channels, rows, cols)
            made.append(free)
        return free


class ProgramMaker:
    """Builds the program of one network for one size of images."""

    def __init__(self, network: Folded, size: tuple[int, int], lanes: int, strips: tuple[int, int]) -> None:
        """Images of `size` (rows, columns) are cut into strips; both counts must divide every map of the network."""
        self.network, self.strips = network, strips
        self.builder = Builder(lanes, strips)
        self.weights: dict[int, Weights] = {}
        rows, cols = size[0] // strips[0], size[1] // strips[1]
        self.image = self.builder.map(network.stem.weight.shape[1], rows, cols)

    def program(self, *, gradients: bool) -> Program:
        """Return the program; with gradients every map has a place of its own, for the backward pass."""
        builder = self.builder
        places = _Places(builder, shared=not gradients)
        records, last = self._forward(places)
        forward = len(builder.steps)
        if gradients:
            self._backward(records, last)
        arrays = builder.lists.arrays(builder.tiles)
        images = builder.lanes // (self.strips[0] * self.strips[1])
        ends = (builder.cut(0)[:forward], builder.cut(forward))
        return Program(
            builder.lanes, images, self.strips, last.channels, *ends, arrays, size=builder.size, part=builder.part
        )

    def _of(self, conv: Convolution) -> Weights:
        if id(conv) not in self.weights:
            self.weights[id(conv)] = Weights.of(conv.weight.contiguous().numpy())
        return self.weights[id(conv)]

    def _conv(self, conv: Convolution, source: Map, target: Map, stride: int | None = None, **more: object) -> None:
        stride = conv.stride if stride is None else stride
        self.builder.forward(self._of(conv), conv.bias.numpy(), stride, conv.padding, source, target, **more)

    def _forward(self, places: _Places) -> tuple[list[tuple[Block, list[Map]]], Map]:
        """Add the forward pass; return each block with its maps, and the last map."""
        builder, stem = self.builder, self.network.stem
        builder.map_step(PACK, self.image)
        maps = places.new(len(stem.bias), self.image.rows, self.image.cols)
        self._conv(stem, self.image, maps, relu=True)
        records = []
        for block in self.network.blocks:
            within = [maps]
            for conv in block.convs[:-1]:
                target = places.new(*_shape(conv, within[-1]), avoid=within)
                self._conv(conv, within[-1], target, relu=True)
                within.append(target)
            final, beside = block.convs[-1], maps
            shape = _shape(final, within[-1])
            if block.shortcut is not None:
                beside = places.new(*shape, avoid=within)
                self._conv(block.shortcut, maps, beside, block.stride)
            maps = places.new(*shape, avoid=[*within, beside])
            self._conv(final, within[-1], maps, relu=True, res=beside.start - maps.start)
            records.append((block, within))
        builder.map_step(POOL, maps)
        builder.map_step(CLASSIFY, maps)
        return records, maps

    def _backward(self, records: list[tuple[Block, list[Map]]], last: Map) -> None:
        """Add the backward pass, from the gradient of the logits to that of the images."""
        builder = self.builder
        places = _Places(builder, shared=True)
        outer = places.new(last.channels, last.rows, last.cols)
        builder.map_step(UNCLASSIFY, outer)
        builder.map_step(UNPOOL, outer, mask=last.start - outer.start)
        for block, within in reversed(records):
            here = outer
            for place in reversed(range(len(block.convs))):
                source = within[place]
                target = places.new(source.channels, source.rows, source.cols, avoid=[outer, here])
                self._block_gradient(block, place, here, outer, target, mask=source.start - target.start)
                here = target
            outer = here
        gradient = builder.map(self.image.channels, self.image.rows, self.image.cols)
        builder.backward(self._of(self.network.stem), 1, self.network.stem.padding, outer, gradient)
        builder.map_step(UNPACK, gradient)

    def _block_gradient(self, block: Block, place: int, here: Map, outer: Map, target: Map, mask: int) -> None:
        """Add the gradient with respect to the input of a block's convolution, that of the shortcut included."""
        builder, conv = self.builder, block.convs[place]
        weight, shortcut = self._of(conv), block.shortcut
        if place > 0:
            builder.backward(weight, conv.stride, conv.padding, here, target, mask=mask)
        elif shortcut is None:
            res = outer.start - target.start
            builder.backward(weight, conv.stride, conv.padding, here, target, mask=mask, res=res)
        elif conv.stride == block.stride:
            extra = (self._of(shortcut), outer)
            builder.backward(weight, conv.stride, conv.padding, here, target, extra, mask=mask)
        else:  # a bottleneck, whose stride is its second convolution's
            builder.backward(weight, conv.stride, conv.padding, here, target, mask=mask)
            builder.backward_1x1(self._of(shortcut), block.stride, outer, target, res=0, mask=mask)


def _shape(conv: Convolution, source: Map) -> tuple[int, int, int]:
    return len(conv.bias), -(-source.rows // conv.stride), -(-source.cols // conv.stride)
