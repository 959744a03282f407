"""Pure functions that project tensors onto constraint sets: exact top-k masks and two levels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def joint_top_k_masks(magnitudes: Sequence[Tensor], count: int) -> list[Tensor]:
    """Mark the `count` largest entries of all tensors together; among equal values the earlier position wins.

    The tie rule matters: scores that start from +-1 weights or are in half precision have many ties, and an unstable
    selection would make the network depend on the machine.

    Args:
        magnitudes: tensors of any shape, finite or infinite, no NaN; earlier tensors win ties.
        count: number of entries to mark, from 0 to the total number of entries.

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
    return _masks_on_cpu(tensors, count) if on_cpu else _masks_on_device(tensors, count)


def _masks_on_cpu(tensors: Sequence[Tensor], count: int) -> list[Tensor]:
    """Mark everything down to the threshold, then unmark the last ties if there are too many, which is rare."""
    threshold = _kth_largest_on_cpu(tensors, count)
    masks = [tensor >= threshold for tensor in tensors]
    surplus = sum(int(np.count_nonzero(_in_memory_order(mask).numpy())) for mask in masks) - count
    for tensor, mask in zip(reversed(tensors), reversed(masks), strict=True):
        if surplus == 0:
            break
        tied = (tensor == threshold).flatten().nonzero().flatten()
        dropped = tied[max(0, len(tied) - surplus) :]
        mask[torch.unravel_index(dropped, mask.shape)] = False
        surplus -= len(dropped)
    return masks


def _masks_on_device(tensors: Sequence[Tensor], count: int) -> list[Tensor]:
    """Do the same with cumulative counts, so that the host never waits for a number from the device."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    threshold = torch.topk(flat, count, sorted=False).values.min()
    mask = flat > threshold
    tied = flat == threshold  # these fill the remaining places in order of position
    mask |= tied & (tied.cumsum(0, dtype=torch.int32) <= count - mask.sum(dtype=torch.int32))
    parts = mask.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def two_means(values: Tensor) -> Tensor:
    """Replace every value by the mean of its cluster in the best partition into two clusters.

    Exact in one dimension: the clusters are intervals, so prefix sums can evaluate every cut of the sorted values.
    Equal values stay together; separating them is never better.

    Args:
        values: (n,) float tensor, n >= 1.

    Returns:
        (n,) tensor with at most two distinct values and the smallest possible sum of squared changes.
    """
    ordered = _sorted(values)
    count = ordered.numel()
    if count < 2:
        return values.clone()
    ordered = ordered.double()
    sums = ordered.cumsum(0)
    sizes = torch.arange(1, count, device=values.device, dtype=torch.float64)  # size of the lower cluster
    # The squared error is smallest where the sum over clusters of (sum of cluster)^2 / (size of cluster) is largest.
    spread = sums[:-1] ** 2 / sizes + (sums[-1] - sums[:-1]) ** 2 / (count - sizes)
    cut = int(spread.masked_fill(ordered[1:] == ordered[:-1], -1.0).argmax()) + 1
    low, high = ordered[:cut].mean(), ordered[cut:].mean()
    return torch.where(values < ordered[cut], low, high).to(values.dtype)


def _sorted(values: Tensor) -> Tensor:
    """Return the values of a vector in ascending order; on a CPU, numpy sorts several times faster than torch."""
    if values.device.type != "cpu":
        return values.sort().values
    return torch.from_numpy(np.sort(_for_numpy(values).numpy()))


def _kth_largest_on_cpu(tensors: Sequence[Tensor], count: int) -> Tensor:
    """Return the `count`-th largest value of all tensors together; numpy's introselect is the fastest way."""
    joint = torch.cat([_for_numpy(_in_memory_order(tensor)) for tensor in tensors]).numpy()
    position = joint.size - count
    joint.partition(position)
    return torch.tensor(joint[position], dtype=tensors[0].dtype)


def _in_memory_order(tensor: Tensor) -> Tensor:
    """Return a tensor as a vector, in memory order and without copying if it is dense."""
    dense = torch.ops.aten.is_non_overlapping_and_dense(tensor)
    return tensor.as_strided((tensor.numel(),), (1,)) if dense else tensor.flatten()


def _for_numpy(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # numpy has no bfloat16; float32 holds it
