"""Pure functions that map real tensors onto constraint sets: exact top-k masks. No state, no modules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def top_k_mask(magnitudes: Tensor, count: int) -> Tensor:
    """Mark the `count` largest entries; among equal values the earlier position wins.

    The tie rule matters: scores that start from +-1 weights, or that live in half precision, are full of ties, and
    an unstable selection would make the network depend on the machine.

    Args:
        magnitudes: any shape, finite or infinite, no NaN.
        count: number of entries to keep, in [0, magnitudes.numel()].

    Returns:
        A boolean tensor of the same shape with exactly `count` entries set.

    Raises:
        ValueError: if `count` is out of range.
    """
    flat = magnitudes.detach().flatten()
    if not 0 <= count <= flat.numel():
        raise ValueError(f"count must be between 0 and {flat.numel()}, got {count}")
    if count in (0, flat.numel()):
        return torch.full_like(magnitudes, count > 0, dtype=torch.bool)
    threshold = _kth_largest(flat, count)
    mask = flat > threshold
    # Ties at the threshold fill the open places in order of position.
    tied = flat == threshold
    mask |= tied & (tied.cumsum(0) <= count - mask.sum())
    return mask.view_as(magnitudes)


def joint_top_k_masks(magnitudes: Sequence[Tensor], count: int) -> list[Tensor]:
    """Mark the `count` largest entries over all tensors together; ties as in `top_k_mask`, by tensor order.

    Returns:
        One boolean mask per tensor; the masks together have exactly `count` entries set.
    """
    if len(magnitudes) == 1:
        return [top_k_mask(magnitudes[0], count)]
    joint = top_k_mask(torch.cat([tensor.detach().flatten() for tensor in magnitudes]), count)
    parts = joint.split([tensor.numel() for tensor in magnitudes])
    return [part.view_as(tensor) for part, tensor in zip(parts, magnitudes, strict=True)]


def two_means(values: Tensor) -> Tensor:
    """Replace every value by the mean of its cluster in the best partition into two clusters.

    Exact in one dimension: the clusters are intervals, so every cut of the sorted values is tried with prefix sums.

    Args:
        values: (n,) float tensor, n >= 1.

    Returns:
        (n,) tensor with at most two distinct values; the sum of squared changes is the least possible.
    """
    ordered, order = values.double().sort(stable=True)
    count = ordered.numel()
    if count < 2:
        return values.clone()
    sums = ordered.cumsum(0)
    sizes = torch.arange(1, count, device=values.device, dtype=torch.float64)  # of the lower cluster
    # Least squared error is largest between-cluster sum of squares: sum_i (sum of cluster i)^2 / size of cluster i.
    spread = sums[:-1] ** 2 / sizes + (sums[-1] - sums[:-1]) ** 2 / (count - sizes)
    cut = int(spread.argmax()) + 1
    means = torch.empty_like(ordered)
    means[:cut] = ordered[:cut].mean()
    means[cut:] = ordered[cut:].mean()
    result = torch.empty_like(means)
    result[order] = means
    return result.to(values.dtype)


def _kth_largest(flat: Tensor, count: int) -> Tensor:
    """Return the `count`-th largest value of a vector as a 0-d tensor on its device."""
    if flat.device.type == "cpu":
        # numpy's introselect is about three times as fast as torch's topk and kthvalue on a CPU.
        position = flat.numel() - count
        values = flat.float() if flat.dtype == torch.bfloat16 else flat  # numpy has no bfloat16; float32 holds it
        return torch.from_numpy(np.partition(values.numpy(), position))[position].to(flat.dtype)
    return torch.topk(flat, count, sorted=False).values.min()
