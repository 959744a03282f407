"""A network of which weights are held, in eval mode: the norms are folded into the convolutions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from methods.sparse.parts import NormedConv, ResidualParts


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


def folded(parts: ResidualParts) -> FoldedParts:
    """Return the network in eval mode with folded norms; the last norm, after the classifier, is left out."""
    blocks = tuple(
        FoldedBlock(
            tuple(_fold(conv) for conv in block.convs),
            None if block.shortcut is None else _fold(block.shortcut),
            1 if block.shortcut is None else block.shortcut.stride,
        )
        for block in parts.blocks
    )
    held = parts.classifier.held().detach()
    classifier = FoldedConv(held, held.new_zeros(len(held)), 1, 0)
    return FoldedParts(parts.mean, parts.std, _fold(parts.stem), blocks, classifier)


def _fold(part: NormedConv) -> FoldedConv:
    norm, weight = part.norm, part.held().detach()
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
