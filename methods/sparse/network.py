"""A folded network on the sparse kernels, differentiable in its images.

Its results depend on an image alone: not on the number of threads, nor on the other images of a batch, to the last bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from methods.sparse.program import Convolution, Folded, Program, ProgramMaker

Floats = NDArray[np.float32]
Strips = tuple[int, int]

BORDER_COST = 0.06  # of copying borders, in shares of a pass, each time that strips are halved


class SparseNetwork(nn.Module):
    """Computes what a folded network does. It has no parameters: only images get gradients."""

    def __init__(self, folded: Folded, kernels: ModuleType) -> None:
        """Take a network that `program.unsupported` has nothing against; `kernels` as from `support.kernels()`."""
        super().__init__()
        self.folded, self.kernels = folded, kernels
        weight, bias = folded.classifier.weight[:, :, 0, 0].T, folded.classifier.bias
        pixels = (folded.mean.flatten(), 1 / folded.std.flatten())
        self.ends = tuple(tensor.detach().float().contiguous().numpy() for tensor in (*pixels, weight, bias))
        self.total_stride = 1
        for block in folded.blocks:
            self.total_stride *= block.stride
        self.runners: dict[tuple[tuple[int, int], Strips, bool], _Runner] = {}
        self.planned: dict[tuple[torch.Size, bool], list[tuple[int, int, _Runner]]] = {}

    @property
    def lanes(self) -> int:
        """Images that one vector holds."""
        return int(self.kernels.LANES)

    def __call__(self, images: Tensor) -> Tensor:
        """Map images to logits; without hooks, whose look-up takes a tenth of the time of a small network."""
        return self.forward(images)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images in [0, 1] to (B, classes) logits."""
        if torch.is_grad_enabled() and images.requires_grad:
            return _ToImages.apply(images, self)  # type: ignore[no-untyped-call, no-any-return]
        pixels, threads = _pixels(images), torch.get_num_threads()
        parts = [
            runner.forward(pixels[begin:end], Lease(runner, threads), keep=False)
            for begin, end, runner in self.runners_for(images.shape, gradients=False)
        ]
        return torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts))

    def runners_for(self, shape: torch.Size, *, gradients: bool) -> list[tuple[int, int, _Runner]]:
        """Return the parts (begin, end) of a batch of images and what runs them; looked up if the shape is not new."""
        key = (shape, gradients)
        if key not in self.planned:
            size = (shape[2], shape[3])
            self.planned[key] = [
                (begin, end, self.runner(size, strips, gradients=gradients))
                for begin, end, strips in self.shares(shape[0], size)
            ]
        return self.planned[key]

    def runner(self, size: tuple[int, int], strips: Strips, *, gradients: bool) -> _Runner:
        """Return what runs groups of images of a size, cut into strips; built when first asked for."""
        key = (size, strips, gradients)
        if key not in self.runners:
            program = ProgramMaker(self.folded, size, self.lanes, strips).program(gradients=gradients)
            self.runners[key] = _Runner(self.kernels, program, self.ends)
        return self.runners[key]

    def shares(self, images: int, size: tuple[int, int]) -> list[tuple[int, int, Strips]]:
        """Cut a batch into parts (begin, end, strips): full groups of whole images, then strips of the rest."""
        lanes = self.lanes
        full = images // lanes * lanes
        rest = images - full
        shares = [(0, full, (1, 1))] if full or not rest else []
        if rest:
            cost = {
                strips: -(-rest * number // lanes) / number * (1 + BORDER_COST * step)
                for step, number, strips in self._cuts(size)
            }
            shares.append((full, images, min(cost, key=cost.__getitem__)))
        return shares

    def _cuts(self, size: tuple[int, int]) -> list[tuple[int, int, Strips]]:
        """Return the ways to cut an image of a size: how often it is halved, strips, and their rows and columns."""
        cuts, rows, cols = [(0, 1, (1, 1))], 1, 1
        while rows * cols < self.lanes:
            if size[0] % (2 * rows * self.total_stride) == 0 and rows <= cols:
                rows *= 2
            elif size[1] % (2 * cols * self.total_stride) == 0:
                cols *= 2
            elif size[0] % (2 * rows * self.total_stride) == 0:
                rows *= 2
            else:
                break
            cuts.append((len(cuts), rows * cols, (rows, cols)))
        return cuts


def share_of_dense(network: Folded) -> float:
    """Return the multiply-adds by weights that are not zero, as a share of those that a dense pass takes time for.

    Dense convolutions of few channels take about as long as those of 32.
    """
    kept = dense = 0.0
    for conv, pixels in _layers(network):
        out, inner, rows, cols = conv.weight.shape
        kept += int(torch.count_nonzero(conv.weight)) * pixels
        dense += max(out, 32) * max(inner, 32) * rows * cols * pixels
    return kept / dense


def _layers(network: Folded) -> Iterator[tuple[Convolution, float]]:
    """Yield every convolution but the classifier, and the pixels of its output relative to the image's."""
    pixels = 1.0
    yield network.stem, pixels
    for block in network.blocks:
        if block.shortcut is not None:
            yield block.shortcut, pixels / block.stride**2
        for conv in block.convs:
            pixels /= conv.stride**2
            yield conv, pixels


class _Runner:
    """A program, and arenas to run it in. Borders of maps are zero from the start, and stay so."""

    def __init__(self, kernels: ModuleType, program: Program, ends: tuple[Any, ...]) -> None:
        self.kernels, self.program, self.ends = kernels, program, ends
        self.strips = np.array([program.images, *program.strips], np.int64)
        self.masks = kernels.lane_masks(program.images, *program.strips)
        self.free: dict[int, list[Floats]] = {}

    def groups(self, images: int) -> int:
        """Return how many groups so many images make."""
        return -(-images // self.program.images)

    def forward(self, images: Floats, lease: Lease, *, keep: bool) -> Floats:
        """Return (N, classes) logits; with `keep`, the maps of every group stay in an arena of its own."""
        logits = np.empty((len(images), self.ends[3].shape[0]), np.float32)
        self._run(self.program.forward, images, logits, lease, keep=keep)
        return logits

    def backward(self, gradient: Floats, shape: tuple[int, ...], lease: Lease) -> Floats:
        """Return the gradient of the images from that of the logits, after a forward pass that kept its maps."""
        images = np.empty(shape, np.float32)
        self._run(self.program.backward, images, gradient, lease, keep=True)
        return images

    def _run(self, steps: NDArray[np.int64], images: Floats, logits: Floats, lease: Lease, *, keep: bool) -> None:
        features = np.empty((len(images), self.program.channels), np.float32)

        def part(number: int, begin: int, end: int) -> None:
            self.kernels.run(
                lease.arenas,
                begin,
                end,
                -1 if keep else number,
                steps,
                self.program.lists,
                self.program.size,
                self.strips,
                self.masks,
                self.ends,
                images,
                features,
                logits,
            )

        in_threads(self.groups(len(images)), part)


def in_threads(groups: int, part: Callable[[int, int, int], None]) -> None:
    """Call part(number, begin, end) for shares of the groups, in as many threads as torch uses."""
    threads = max(1, min(torch.get_num_threads(), groups))
    if threads == 1:
        part(0, 0, groups)
        return
    bounds = [groups * number // threads for number in range(threads + 1)]
    list(_pool(threads, os.getpid()).map(part, range(threads), bounds[:-1], bounds[1:]))


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Return threads that wait for work; those of the process that this one was forked from are not here."""
    return ThreadPoolExecutor(threads, thread_name_prefix="sparse")


class Lease:
    """Arenas on loan; they go back when whoever holds this is gone."""

    def __init__(self, runner: _Runner, groups: int) -> None:
        size = 1 << max(0, groups - 1).bit_length()  # few sizes, so that many batches find one that is free
        size = min((each for each, free in runner.free.items() if free and each >= size), default=size)
        self.free = runner.free.setdefault(size, [])
        self.arenas = self.free.pop() if self.free else zeros(size, runner.program.width)

    def __del__(self) -> None:
        self.free.append(self.arenas)


def zeros(rows: int, cols: int) -> Floats:
    """Return zeros (rows, cols) at an address that 64 divides."""
    raw = np.zeros(rows * cols + 16, np.float32)
    start = (-raw.ctypes.data // 4) % 16
    return raw[start : start + rows * cols].reshape(rows, cols)


def _pixels(images: Tensor) -> Floats:
    return np.ascontiguousarray(images.detach().float().numpy())


class _ToImages(torch.autograd.Function):
    """The whole network as one differentiable operation."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, network: SparseNetwork) -> Tensor:
        pixels = _pixels(images)
        ctx.network, ctx.shape, ctx.kept, logits = network, pixels.shape, [], []
        for begin, end, runner in network.runners_for(images.shape, gradients=True):
            lease = Lease(runner, runner.groups(end - begin))
            logits.append(runner.forward(pixels[begin:end], lease, keep=True))
            ctx.kept.append((begin, end, runner, lease))
        return torch.from_numpy(np.concatenate(logits))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        given = gradient.float().contiguous().numpy()
        parts = [
            runner.backward(given[begin:end], (end - begin, *ctx.shape[1:]), lease)
            for begin, end, runner, lease in ctx.kept
        ]
        return torch.from_numpy(np.concatenate(parts)), None
