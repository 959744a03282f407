"""Passes over images that hardly differ from the last ones: Square changes one small square of all images at a time.

What a layer answers far from the square is known already. A pass computes each layer only where its answer can differ
and takes the rest from the maps of the images before. Which images these are is found by comparison, so that nothing
has to be known of the attack: whatever it asks for, the logits are those of the whole pass, up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.evaluation.fast.compute_batch import ComputeBatch
from benchmark.evaluation.fast.folding import FoldedResNet
from benchmark.evaluation.fast.thinning import FoldedConv

EDGE = 1  # pixels of zeros around the maps that are kept: what the convolutions pad
LARGE = 0.3  # share of the image; a square beyond it reaches nearly everything, and the whole pass is quicker
WIDE = 0.9  # share of a map's height; a window beyond it is taken for the whole map
KEPT_BYTES = 2**30  # for the maps of the images before

Span = tuple[int, int]  # from, to (exclusive)


@dataclass(frozen=True)
class Window:
    """A rectangle of a map."""

    rows: Span
    columns: Span

    @property
    def area(self) -> int:
        """Pixels in it."""
        return (self.rows[1] - self.rows[0]) * (self.columns[1] - self.columns[0])

    def of(self, maps: Tensor) -> Tensor:
        """Return the view (B, C, h, w) of maps (B, C, H, W)."""
        return maps[..., self.rows[0] : self.rows[1], self.columns[0] : self.columns[1]]

    def within(self, outer: Window) -> Window:
        """Return the part that lies in `outer`, as seen from its corner."""
        return Window(_cut(self.rows, outer.rows), _cut(self.columns, outer.columns))


@dataclass(frozen=True)
class Change:
    """New values (B, C, h, w) of a window of the `place`-th kept maps."""

    place: int
    window: Window
    values: Tensor


@dataclass
class _Known:
    """Images with all their maps, and what the last pass found to differ."""

    images: Tensor
    maps: list[Tensor]  # standardised images, then the output of every ReLU; all with zeros around
    asked: Tensor  # images of the last pass
    changes: list[Change] = field(default_factory=list)


class LocalPasses:
    """A folded network, called with the images of one attack after another step of it."""

    def __init__(self, network: FoldedResNet, compute: ComputeBatch) -> None:
        """Know nothing yet; at most as many images as `compute` says go at once.

        Args:
            network: on a CPU; on a GPU the many small steps would take longer than one whole pass.
            compute: how many images go at once.
        """
        self.network, self.compute = network, compute
        self.known: dict[int, _Known] = {}  # by the number of the part
        self.recent: dict[int, list[Tensor]] = {}  # the last images of a part that have nothing known near

    def __call__(self, images: Tensor) -> Tensor:
        """Return (B, classes) logits of (B, C, H, W) images; no gradient passes."""
        parts = images.split(self.compute.at_most(len(images)))
        self.compute.tried = max(self.compute.tried, len(parts[0]))
        return torch.cat([self._part(number, part) for number, part in enumerate(parts)])

    def _part(self, number: int, images: Tensor) -> Tensor:
        known = self.known.get(number)
        if known is not None and known.images.shape == images.shape:
            self._accept(known, images)
            if window := _small(images, known.images):
                return self._local(known, images, window)
        recent = [each for each in self.recent.get(number, []) if each.shape == images.shape]
        self.recent[number] = [*recent[-1:], images.clone()]
        if len(recent) == 2:
            # Each has a square of its own, and what two of the three agree on is what the squares were put upon.
            common = torch.stack([*recent, images]).median(0).values
            if window := _small(images, common):
                self.known[number] = known = self._know(common)
                return self._local(known, images, window)
        self.known.pop(number, None)
        return self.network.run(images, [])

    def _know(self, images: Tensor) -> _Known:
        maps: list[Tensor] = [self.network.standardised(images)]
        self.network.run(images, maps)
        edged = [F.pad(each, [EDGE] * 4) for each in maps[:-1]]  # without the pooled ones, which are soon made
        return _Known(images, edged, images)

    def _accept(self, known: _Known, images: Tensor) -> None:
        """Go over to the images of the last pass where these are nearer to them than to what is known."""
        if not known.changes:
            return
        nearer = (images != known.asked).flatten(1).sum(1) < (images != known.images).flatten(1).sum(1)
        rows = nearer.nonzero().flatten()
        if len(rows):
            known.images[rows] = known.asked[rows]
            for change in known.changes:
                change.window.of(_inner(known.maps[change.place]))[rows] = change.values[rows]
        known.changes = []

    def _local(self, known: _Known, images: Tensor, window: Window) -> Tensor:
        network, maps, changes = self.network, known.maps, known.changes
        known.asked = images.clone()
        changes.append(Change(0, window, network.standardised(window.of(images))))
        change = _through(network.stem, maps[0], changes[-1])
        change.values.relu_()
        changes.append(change)
        for block in network.blocks:
            first = changes[-1]
            for conv in block.convs:
                change = _through(conv, maps[changes[-1].place], changes[-1])
                if conv is not block.convs[-1]:
                    changes.append(Change(change.place, change.window, change.values.relu_()))
            seen = Window(_spread(change.window.rows, block.stride), _spread(change.window.columns, block.stride))
            beside = _changed(_inner(maps[first.place]), first, seen)[..., :: block.stride, :: block.stride]
            change.values.add_(beside if block.shortcut is None else block.shortcut.forward(beside)).relu_()
            changes.append(change)
        last = _inner(maps[-1])
        pooled = F.adaptive_avg_pool2d(_changed(last, changes[-1], _all_of(last)), 1)
        return network.classifier.forward(pooled).flatten(1)


def _through(conv: FoldedConv, maps: Tensor, change: Change) -> Change:
    """Return what a convolution answers to changed maps, where it can differ.

    The window's size follows from the size of the change alone, not from where it is: at the border it is moved
    inwards, not cut. Every new size costs the library that convolves as much as many passes do.
    """
    size, stride, padding = conv.weight.shape[2], conv.stride, conv.padding
    reached, needed, whole = [], [], []
    for (start, end), length in zip((change.window.rows, change.window.columns), _inner(maps).shape[2:], strict=True):
        every = (length + 2 * padding - size) // stride + 1
        count = (end - start + size - 2) // stride + 1
        count = count if count <= WIDE * every else every
        first = min(max(0, -((size - 1 - padding - start) // stride)), every - count)
        reached.append((first, first + count))
        whole.append(count == every)
        before = first * stride - padding + EDGE
        needed.append((before, before + (count - 1) * stride + size))
    if all(whole):  # the library leaves out the zeros around, if it is told of them
        values = _changed(_inner(maps), change, _all_of(_inner(maps)))
        return Change(change.place + 1, Window(*reached), conv.forward(values))
    inside = Window(_moved(change.window.rows), _moved(change.window.columns))
    patch = _changed(maps, Change(change.place, inside, change.values), Window(*needed))
    return Change(change.place + 1, Window(*reached), F.conv2d(patch, conv.weight, conv.bias, stride))


def _changed(maps: Tensor, change: Change, region: Window) -> Tensor:
    """Return a region of maps with the change in it."""
    if change.window == region:
        return change.values
    patch = region.of(maps).clone(memory_format=torch.channels_last)
    change.window.within(region).of(patch).copy_(region.within(change.window).of(change.values))
    return patch


def _small(images: Tensor, others: Tensor) -> Window | None:
    """Return what differs, unless that is much of the image."""
    window = _difference(images, others)
    return window if window.area <= LARGE * images[0, 0].numel() else None


def _difference(images: Tensor, others: Tensor) -> Window:
    """Return a square outside of which all images are the same, as small as can be."""
    differs = (images != others).any(0).any(0)
    spans = [side.nonzero().flatten() for side in (differs.any(1), differs.any(0))]
    if not len(spans[0]):
        return Window((0, 1), (0, 1))
    ends = [(int(span[0]), int(span[-1]) + 1) for span in spans]
    longest = max(end - start for start, end in ends)
    sides = [min(longest, length) for length in differs.shape]
    starts = [min(start, length - side) for (start, _), side, length in zip(ends, sides, differs.shape, strict=True)]
    rows, columns = ((start, start + side) for start, side in zip(starts, sides, strict=True))
    return Window(rows, columns)


def _inner(maps: Tensor) -> Tensor:
    return maps[..., EDGE:-EDGE, EDGE:-EDGE]


def _all_of(maps: Tensor) -> Window:
    return Window((0, maps.shape[2]), (0, maps.shape[3]))


def _moved(span: Span) -> Span:
    return span[0] + EDGE, span[1] + EDGE


def _cut(span: Span, outer: Span) -> Span:
    start = max(span[0], outer[0])
    return start - outer[0], max(start, min(span[1], outer[1])) - outer[0]


def _spread(span: Span, stride: int) -> Span:
    """Return the pixels that every `stride`-th of is in the span."""
    return span[0] * stride, (span[1] - 1) * stride + 1
