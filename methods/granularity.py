"""Groups of weights that a mask keeps or drops together, their exact budgets, and masks of two weights in four.

- `weight`: every weight on its own.
- `kernel`: the k x k weights between one input and one output channel.
- `channel`: all weights of one input channel of a layer, k x k x out.
- `2:4`: of four consecutive weights two are kept, the pattern that GPUs run fast. An output's weights follow each other
  by row and column of the kernel, then by input channel; of a rest of r < 4 weights, r div 2 are kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from methods.allocation import allocate
from methods.base import Granularity, Method, Target

# The methods that, with their subclasses, can choose groups: they give scores their values after `set_budgets`, which
# decides their shape, and choose masks by `refresh_masks` alone. They are listed here and not in their files, because a
# record holds the hash of its method's file, and `verify` compares more of it as long as the file is unchanged.
GROUPED = frozenset({"edge_popup", "hydra"})
TWO_OF_FOUR_RATIO = 0.5


def refusal(method: Method, target: Target) -> str | None:
    """Return in one sentence why a method cannot have `target`; None if it can.

    This is the method's own reason, or that it or the target cannot have groups of weights.
    """
    if (reason := method.refusal(target)) is not None or target.granularity == "weight":
        return reason
    if GROUPED.isdisjoint(vars(cls).get("name") for cls in type(method).__mro__):
        return f"{method.name} chooses single weights: granularity must be weight, got {target.granularity}"
    return _contradiction(target)


def _contradiction(target: Target) -> str | None:
    """Return in one sentence why a target cannot have its groups; None if it can."""
    granularity = target.granularity
    if granularity == "weight":
        return None
    if target.dense:
        return f"granularity {granularity} says what is dropped together: keep_ratio must be below 1"
    if target.allocation == "global":
        return (
            f"granularity {granularity} needs a budget per layer, as the groups of different layers differ in size: "
            "allocation must not be global"
        )
    if granularity == "2:4" and (target.keep_ratio, target.allocation) != (TWO_OF_FOUR_RATIO, 1.0):
        return (
            f"granularity 2:4 keeps half of every layer: keep_ratio must be {TWO_OF_FOUR_RATIO:g} and allocation 1, "
            f"got {target.keep_ratio:g} and {target.allocation}"
        )
    return None


def score_shape(shape: Sequence[int], granularity: Granularity) -> tuple[int, ...]:
    """Return the shape of the scores of a weight of `shape` (out, in, k, k): one score per group, or per weight in 2:4.

    It broadcasts to `shape`.
    """
    out_channels, in_channels, rows, columns = shape
    if granularity == "kernel":
        return out_channels, in_channels, 1, 1
    if granularity == "channel":
        return 1, in_channels, 1, 1
    return out_channels, in_channels, rows, columns


def layer_budgets(shapes: Sequence[Sequence[int]], target: Target) -> list[int]:
    """Return how many weights each layer keeps, in whole groups.

    Args:
        shapes: (out, in, k, k) of each layer's weight, in module order.
        target: with an allocation to layers, not global.

    Raises:
        ValueError: as `allocate` does, or if the target cannot have its groups, or not every layer one of them.
    """
    if reason := _contradiction(target):
        raise ValueError(reason)
    sizes = [math.prod(shape) for shape in shapes]
    if target.granularity == "2:4":
        if min(kept := [two_of_four_budget(shape) for shape in shapes]) < 1:
            raise ValueError(
                "granularity 2:4 keeps none of a layer with one weight per output; take another granularity"
            )
        return kept
    assert target.allocation != "global", "a global budget has no layers"
    kept = allocate(sizes, target.keep_ratio, target.allocation)
    groups = [
        size // math.prod(score_shape(shape, target.granularity)) for size, shape in zip(sizes, shapes, strict=True)
    ]
    return whole_groups(sizes, kept, groups)


def whole_groups(sizes: Sequence[int], kept: Sequence[int], groups: Sequence[int]) -> list[int]:
    """Round the budgets of layers down to whole groups; a layer that cannot afford one is given one.

    What such a layer lacks is taken from the budget of the layer with the most weights, the first of several. What
    rounding leaves over is not spent.

    Args:
        sizes: weights of each layer.
        kept: budget of each layer, at most its size.
        groups: weights of one group of each layer, which divide its size.

    Raises:
        ValueError: if the largest layer cannot pay for the groups of the others and keep one itself.

    >>> whole_groups([27, 9000], [5, 900], [9, 9])
    [9, 891]
    """
    largest = max(range(len(sizes)), key=lambda layer: (sizes[layer], -layer))
    owed = sum(max(0, group - count) for count, group in zip(kept, groups, strict=True))
    budgets = [max(count, group) for count, group in zip(kept, groups, strict=True)]
    budgets[largest] = kept[largest] - owed + max(0, groups[largest] - kept[largest])
    if budgets[largest] < groups[largest]:
        poor = sum(count < group for count, group in zip(kept, groups, strict=True))
        raise ValueError(
            f"a budget of {sum(kept):,} weights cannot give every layer a group: {poor} of {len(sizes)} layers lack "
            f"{owed:,} weights for one, and the largest layer has {kept[largest]:,}; raise keep_ratio, or take a finer "
            "granularity"
        )
    return [budget // group * group for budget, group in zip(budgets, groups, strict=True)]


def two_of_four_budget(shape: Sequence[int]) -> int:
    """Return how many weights of a layer of `shape` (out, in, k, k) the pattern 2:4 keeps; none of one per output."""
    fan_in = math.prod(shape[1:])
    return shape[0] * (fan_in // 4 * 2 + fan_in % 4 // 2)


def two_of_four_mask(magnitudes: Tensor) -> Tensor:
    """Mark two weights of every four, those with the larger magnitudes; among equal ones the earlier wins.

    Args:
        magnitudes: (out, in, k, k), no NaN.
    """
    out_channels, in_channels, rows, columns = magnitudes.shape
    flat = magnitudes.permute(0, 2, 3, 1).reshape(out_channels, -1)
    end = flat.shape[1] // 4 * 4
    mask = torch.zeros_like(flat, dtype=torch.bool)
    a, b, c, d = flat[:, :end].unflatten(1, (-1, 4)).unbind(2)
    ab, ac, ad, bc, bd, cd = a >= b, a >= c, a >= d, b >= c, b >= d, c >= d
    # In an order of four, the first two are those that come before at least two of the others.
    kept = mask[:, :end].unflatten(1, (-1, 4))
    kept[..., 0] = _two_of_three(ab, ac, ad)
    kept[..., 1] = _two_of_three(~ab, bc, bd)
    kept[..., 2] = _two_of_three(~ac, ~bc, cd)
    kept[..., 3] = _two_of_three(~ad, ~bd, ~cd)
    if (rest := flat.shape[1] - end) > 1:
        best = flat[:, end:].argsort(dim=1, descending=True, stable=True)[:, : rest // 2]
        mask[:, end:].scatter_(1, best, True)
    return mask.view(out_channels, rows, columns, in_channels).permute(0, 3, 1, 2)


def _two_of_three(first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    return first & second | third & (first | second)
