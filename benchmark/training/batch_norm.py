"""Batch norm where several processes compute the images of one batch: over all of them, or over each one's own.

torch's SyncBatchNorm has no CPU path. Mean and variance come from the counts, means and squared deviations of all
processes (Chan, Golub, LeVeque 1983), which are gathered, so that no large sums cancel; the backward pass adds up the
two sums of each channel that batch norm's gradient needs (Ioffe, Szegedy 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

Gather = Callable[[Tensor], Tensor]  # (n,) of this process to (processes, n) of all


@contextmanager
def shared_batch_norm(model: nn.Module, gather: Gather | None) -> Iterator[None]:
    """Let the batch norms of a network normalise by the statistics of a batch that several processes share.

    The passes inside the block must be the same on all processes, also on one that has no image. Running statistics
    become those of the whole batch, its unbiased variance included.

    Args:
        model: its norms in train mode are affected; a method's own kinds of norm are not.
        gather: brings the processes' tensors together; None: each process normalises by its own images.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    norms = [norm for norm in norms if type(norm).forward is _BatchNorm.forward]
    try:
        for norm in norms:
            # In the instance, hence in front of the class's: type, state dict and parameters stay what they are.
            norm.forward = partial(_forward, norm, gather)  # type: ignore[method-assign]
        yield
    finally:
        for norm in norms:
            vars(norm).pop("forward", None)


def running_statistics(model: nn.Module) -> list[Tensor]:
    """Return the running means and variances of a network's batch norms."""
    norms = (module for module in model.modules() if isinstance(module, _BatchNorm))
    return [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]


def _forward(norm: _BatchNorm, gather: Gather | None, images: Tensor) -> Tensor:
    values = images.numel() // images.shape[1]  # of each channel
    # Of less than two values torch's own takes no variance. Rare enough for a zero: few images on many processes.
    if not norm.training or (gather is None and values > 1):
        return _BatchNorm.forward(norm, images)
    own = _moments(images, values)
    mean, variance, count = _combined(own[None] if gather is None else gather(own))
    if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        # As in torch: without a momentum, the plain average over all batches.
        share = 1.0 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
        with torch.no_grad():
            unbiased = variance * (count / (count - 1).clamp(min=1))
            for running, new in ((norm.running_mean, mean), (norm.running_var, unbiased)):
                running.mul_(1 - share).add_(share * new.to(running.dtype))
    outputs: Tensor = _Normalise.apply(  # type: ignore[no-untyped-call]
        images, norm.weight, norm.bias, mean, variance, count, norm.eps, gather
    )
    return outputs


@torch.no_grad()
def _moments(images: Tensor, values: int) -> Tensor:
    """Return (2 * channels + 1,): the values of each channel, their means, and their summed squared deviations."""
    wide = _wide(images)
    if values == 0:
        return wide.new_zeros(2 * images.shape[1] + 1)
    variance, mean = torch.var_mean(wide, _all_but_channels(images), correction=0)
    return torch.cat([mean.new_full((1,), values), mean, variance * values])


def _combined(moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,), biased variance (C,) and count () of all processes' values from their `_moments`."""
    counts = moments[:, :1]
    means, deviations = moments[:, 1:].chunk(2, dim=1)
    count = counts.sum().clamp(min=1)
    mean = (counts * means).sum(0) / count
    variance = (deviations + counts * (means - mean).square()).sum(0) / count
    return mean, variance, count


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _all_but_channels(images: Tensor) -> list[int]:
    return [dim for dim in range(images.dim()) if dim != 1]


class _Normalise(torch.autograd.Function):
    """(images - mean) / sqrt(variance + eps) * weight + bias, where mean and variance depend on all images."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
        gather: Gather | None,
    ) -> Tensor:
        ctx.save_for_backward(images, weight, mean, variance, count)
        ctx.eps, ctx.gather = eps, gather
        return F.batch_norm(images, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, mean, variance, count = ctx.saved_tensors
        wide, grad = _wide(images), _wide(grads[0])
        # As if the statistics were constants; the sums over this process's images are the affine part's gradients.
        if images.numel():
            to_images, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
                *(grad, wide, weight, mean, variance, None, None, False, ctx.eps, [True, True, True])
            )
        else:  # there torch's function divides by zero, which ends the process (torch 2.13 on a CPU)
            to_images, to_weight, to_bias = grad, torch.zeros_like(mean), torch.zeros_like(mean)
        sums = torch.cat([to_weight, to_bias])
        along, constant = (sums if ctx.gather is None else ctx.gather(sums).sum(0)).chunk(2)
        # Through the variance and the mean: -w / (std * count) * (normalised * along + constant).
        inverse = torch.rsqrt(variance + ctx.eps)
        scale = -inverse / count if weight is None else -inverse * weight / count
        shape = [1, -1, *[1] * (images.dim() - 2)]
        slope = scale * inverse * along
        offset = (scale * constant - slope * mean).view(shape)
        to_images = to_images + torch.addcmul(offset, wide, slope.view(shape))
        needs = ctx.needs_input_grad
        return (
            to_images.to(images.dtype) if needs[0] else None,
            to_weight if needs[1] else None,
            to_bias if needs[2] else None,
            *(None,) * 5,
        )
