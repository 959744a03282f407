"""Layers of a folded network, without the channels that pruning has left with nothing to say.

A network of which few weights are kept has channels that nothing reads, and channels that are the same everywhere
because no weight leads to them. Leaving them out changes no output but by rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

WORTH = 0.8  # share of channels left; with a few less than a full vector of them, convolutions only get slower


@dataclass(frozen=True)
class FoldedConv:
    """A convolution with the batch norm after it."""

    weight: Tensor  # (out, in, k, k), channels last
    bias: Tensor  # (out,)
    stride: int
    padding: int

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        return F.conv2d(maps, self.weight, self.bias, self.stride, self.padding)

    def backward(self, gradient: Tensor, maps: Tensor) -> Tensor:
        """Return the gradient with respect to `maps`, of which only the shape counts."""
        stride, padding, one = [self.stride] * 2, [self.padding] * 2, [1, 1]
        wanted = [True, False, False]  # of the gradients to maps, weight and bias
        found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
            gradient, maps, self.weight, [len(self.bias)], stride, padding, one, False, [0, 0], 1, wanted
        )
        return found[0]

    @property
    def reads(self) -> Tensor:
        """(in,) bool: inputs that any weight looks at; all if leaving the others out is not worth it."""
        return _worth(self.weight.transpose(0, 1).flatten(1).any(1))

    def of_inputs(self, mask: Tensor) -> FoldedConv:
        """Return the convolution of some inputs only; the others must be unread or zero."""
        return replace(self, weight=self.weight[:, mask].contiguous(memory_format=torch.channels_last))

    def of_outputs(self, mask: Tensor) -> FoldedConv:
        """Return the convolution to some outputs only."""
        weight = self.weight[mask].contiguous(memory_format=torch.channels_last)
        return replace(self, weight=weight, bias=self.bias[mask])


@dataclass(frozen=True)
class FoldedBlock:
    """A residual block: convolutions with ReLUs between, beside a shortcut."""

    convs: tuple[FoldedConv, ...]
    shortcut: FoldedConv | None  # 1x1, on every `stride`-th pixel; None hands the maps on
    stride: int  # of the shortcut

    @property
    def reads(self) -> Tensor:
        """(in,) bool: inputs that a convolution looks at."""
        first = self.convs[0].reads
        return first if self.shortcut is None else first | self.shortcut.reads

    def of_inputs(self, mask: Tensor) -> FoldedBlock:
        """Return the block on some inputs only."""
        first, *others = self.convs
        shortcut = None if self.shortcut is None else self.shortcut.of_inputs(mask)
        return replace(self, convs=(first.of_inputs(mask), *others), shortcut=shortcut)

    def of_outputs(self, mask: Tensor) -> FoldedBlock:
        """Return the block with some outputs only, and without what nothing reads between its convolutions."""
        convs = [*self.convs[:-1], self.convs[-1].of_outputs(mask)]
        for place in reversed(range(1, len(convs))):
            convs[place - 1], convs[place] = _joined(convs[place - 1], convs[place])
        shortcut = None if self.shortcut is None else self.shortcut.of_outputs(mask)
        return replace(self, convs=tuple(convs), shortcut=shortcut)


def thinned(
    stem: FoldedConv, blocks: Sequence[FoldedBlock], classifier: FoldedConv
) -> tuple[FoldedConv, tuple[FoldedBlock, ...], FoldedConv]:
    """Return the same network without idle channels; goes from the classifier back to the stem."""
    read, thin = classifier.reads, list[FoldedBlock]()
    behind: FoldedBlock | None = None  # what reads the channels at hand, if not the classifier
    for first, sharing in reversed(_streams(blocks)):
        while not torch.equal(read, also := _read_within(sharing, read)):
            read = also
        if behind is None:
            classifier = classifier.of_inputs(read)
        else:
            thin.insert(0, behind.of_inputs(read))
        thin = [*(block.of_outputs(read).of_inputs(read) for block in sharing), *thin]
        if first is None:
            stem = stem.of_outputs(read)
        else:
            behind = first.of_outputs(read)
            read = behind.reads
    return stem, tuple(thin), classifier


def _streams(blocks: Sequence[FoldedBlock]) -> list[tuple[FoldedBlock | None, list[FoldedBlock]]]:
    """Cut the blocks into what shares its channels: what makes them (None: the stem), and who hands them on."""
    streams: list[tuple[FoldedBlock | None, list[FoldedBlock]]] = [(None, [])]
    for block in blocks:
        if block.shortcut is None:
            streams[-1][1].append(block)
        else:
            streams.append((block, []))
    return streams


def _read_within(sharing: Sequence[FoldedBlock], read: Tensor) -> Tensor:
    """Return the channels read behind blocks, or by these to make what is."""
    return torch.stack([read, *(block.of_outputs(read).reads for block in sharing)]).any(0)


def _joined(first: FoldedConv, second: FoldedConv) -> tuple[FoldedConv, FoldedConv]:
    """Return two convolutions with a ReLU between them with no more channels between than they need.

    Channels that are the same for all images are added up to one, which is 1 everywhere: the zeros around the maps keep
    such a channel from being a mere bias.
    """
    constant = ~first.weight.flatten(1).any(1)
    value = first.bias.relu()
    read = second.weight.transpose(0, 1).flatten(1).any(1)
    moving, still = read & ~constant, read & constant & (value > 0)
    if not still.any() or int(moving.sum()) + 1 > WORTH * len(moving):
        moving = _worth(moving | still)
        return first.of_outputs(moving), second.of_inputs(moving)
    column = (second.weight[:, still] * value[still, None, None]).sum(1, keepdim=True)
    before = torch.cat([first.weight[moving], torch.zeros_like(first.weight[:1])])
    bias = torch.cat([first.bias[moving], torch.ones_like(first.bias[:1])])
    after = torch.cat([second.weight[:, moving], column], 1)
    return (
        replace(first, weight=before.contiguous(memory_format=torch.channels_last), bias=bias),
        replace(second, weight=after.contiguous(memory_format=torch.channels_last)),
    )


def _worth(mask: Tensor) -> Tensor:
    """Return the channels to keep: those of the mask and at least one, or all if that is hardly more."""
    if int(mask.sum()) > WORTH * len(mask):
        return torch.ones_like(mask)
    if mask.any():
        return mask
    first = torch.zeros_like(mask)
    first[0] = True
    return first
