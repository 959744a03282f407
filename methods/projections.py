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
    return joint_top_k_masks([magnitudes], count)[0]


def joint_top_k_masks(magnitudes: Sequence[Tensor], count: int) -> list[Tensor]:
    """Mark the `count` largest entries over all tensors together; ties as in `top_k_mask`, by tensor order.

    Returns:
        One boolean mask per tensor; the masks together have exactly `count` entries set.

    Raises:
        ValueError: if `count` is out of range.
    """
    tensors = [tensor.detach() for tensor in magnitudes]
    total = sum(tensor.numel() for tensor in tensors)
    if not 0 <= count <= total:
        raise ValueError(f"count must be between 0 and {total}, got {count}")
    if count in (0, total):
        return [torch.full_like(tensor, count > 0, dtype=torch.bool) for tensor in tensors]
    on_cpu = tensors[0].device.type == "cpu"
    return _masks_on_cpu(tensors, count) if on_cpu else _masks_without_waiting(tensors, count)


def _masks_on_cpu(tensors: Sequence[Tensor], count: int) -> list[Tensor]:
    """Mark everything down to the threshold, then take back the last ties if they are too many: there seldom are."""
    threshold = _kth_largest_on_cpu(tensors, count)
    masks = [tensor >= threshold for tensor in tensors]
    surplus = sum(int(np.count_nonzero(_as_it_lies(mask).numpy())) for mask in masks) - count
    for tensor, mask in zip(reversed(tensors), reversed(masks), strict=True):
        if surplus == 0:
            break
        tied = (tensor == threshold).flatten().nonzero().flatten()
        dropped = tied[max(0, len(tied) - surplus) :]
        mask[torch.unravel_index(dropped, mask.shape)] = False
        surplus -= len(dropped)
    return masks


def _masks_without_waiting(tensors: Sequence[Tensor], count: int) -> list[Tensor]:
    """Do the same by cumulated counts, so that the host never has to wait for the device to know a number."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    threshold = torch.topk(flat, count, sorted=False).values.min()
    mask = flat > threshold
    tied = flat == threshold  # fill the open places in order of position
    mask |= tied & (tied.cumsum(0, dtype=torch.int32) <= count - mask.sum(dtype=torch.int32))
    parts = mask.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def two_means(values: Tensor) -> Tensor:
    """Replace every value by the mean of its cluster in the best partition into two clusters.

    Exact in one dimension: the clusters are intervals, so every cut of the sorted values is tried with prefix sums.
    Equal values stay together; to part them is never better.

    Args:
        values: (n,) float tensor, n >= 1.

    Returns:
        (n,) tensor with at most two distinct values; the sum of squared changes is the least possible.
    """
    ordered = _sorted(values)
    count = ordered.numel()
    if count < 2:
        return values.clone()
    ordered = ordered.double()
    sums = ordered.cumsum(0)
    sizes = torch.arange(1, count, device=values.device, dtype=torch.float64)  # of the lower cluster
    # Least squared error is largest between-cluster sum of squares: sum_i (sum of cluster i)^2 / size of cluster i.
    spread = sums[:-1] ** 2 / sizes + (sums[-1] - sums[:-1]) ** 2 / (count - sizes)
    cut = int(spread.masked_fill(ordered[1:] == ordered[:-1], -1.0).argmax()) + 1
    low, high = ordered[:cut].mean(), ordered[cut:].mean()
    return torch.where(values < ordered[cut], low, high).to(values.dtype)


def _sorted(values: Tensor) -> Tensor:
    """Return the values of a vector in rising order; numpy sorts several times as fast as torch on a CPU."""
    if values.device.type != "cpu":
        return values.sort().values
    return torch.from_numpy(np.sort(_for_numpy(values).numpy()))


def _kth_largest_on_cpu(tensors: Sequence[Tensor], count: int) -> Tensor:
    """Return the `count`-th largest value of all tensors together; numpy's introselect is the fastest way to it."""
    # The order does not matter here, so a tensor is taken as it lies in memory.
    joint = torch.cat([_for_numpy(_as_it_lies(tensor)) for tensor in tensors]).numpy()
    position = joint.size - count
    joint.partition(position)
    return torch.tensor(joint[position], dtype=tensors[0].dtype)


def _as_it_lies(tensor: Tensor) -> Tensor:
    """Return a dense tensor as a vector without copying, whatever its memory layout; any other as a copy."""
    dense = torch.ops.aten.is_non_overlapping_and_dense(tensor)
    return tensor.as_strided((tensor.numel(),), (1,)) if dense else tensor.flatten()


def _for_numpy(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # numpy has no bfloat16; float32 holds it
