"""Layer budgets without an exponent: the split that maximises the numbers of masks and of paths at once.

The paper motivates p=1 by the number of masks, prod_l C(n_l, m_l), and p=0 by the number of paths from input to output,
prod_l m_l. Here both count, n_l being the size of layer l and m_l its budget (docs/automatic-allocation.md):

    maximise  sum_l log C(n_l, m_l) + strength * sum_l log m_l,  strength = c * mean_l n_l,
    subject to  sum_l m_l = budget  and  1 <= m_l <= n_l.

The objective is concave in each m_l. It is therefore exact to give one weight after the other to the layer that gains
the most by it, and enough to find the smallest gain that is granted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache

DEFAULT_C = 0.035
MAX_C = 1000.0
DIGITS = 50  # of the gains that decide; the logarithm of Decimal is the same on every machine, that of floats is not
_HALVINGS = 200  # enough for any two floats to become neighbours


def auto_budgets(sizes: Sequence[int], budget: int, c: float = DEFAULT_C) -> list[int]:
    """Split a budget of weights over layers by the numbers of masks and of paths.

    The (m+1)-th weight of a layer of n weights gains log((n - m) / (m + 1)) + strength * log(1 + 1 / m), which falls in
    m. Every layer gets one weight, the largest gains get the others; of equal gains that of the earlier layer.

    Args:
        sizes: number of weights of each layer, in module order; at least one layer of at least one weight.
        budget: weights to keep in all layers together, from the number of layers to the number of weights.
        c: the factor of the paths in units of the mean layer size, from 0 (masks alone) to `MAX_C`.

    Returns:
        Kept weights per layer; 1 <= kept_l <= sizes_l and sum(kept) == budget. A larger budget takes from no layer.

    >>> auto_budgets([10, 100, 1000], budget=111)
    [5, 16, 90]
    """
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes must hold at least one layer of at least one weight; got {list(sizes)}")
    if not 0.0 <= c <= MAX_C:
        raise ValueError(f"c is a factor from 0 to {MAX_C:g}; got {c:g}")
    if not len(sizes) <= budget <= sum(sizes):
        raise ValueError(
            f"a budget of {budget:,} weights over {len(sizes)} layers leaves a layer with none; raise keep_ratio"
            if budget < len(sizes)
            else f"a budget of {budget:,} weights is more than the {sum(sizes):,} of all layers"
        )
    kept = _close_budgets(sizes, budget, c)
    with localcontext() as context:
        context.prec = DIGITS
        _make_exact(kept, sizes, budget, c)
    return kept


def _close_budgets(sizes: Sequence[int], budget: int, c: float) -> list[int]:
    """Return budgets by bisection on the smallest gain that is granted, in floats: near the optimum and its total."""
    strength = c * sum(sizes) / len(sizes)
    low, high = -math.log(max(sizes)) - 1.0, math.log(max(sizes)) + strength + 1.0  # below and above every gain
    kept = [1] * len(sizes)
    for _ in range(_HALVINGS):
        threshold = (low + high) / 2
        granted = [_granted(size, threshold, strength) for size in sizes]
        if sum(granted) > budget:
            low = threshold
        else:
            high, kept = threshold, granted
        if budget - sum(kept) <= len(sizes) or not low < (low + high) / 2 < high:
            break
    return kept


def _granted(size: int, threshold: float, strength: float) -> int:
    """Return how many weights of a layer gain at least a threshold; the first one is granted in any case."""
    enough, too_many = 1, size + 1
    while too_many - enough > 1:
        count = (enough + too_many) // 2
        m = count - 1
        gain = math.log((size - m) / count) + strength * math.log1p(1 / m)
        enough, too_many = (count, too_many) if gain >= threshold else (enough, count)
    return enough


def _make_exact(kept: list[int], sizes: Sequence[int], budget: int, c: float) -> None:
    """Grant and take back single weights, in place, until the granted ones are the first `budget` of all by rank."""
    exact = Fraction(repr(c)) * sum(sizes) / len(sizes)
    strength = Decimal(exact.numerator) / exact.denominator

    @cache
    def rank(layer: int, m: int) -> tuple[Decimal, int]:
        """Return the place of a layer's (m+1)-th weight: the larger gain first, then the earlier layer."""
        masks, paths = Decimal(sizes[layer] - m) / (m + 1), Decimal(m + 1) / m
        return -(masks.ln() + strength * paths.ln()), layer

    while True:
        following = min((rank(layer, m) for layer, m in enumerate(kept) if m < sizes[layer]), default=None)
        last = max((rank(layer, m - 1) for layer, m in enumerate(kept) if m > 1), default=None)
        missing = budget - sum(kept)
        if missing == 0 and (following is None or last is None or last < following):
            return
        if missing >= 0:
            assert following is not None, "the budget is at most the number of weights"
            kept[following[1]] += 1
        else:
            assert last is not None, "the budget is at least the number of layers"
            kept[last[1]] -= 1
