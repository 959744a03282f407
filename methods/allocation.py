"""Splits a global weight budget over layers, in exact integers; used by `methods.layers` and `plan`."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def weight_budget(total: int, keep_ratio: float) -> int:
    """Return the number of weights kept out of `total`: round(keep_ratio * total), halves to even.

    The product uses the exact decimal that the user wrote (0.01 is one hundredth), so that the budget does not depend
    on binary rounding.

    >>> weight_budget(21_265_088, 0.01)
    212651
    """
    return round(Fraction(repr(keep_ratio)) * total)


def allocate(sizes: Sequence[int], keep_ratio: float, p: float) -> list[int]:
    """Split a global weight budget over layers so that kept_l is proportional to sizes_l ** p.

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
        p: exponent in [0, 1].

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
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"p is an exponent in [0, 1]; got {p:g}")
    budget = weight_budget(sum(sizes), keep_ratio)
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
