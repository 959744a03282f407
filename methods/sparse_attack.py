"""Convolutions with nearly empty kernels, for the passes of an attack on a CPU.

With keep_ratio 0.01 and p=0.1, the wide layers of a ResNet34 keep one weight in 80 to 250, so a dense convolution
multiplies mostly by zeros. Here a kernel becomes one sparse matrix per tap (position in the kernel). Feature maps have
the layout (channels, images * padded pixels), so that the shift of a tap is an offset and its product a matrix product:
out[c, p] = sum over taps t and channels i of weight[c, i, t] * map[i, p + offset(t)].
As with any other layout, the order of summation differs from a dense convolution's.
"""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]

# Measured on two x86 cores with 3x3 kernels and batches of 32 and 128: with one weight in 80, twice as fast as a dense
# convolution in float32 and as fast as one in bfloat16; below 128 x 128 channels, copying costs what multiplying saves.
MAX_DENSITY = {torch.float32: 0.015, torch.bfloat16: 0.006}
MIN_WEIGHTS = 128 * 128 * 9
ROW = 4096  # numbers in a row of the map that is processed at a time: 16 KB


class SparseConvolution:
    """A frozen convolution of stride 1 that keeps the image size, differentiable in its input.

    Args:
        weight: (out, in, k, k), k odd; not stored. Results have its dtype, sums are in float32.
    """

    def __init__(self, weight: Tensor) -> None:
        out, inner, size, _ = weight.shape
        self.dtype, self.kernel_size = weight.dtype, size
        flat = weight.permute(0, 2, 3, 1).reshape(-1).float().numpy()  # a view of channels_last weights
        nonzero = np.flatnonzero(flat)
        row, tap, column = np.unravel_index(nonzero, (out, size * size, inner))
        self.taps = _taps(tap, row, column, flat[nonzero], (out, inner), size)
        # The gradient with respect to the input uses the rotated kernel with its channels swapped.
        self.transposed_taps = _taps(size * size - 1 - tap, column, row, flat[nonzero], (inner, out), size)

    def __call__(self, images: Tensor) -> Tensor:
        """Convolve (B, in, H, W) feature maps; the result (B, out, H, W) is in channels_last."""
        return _Convolve.apply(images, self)  # type: ignore[no-untyped-call, no-any-return]

    def correlate(self, images: Tensor, taps: list[tuple[int, int, Tensor]]) -> Tensor:
        """Return the sum over the taps of their products with the shifted maps, computed in parts of the batch."""
        count, _, height, width = images.shape
        border, channels = self.kernel_size // 2, taps[0][2].shape[0]
        rows, columns = height + 2 * border, width + 2 * border
        result = torch.empty((count, channels, height, width), dtype=self.dtype, memory_format=torch.channels_last)
        share = max(1, ROW // (rows * columns))
        for part, out in zip(images.split(share), result.split(share), strict=True):
            padded = part.new_zeros(part.shape[1], len(part), rows, columns, dtype=torch.float32)
            padded[:, :, border : border + height, border : border + width] = part.transpose(0, 1)
            maps = padded.flatten(1)
            # The sum at a pixel is stored where its window starts; windows that leave the image are never read.
            length = maps.shape[1] - 2 * border * (columns + 1)
            sums = maps.new_zeros(channels, maps.shape[1])
            window = sums[:, :length]
            for row, column, matrix in taps:
                offset = row * columns + column
                torch.addmm(window, matrix, maps[:, offset : offset + length], out=window)
            whole = sums.view(channels, len(part), rows, columns)
            out.copy_(whole[:, :, :height, :width].transpose(0, 1))
        return result


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, kernel: SparseConvolution) -> Tensor:
        ctx.kernel, ctx.dtype = kernel, images.dtype
        return kernel.correlate(images, kernel.taps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.kernel.correlate(grads[0], ctx.kernel.transposed_taps).to(ctx.dtype), None


def sparse_convolution(weight: Tensor, *, stride: int, padding: int) -> SparseConvolution | None:
    """Return a convolution with `weight` that skips its zeros, or None if the dense one is as fast.

    Only for weights in channels_last, the layout of training: contiguous ones give the same bits as a plain
    implementation.
    """
    size = weight.shape[2]
    fits = (
        weight.device.type == "cpu"
        and torch.backends.mkl.is_available()
        and weight.is_contiguous(memory_format=torch.channels_last)
        and size > 1
        and (stride, 2 * padding + 1) == (1, size)
        and weight.numel() >= MIN_WEIGHTS
    )
    if not fits:
        return None
    kept = int(torch.count_nonzero(weight))
    return SparseConvolution(weight) if 0 < kept <= MAX_DENSITY.get(weight.dtype, 0.0) * weight.numel() else None


def _taps(
    tap: Indices, row: Indices, column: Indices, values: NDArray[np.float32], shape: tuple[int, int], size: int
) -> list[tuple[int, int, Tensor]]:
    """Return (row, column, sparse matrix) for every position of a kernel with side `size` that is not all zero."""
    order = np.lexsort((column, row, tap))
    tap, row, column, values = tap[order], row[order], column[order], values[order]
    bounds = np.searchsorted(tap, np.arange(size * size + 1))
    taps = []
    for position, (start, end) in enumerate(itertools.pairwise(bounds.tolist())):
        if start < end:
            counts = np.bincount(row[start:end], minlength=shape[0])
            begins = np.concatenate([[0], counts.cumsum()]).astype(np.int32)  # int32 is what MKL computes with
            parts = (begins, column[start:end].astype(np.int32), values[start:end])
            begin, columns, numbers = (torch.from_numpy(part) for part in parts)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sparse CSR", UserWarning)  # once per process: "in beta state"
                matrix = torch.sparse_csr_tensor(begin, columns, numbers, size=shape, check_invariants=False)
            taps.append((position // size, position % size, matrix))
    return taps
