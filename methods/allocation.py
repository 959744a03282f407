"""Splits a global weight budget over layers, in exact integers; used by `methods.layers` and `plan`.

How it is split is written as an exponent p, or as one of the names "global" (all layers share one budget), "auto" (see
`methods.auto_allocation`) and "auto:0.01" (the same with another constant).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache

from methods.auto_allocation import DEFAULT_C, MAX_C, auto_budgets

AUTO = "auto"
_CONSTANT = "auto:"  # followed by the constant


def auto_name(c: float) -> str:
    """Return the name of the automatic allocation with a constant.

    Raises:
        ValueError: if the constant is out of range.

    >>> auto_name(0.035), auto_name(0.01)
    ('auto', 'auto:0.01')
    """
    if not 0.0 <= c <= MAX_C:
        raise ValueError(f"the constant of the automatic allocation is from 0 to {MAX_C:g}; got {c:g}")
    return AUTO if c == DEFAULT_C else f"{_CONSTANT}{float(c)!r}"


def auto_constant(allocation: float | str) -> float | None:
    """Return the constant of an automatic allocation, which has one spelling; None for any other value.

    >>> auto_constant("auto"), auto_constant("auto:0.01"), auto_constant("auto:0.010"), auto_constant(0.1)
    (0.035, 0.01, None, None)
    """
    if allocation == AUTO:
        return DEFAULT_C
    if not isinstance(allocation, str) or not allocation.startswith(_CONSTANT):
        return None
    try:
        c = float(allocation.removeprefix(_CONSTANT))
        return c if auto_name(c) == allocation else None
    except ValueError:
        return None


def check_allocation(allocation: float | str) -> float | str:
    """Return an allocation as it is.

    Raises:
        ValueError: if it is neither an exponent in [0, 1] nor a name.
    """
    if isinstance(allocation, str):
        valid = allocation == "global" or auto_constant(allocation) is not None
    else:
        valid = 0.0 <= allocation <= 1.0
    if not valid:
        raise ValueError(f"allocation is an exponent p in [0, 1], 'global', 'auto' or 'auto:c'; got {allocation}")
    return allocation


def weight_budget(total: int, keep_ratio: float) -> int:
    """Return the number of weights kept out of `total`: round(keep_ratio * total), halves to even.

    The product uses the exact decimal that the user wrote (0.01 is one hundredth), so that the budget does not depend
    on binary rounding.

    >>> weight_budget(21_265_088, 0.01)
    212651
    """
    return round(Fraction(repr(keep_ratio)) * total)


def allocation_text(allocation: float | str) -> str:
    """Return an allocation in words.

    >>> allocation_text(0.1), allocation_text("auto")
    ('p=0.1', 'allocation auto')
    """
    return f"allocation {allocation}" if isinstance(allocation, str) else f"p={allocation:g}"


def allocate(sizes: Sequence[int], keep_ratio: float, p: float | str) -> list[int]:
    """Split a global weight budget over layers so that kept_l is proportional to sizes_l ** p, or automatically.

    p=1 keeps the same fraction in every layer, p=0 the same number. A layer whose share would exceed its size is kept
    whole, and the surplus is split among the others. Real-valued shares are rounded down, and the remainder goes to
    the largest fractional parts, ties by layer order.

    Source: Liu et al., NeurIPS 2022, adaptive pruning (m_l / n_l^p constant over layers).
    DEVIATION: the released code rounds every layer up on its own, and what its running budget rounds down goes to the
    larger layers: in its ResNet34 at keep_ratio 0.01, a layer keeps up to three weights too many, all layers 32 to 35.
    Here the total is exact.

    Args:
        sizes: number of weights of each prunable layer, in module order.
        keep_ratio: kept / total over all layers, in (0, 1].
        p: exponent in [0, 1], or the name of an automatic allocation, see `auto_name`.

    Returns:
        Kept weights per layer; 1 <= kept_l <= sizes_l and sum(kept) == weight_budget(sum(sizes), keep_ratio).

    Raises:
        ValueError: if an argument is out of range, or the budget leaves a layer without weights.

    >>> allocate([10, 100, 1000], keep_ratio=0.1, p=0.0)
    [10, 51, 50]
    """
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes must hold at least one layer of at least one weight; got {list(sizes)}")
    if not 0.0 < keep_ratio <= 1.0:
        raise ValueError(f"keep_ratio is the fraction of weights kept, in (0, 1]; got {keep_ratio:g}")
    budget = weight_budget(sum(sizes), keep_ratio)
    c = auto_constant(p)
    if c is not None:
        return auto_budgets(sizes, budget, c)
    if isinstance(p, str):
        raise ValueError(f"allocation {p!r} has no budgets per layer")
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"p is an exponent in [0, 1]; got {p:g}")
    shares = _water_fill(sizes, budget, p)
    kept = [int(share) for share in shares]
    by_fraction = sorted(range(len(sizes)), key=lambda layer: (kept[layer] - shares[layer], layer))
    for layer in by_fraction[: budget - sum(kept)]:
        kept[layer] += 1
    if min(kept) < 1:
        starved = kept.index(min(kept))
        raise ValueError(
            f"a budget of {budget:,} weights over {len(sizes)} layers leaves layer {starved} "
            f"({sizes[starved]:,} weights) with none at p={p:g}; raise keep_ratio or lower p"
        )
    return kept


def closest_exponent(sizes: Sequence[int], keep_ratio: float, c: float = DEFAULT_C) -> float:
    """Return the exponent p, in hundredths, whose budgets are closest to those of the automatic allocation.

    Closest by the Kullback-Leibler divergence from the automatic shares, sum_l a_l log(a_l / b_l); of equally close
    exponents the smallest. Exponents that leave a layer without weights do not count.

    Args:
        sizes: number of weights of each layer.
        keep_ratio: kept / total over all layers, in (0, 1].
        c: constant of the automatic allocation.
    """
    automatic = allocate(sizes, keep_ratio, auto_name(c))
    divergences = {
        p: sum(a * math.log(a / b) for a, b in zip(automatic, kept, strict=True))
        for p, kept in _by_exponent(tuple(sizes), keep_ratio).items()
    }
    return min(divergences, key=divergences.__getitem__)


@lru_cache(maxsize=64)
def _by_exponent(sizes: tuple[int, ...], keep_ratio: float) -> dict[float, list[int]]:
    """Return the budgets of every exponent, in hundredths, that leaves each layer some."""
    budgets = {}
    for hundredths in range(101):
        with suppress(ValueError):
            budgets[hundredths / 100] = allocate(sizes, keep_ratio, hundredths / 100)
    return budgets


def _water_fill(sizes: Sequence[int], budget: int, p: float) -> list[Fraction]:
    """Return exact shares: proportional to size ** p, at most the size, summing to `budget`.

    Only the powers are rounded to floats; everything else is rational, so fractional parts compare exactly.
    """
    powers = [Fraction(float(size) ** p) for size in sizes]
    shares = [Fraction(size) for size in sizes]  # the value of a capped layer
    free = set(range(len(sizes)))
    while free:
        taken = sum(sizes[i] for i in range(len(sizes)) if i not in free)
        scale = Fraction(budget - taken) / sum((powers[i] for i in free), Fraction())
        full = {i for i in free if powers[i] * scale >= sizes[i]}
        if not full:
            for i in free:
                shares[i] = powers[i] * scale
            break
        free -= full
    return shares
