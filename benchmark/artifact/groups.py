"""The groups of weights that a mask keeps, found in the weights themselves; pure functions on numpy arrays.

`methods.granularity` says what the groups are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.results.fields import Granularity

Bits = NDArray[np.bool_]
FOUR = 4


class BadGroups(ValueError):
    """A layer whose weights are in no pattern of the granularity."""


def mask_of(weight: NDArray[np.float32], granularity: Granularity) -> Bits:
    """Return the smallest mask of whole groups that keeps every weight that is not zero.

    In 2:4 a group always keeps its number of weights: where fewer are not zero, the first zeros complete it.

    Args:
        weight: (out, in, k, k).
        granularity: of the mask.

    Returns:
        The mask, of the weight's shape.

    Raises:
        BadGroups: if 2:4 keeps fewer weights of a group than are not zero.
    """
    nonzero: Bits = weight != 0.0
    if granularity == "weight":
        return nonzero
    if granularity == "2:4":
        return from_rows(np.concatenate([_completed(part) for part in rows_of(nonzero)], axis=1), weight.shape)
    axes = (2, 3) if granularity == "kernel" else (0, 2, 3)
    kept: Bits = np.broadcast_to(nonzero.any(axis=axes, keepdims=True), weight.shape)
    return kept


def group_bits(mask: Bits, granularity: Granularity) -> Bits:
    """Return one bit for every group of a mask of whole groups, which is not of 2:4, in C order."""
    if granularity == "kernel":
        return mask[:, :, 0, 0].reshape(-1)
    return mask[0, :, 0, 0] if granularity == "channel" else mask.reshape(-1)


def spread(bits: Bits, shape: tuple[int, ...], granularity: Granularity) -> Bits:
    """Return the mask of a shape (out, in, k, k) from the bits of its groups, the inverse of `group_bits`."""
    if granularity == "weight":
        return bits.reshape(shape)
    groups = bits.reshape(*shape[:2], 1, 1) if granularity == "kernel" else bits.reshape(1, shape[1], 1, 1)
    mask: Bits = np.broadcast_to(groups, shape)
    return mask


def group_count(shape: tuple[int, ...], granularity: Granularity) -> int:
    """Return the number of groups of a weight of shape (out, in, k, k), which are not of 2:4."""
    out_channels, in_channels, rows, columns = shape
    return {"kernel": out_channels * in_channels, "channel": in_channels}.get(
        granularity, out_channels * in_channels * rows * columns
    )


def rows_of(mask: Bits) -> tuple[Bits, Bits]:
    """Split a mask into groups of four, (out, 4 * groups), and the rest of each output, (out, 0 to 3)."""
    rows = mask.transpose(0, 2, 3, 1).reshape(len(mask), -1)
    end = rows.shape[1] // FOUR * FOUR
    return rows[:, :end], rows[:, end:]


def from_rows(rows: Bits, shape: tuple[int, ...]) -> Bits:
    """Return the mask (out, in, k, k) of its outputs' rows, the inverse of `rows_of` without its split."""
    out_channels, in_channels, height, width = shape
    mask: Bits = rows.reshape(out_channels, height, width, in_channels).transpose(0, 3, 1, 2)
    return mask


def _completed(rows: Bits) -> Bits:
    """Return the rows with half of every group of four, or of the whole row if that is shorter, kept."""
    width = min(FOUR, rows.shape[1])
    if width == 0:
        return rows
    groups = rows.reshape(-1, width)
    missing = width // 2 - groups.sum(axis=1, keepdims=True)
    if (missing < 0).any():
        raise BadGroups(f"more than {width // 2} of {width} consecutive weights are not zero")
    completed: Bits = groups | (~groups & (np.cumsum(~groups, axis=1) <= missing))
    return completed.reshape(rows.shape)
