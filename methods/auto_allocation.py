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
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import TypeVar

Number = TypeVar("Number", float, Decimal)

DEFAULT_C = 0.035
MAX_C = 1000.0
DIGITS = 50  # of the gains that decide; the logarithm of Decimal is the same on every machine, that of floats is not
_FLOAT_ERROR = 1e-12  # of a gain in floats, with much to spare, relative to the largest gain


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
    exact = Fraction(repr(c)) * sum(sizes) / len(sizes)  # of the decimal that the user wrote
    strength = float(exact)
    margin = _FLOAT_ERROR * (strength + math.log(max(sizes)) + 1.0)
    low, high = _threshold(sizes, budget, strength, margin)
    granted = [_count_above(size, high + margin, strength) for size in sizes]
    possible = [_count_above(size, low - margin, strength) for size in sizes]
    assert sum(granted) <= budget <= sum(possible), "the margin covers the error of floats"
    with localcontext() as context:
        context.prec = DIGITS
        precise = Decimal(exact.numerator) / exact.denominator
        undecided = sorted(  # the larger gain first, then the earlier layer
            (-_gain(Decimal(size), Decimal(m), precise, Decimal.ln), layer)
            for layer, size in enumerate(sizes)
            for m in range(granted[layer], possible[layer])
        )
    for _, layer in undecided[: budget - sum(granted)]:
        granted[layer] += 1
    return granted


def _gain(size: Number, m: Number, strength: Number, log: Callable[[Number], Number]) -> Number:
    """Return what a layer of `size` weights that keeps m, at least 1, gains by one more."""
    return log((size - m) / (m + 1)) + strength * log((m + 1) / m)


def _threshold(sizes: Sequence[int], budget: int, strength: float, margin: float) -> tuple[float, float]:
    """Return two numbers, at most `margin` apart, that enclose the smallest gain that is granted, by bisection."""
    largest = math.log(max(sizes)) + 1.0
    low, high = -largest, largest + strength  # below and above every gain
    while high - low > margin:
        middle = (low + high) / 2
        if sum(_count_above(size, middle, strength) for size in sizes) > budget:
            low = middle
        else:
            high = middle
    return low, high


def _count_above(size: int, threshold: float, strength: float) -> int:
    """Return how many weights of a layer gain at least a threshold; the first one is granted in any case."""
    enough, too_many = 1, size + 1
    while too_many - enough > 1:
        count = (enough + too_many) // 2
        m = count - 1
        gain = _gain(size, m, strength, math.log)
        enough, too_many = (count, too_many) if gain >= threshold else (enough, count)
    return enough
