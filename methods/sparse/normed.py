"""A convolution and the batch norm after it, in train mode, within a pass of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from methods.sparse.layout import NONE, Map
from methods.sparse.lists import Weights
from methods.sparse.parts import NormedConv
from methods.sparse.plan import Builder

Doubles = NDArray[np.float64]

FAR = 1.0  # squared means, in variances: float32 sums lose no more digits of the variance than of the squares


@dataclass(frozen=True)
class Statistics:
    """Of a layer in one pass, of y as it lies in its map; arrays are (channels,)."""

    count: int  # pixels of the batch
    mean: Doubles
    inverse_deviation: Doubles
    scale: Doubles  # what the norm multiplies y - mean by


class NormedLayer:
    """Its maps, and the steps of its convolution.

    Attributes:
        source: map that it reads.
        y: map that the convolution writes.
        stat: where the sums of y and of its squares are counted in an arena.
    """

    def __init__(self, part: NormedConv, source: Map, builder: Builder, stat: int) -> None:
        """Plan the convolution; its steps are added to the builder's."""
        assert isinstance(part.norm, nn.BatchNorm2d)
        self.part, self.source, self.builder, self.norm, self.stat = part, source, builder, part.norm, stat
        self.weights = Weights.of(part.held().detach().numpy())
        self.channels = part.conv.weight.shape[0]
        rows, cols = -(-source.rows // part.stride), -(-source.cols // part.stride)
        self.y = builder.map(self.channels, rows, cols)
        builder.forward(self.weights, None, part.stride, part.padding, source, self.y, stat=stat)
        self.gamma = _double(part.norm.weight, 1.0, self.channels)
        self.beta = _double(part.norm.bias, 0.0, self.channels)

    def plan_backward(
        self,
        to_conv: Map,
        target: Map,
        source: Map | None,
        stat: int | None,
        y: Map | None,
        *,
        res: int | None = None,
        extra: tuple[NormedLayer, Map] | None = None,
    ) -> None:
        """Plan the gradient from the convolution's output to its input; the steps are added to the builder's.

        Args:
            to_conv: holds the former.
            target: will hold the latter.
            source: what the convolution has read; the gradient is zero where it is not positive. None: nowhere.
            stat: where to count the result and its products with `y`; None: nowhere.
            y: of the layer that has written the source.
            res: how far from the target what is added lies; None: nothing is.
            extra: the shortcut, and the gradient of its output.
        """
        builder, part = self.builder, self.part
        more: dict[str, Any] = {} if source is None else {"mask": source.start - target.start}
        counted: dict[str, Any] = {} if stat is None or y is None else {"stat": stat, "stat2": y.start - target.start}
        added: dict[str, Any] = {"res": NONE if res is None else res}
        beside = None if extra is None else (extra[0].weights, extra[1])
        if beside is None or extra is None or extra[0].part.stride == part.stride:
            builder.backward(
                self.weights, part.stride, part.padding, to_conv, target, beside, **more, **counted, **added
            )
        else:  # a bottleneck, whose stride is its second convolution's
            builder.backward(self.weights, part.stride, part.padding, to_conv, target, **more)
            builder.backward_1x1(beside[0], extra[0].part.stride, beside[1], target, res=0, **more)

    def means_far_from_zero(self, sums: Doubles, images: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the means, and which of them are so large that sums of squares say little of the variance."""
        mean, square = sums.T / (images * self.y.rows * self.y.cols)
        return mean.astype(np.float32), mean * mean > FAR * (square - mean * mean + self.norm.eps)

    def move_statistics(self, sums: Doubles, images: int, centre: NDArray[np.float32]) -> Statistics:
        """Return the batch's statistics from the sums (channels, 2), and move the running ones as torch does.

        `centre`: (channels,), what has been subtracted from y.
        """
        norm, count = self.norm, images * self.y.rows * self.y.cols
        mean = sums[:, 0] / count
        variance = np.maximum(sums[:, 1] / count - mean * mean, 0)
        inverse_deviation = 1 / np.sqrt(variance + norm.eps)
        if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
            share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            unbiased = variance * count / max(count - 1, 1)
            for running, now in ((norm.running_mean, mean + centre), (norm.running_var, unbiased)):
                running.mul_(1 - share).add_(torch.from_numpy(share * now).to(running.dtype))
        return Statistics(count, mean, inverse_deviation, self.gamma * inverse_deviation)

    def to_norm(self, sums: Doubles, statistics: Statistics) -> tuple[Doubles, Doubles]:
        """Return the gradients of the norm's weight and bias, from the sums of the gradient and of gradient * y."""
        to_bias = sums[:, 0]
        return statistics.inverse_deviation * (sums[:, 1] - statistics.mean * to_bias), to_bias

    def backward_factors(self, to_weight: Doubles, to_bias: Doubles, statistics: Statistics) -> list[Doubles]:
        """Return the factors of a sweep over gradient and y, from what `to_norm` returns."""
        p = self.gamma * statistics.inverse_deviation
        q = -p * statistics.inverse_deviation * to_weight / statistics.count
        return [p, np.zeros_like(p), q, statistics.mean, -p * to_bias / statistics.count]


def _double(parameter: Tensor | None, default: float, channels: int) -> Doubles:
    return np.full(channels, default) if parameter is None else parameter.detach().double().numpy()
