"""The parts of a residual network in order, as it describes itself to the passes of training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn


@dataclass(frozen=True)
class NormedConv:
    """A convolution and the norm after it; `stride` also where the maps are thinned out before a 1x1 convolution."""

    conv: Any  # with `weight` (out, in, k, k)
    norm: nn.Module
    stride: int
    padding: int

    @classmethod
    def of(cls, conv: Any, norm: nn.Module) -> NormedConv:
        """Describe a convolution; strides and paddings are the same in both directions."""
        stride, padding = (int(np.max(each)) for each in (conv.stride, conv.padding))
        return cls(conv, norm, stride, padding)

    def held(self) -> Tensor:
        """Return the weight that the convolution computes with in this step, held for it; see `methods.holding`."""
        held = self.conv._held
        assert isinstance(held, Tensor), "used while weights are held"
        return held


@dataclass(frozen=True)
class ResidualBlock:
    """Convolutions with norms and ReLUs between them, a shortcut (None: the maps themselves), a ReLU on the sum."""

    convs: tuple[NormedConv, ...]
    shortcut: NormedConv | None


@dataclass(frozen=True)
class ResidualParts:
    """A residual network; between the last block and the classifier the maps are averaged over their pixels."""

    mean: Tensor  # (C, 1, 1), of the pixels
    std: Tensor  # (C, 1, 1)
    stem: NormedConv
    blocks: tuple[ResidualBlock, ...]
    classifier: NormedConv

    def convolutions(self) -> Iterator[NormedConv]:
        """Yield all convolutions but the classifier."""
        yield self.stem
        for block in self.blocks:
            yield from block.convs
            if block.shortcut is not None:
                yield block.shortcut
