"""Layers of a folded network, without the channels that pruning left idle.

A sparse network has channels that nothing reads, and channels that are constant because no weight leads to them.
Leaving them out changes outputs by rounding only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

WORTH = 0.8  # share of channels kept; above it, thinning only slows convolutions down


@dataclass(frozen=True)
class FoldedConv:
    """A convolution with the batch norm after it folded in."""

    weight: Tensor  # (out, in, k, k), channels last
    bias: Tensor  # (out,)
    stride: int
    padding: int

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        return F.conv2d(maps, self.weight, self.bias, self.stride, self.padding)

    def backward(self, gradient: Tensor, maps: Tensor) -> Tensor:
        """Return the gradient with respect to `maps`, of which only the shape matters."""
        stride, padding, one = [self.stride] * 2, [self.padding] * 2, [1, 1]
        wanted = [True, False, False]  # of the gradients to maps, weight and bias
        gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
            gradient, maps, self.weight, [len(self.bias)], stride, padding, one, False, [0, 0], 1, wanted
        )
        return gradients[0]

    @property
    def reads(self) -> Tensor:
        """(in,) bool: inputs with any weight; all if leaving the others out is not worth it."""
        return _worth_keeping(self.weight.transpose(0, 1).flatten(1).any(1))

    def of_inputs(self, mask: Tensor) -> FoldedConv:
        """Return the convolution of some inputs only; the others must be unused or zero."""
        return replace(self, weight=self.weight[:, mask].contiguous(memory_format=torch.channels_last))

    def of_outputs(self, mask: Tensor) -> FoldedConv:
        """Return the convolution to some outputs only."""
        weight = self.weight[mask].contiguous(memory_format=torch.channels_last)
        return replace(self, weight=weight, bias=self.bias[mask])


@dataclass(frozen=True)
class FoldedBlock:
    """A residual block: convolutions with ReLUs between them, and a shortcut."""

    convs: tuple[FoldedConv, ...]
    shortcut: FoldedConv | None  # 1x1, on every `stride`-th pixel; None passes the maps on
    stride: int  # of the shortcut

    @property
    def reads(self) -> Tensor:
        """(in,) bool: inputs that a convolution uses."""
        first = self.convs[0].reads
        return first if self.shortcut is None else first | self.shortcut.reads

    def of_inputs(self, mask: Tensor) -> FoldedBlock:
        """Return the block on some inputs only."""
        first, *others = self.convs
        shortcut = None if self.shortcut is None else self.shortcut.of_inputs(mask)
        return replace(self, convs=(first.of_inputs(mask), *others), shortcut=shortcut)

    def of_outputs(self, mask: Tensor) -> FoldedBlock:
        """Return the block with some outputs only, and without unused channels between its convolutions."""
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
    reader: FoldedBlock | None = None  # the block that reads this stream; None: the classifier
    for first, sharing in reversed(_streams(blocks)):
        while not torch.equal(read, wider := _read_within(sharing, read)):
            read = wider
        if reader is None:
            classifier = classifier.of_inputs(read)
        else:
            thin.insert(0, reader.of_inputs(read))
        thin = [*(block.of_outputs(read).of_inputs(read) for block in sharing), *thin]
        if first is None:
            stem = stem.of_outputs(read)
        else:
            reader = first.of_outputs(read)
            read = reader.reads
    return stem, tuple(thin), classifier


def _streams(blocks: Sequence[FoldedBlock]) -> list[tuple[FoldedBlock | None, list[FoldedBlock]]]:
    """Group blocks that share channels: the block that makes them (None: the stem), and those that pass them on."""
    streams: list[tuple[FoldedBlock | None, list[FoldedBlock]]] = [(None, [])]
    for block in blocks:
        if block.shortcut is None:
            streams[-1][1].append(block)
        else:
            streams.append((block, []))
    return streams


def _read_within(sharing: Sequence[FoldedBlock], read: Tensor) -> Tensor:
    """Return the channels read after the blocks, or by the blocks to compute those."""
    return torch.stack([read, *(block.of_outputs(read).reads for block in sharing)]).any(0)


def _joined(first: FoldedConv, second: FoldedConv) -> tuple[FoldedConv, FoldedConv]:
    """Return two convolutions with a ReLU between them, reduced to the channels they need.

    Constant channels are summed into one that is 1 everywhere. It cannot become a bias, because maps are padded with
    zeros.
    """
    constant = ~first.weight.flatten(1).any(1)
    value = first.bias.relu()
    read = second.weight.transpose(0, 1).flatten(1).any(1)
    varying, fixed = read & ~constant, read & constant & (value > 0)
    if not fixed.any() or int(varying.sum()) + 1 > WORTH * len(varying):
        kept = _worth_keeping(varying | fixed)
        return first.of_outputs(kept), second.of_inputs(kept)
    column = (second.weight[:, fixed] * value[fixed, None, None]).sum(1, keepdim=True)
    before = torch.cat([first.weight[varying], torch.zeros_like(first.weight[:1])])
    bias = torch.cat([first.bias[varying], torch.ones_like(first.bias[:1])])
    after = torch.cat([second.weight[:, varying], column], 1)
    return (
        replace(first, weight=before.contiguous(memory_format=torch.channels_last), bias=bias),
        replace(second, weight=after.contiguous(memory_format=torch.channels_last)),
    )


def _worth_keeping(mask: Tensor) -> Tensor:
    """Return the channels to keep: those of the mask and at least one, or all if that is hardly more."""
    if int(mask.sum()) > WORTH * len(mask):
        return torch.ones_like(mask)
    if mask.any():
        return mask
    first = torch.zeros_like(mask)
    first[0] = True
    return first
