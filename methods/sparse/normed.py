"""A convolution and the batch norm after it, in train mode, within a pass of an attack."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from methods.sparse.layout import NONE, Map
from methods.sparse.lists import Floats, Weights
from methods.sparse.parts import NormedConv
from methods.sparse.plan import Builder

Doubles = NDArray[np.float64]


class NormedLayer:
    """Its maps, its steps, and the statistics of the last pass.

    Attributes:
        source: map that it reads; `y`: what the convolution writes; `z`: ReLU of the norm, if anything reads it.
        scale: (channels,), with `shift` what the norm multiplies by and adds.
        sums: (channels, 2), of y and of its squares.
    """

    def __init__(self, part: NormedConv, source: Map, builder: Builder, stat: int) -> None:
        assert isinstance(part.norm, nn.BatchNorm2d)
        self.part, self.source, self.builder, self.norm = part, source, builder, part.norm
        self.weights = Weights.of(effective_weight(part.conv).numpy())
        channels = part.conv.weight.shape[0]
        rows, cols = -(-source.rows // part.stride), -(-source.cols // part.stride)
        self.y = builder.map(channels, rows, cols)
        self.z = self.y  # until `output` is called
        first = len(builder.steps)
        builder.forward(self.weights, None, part.stride, part.padding, source, self.y, stat=stat)
        self.steps = builder.cut(first)
        self.sums: Doubles = np.empty((channels, 2))
        self.gamma = _double(part.norm.weight, 1.0, channels)
        self.beta = _double(part.norm.bias, 0.0, channels)
        self.scale = self.shift = np.empty(0, np.float32)
        self.mean = self.inverse_deviation = np.empty(0)
        self.count = 0

    def output(self) -> Map:
        """Return the map for ReLU of the norm."""
        self.z = self.builder.map(self.y.channels, self.y.rows, self.y.cols)
        return self.z

    def backward(
        self,
        to_conv: Map,
        target: Map,
        source: Map | None,
        stat: int | None,
        y: Map,
        *,
        res: int | None = None,
        extra: tuple[NormedLayer, Map] | None = None,
    ) -> NDArray[np.int64]:
        """Plan the gradient from the convolution's output to its input, and return the steps.

        Args:
            to_conv: holds the former.
            target: will hold the latter.
            source: what the convolution has read; the gradient is zero where it is not positive. None: nowhere.
            stat: where to count the result and its products with `y`; None: nowhere.
            y: of the layer that has written the source.
            res: how far from the target what is added lies; None: nothing is.
            extra: the shortcut, and the gradient of its output.
        """
        builder, part, first = self.builder, self.part, len(self.builder.steps)
        more: dict[str, Any] = {} if source is None else {"mask": source.start - target.start}
        counted: dict[str, Any] = {} if stat is None else {"stat": stat, "stat2": y.start - target.start}
        added: dict[str, Any] = {"res": NONE if res is None else res}
        beside = None if extra is None else (extra[0].weights, extra[1])
        if beside is None or extra is None or extra[0].part.stride == part.stride:
            builder.backward(
                self.weights, part.stride, part.padding, to_conv, target, beside, **more, **counted, **added
            )
        else:  # a bottleneck, whose stride is its second convolution's
            builder.backward(self.weights, part.stride, part.padding, to_conv, target, **more)
            builder.backward_1x1(beside[0], extra[0].part.stride, beside[1], target, res=0, **more)
        return builder.cut(first)

    def move_statistics(self, count: int) -> None:
        """Take the batch's statistics from the sums over `count` pixels, and move the running ones as torch does."""
        norm, mean = self.norm, self.sums[:, 0] / count
        variance = np.maximum(self.sums[:, 1] / count - mean * mean, 0)
        self.mean, self.inverse_deviation, self.count = mean, 1 / np.sqrt(variance + norm.eps), count
        scale = self.gamma * self.inverse_deviation
        self.scale, self.shift = scale.astype(np.float32), (self.beta - scale * mean).astype(np.float32)
        if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
            return
        norm.num_batches_tracked.add_(1)
        share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        unbiased = variance * count / max(count - 1, 1)
        for running, now in ((norm.running_mean, mean), (norm.running_var, unbiased)):
            running.mul_(1 - share).add_(torch.from_numpy(share * now).to(running.dtype))

    def backward_factors(self, sums: Doubles) -> tuple[Floats, Floats, Floats]:
        """Return p, q and r of `sweeps`, from the sums of the gradient and of its products with y."""
        one = sums[:, 0] / self.count
        two = self.inverse_deviation * (sums[:, 1] / self.count - self.mean * one)  # of gradient * standardised y
        p = self.gamma * self.inverse_deviation
        q = -p * self.inverse_deviation * two
        r = -p * one - q * self.mean
        return p.astype(np.float32), q.astype(np.float32), r.astype(np.float32)


def effective_weight(conv: Any) -> Tensor:
    """Return the weight that a compressible layer computes with in this step, held for it."""
    held = conv._held
    assert isinstance(held, Tensor), "used within `attack_weights`"
    return held.detach()


def _double(parameter: Tensor | None, default: float, channels: int) -> Doubles:
    return np.full(channels, default) if parameter is None else parameter.detach().double().numpy()
