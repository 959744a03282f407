"""Intervals and tests over verdict bits: pure functions without torch.

Boards show these numbers and must not differ by a byte between machines: everything on a page is computed from whole
numbers and correctly rounded operations, or rounded to six digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.results.verdicts import Verdicts

SIGNIFICANCE = 0.05  # p-values below it count as a difference
POWER = 0.8  # of the test that `images_needed` plans
RESAMPLES = 2000

_Z = 1.959963984540054  # quantile of the normal distribution at 97.5%
_Z_POWER = 0.8416212335729143  # and at POWER
_OUTSIDE = RESAMPLES // 40  # resamples on either side of a 95% interval


@dataclass(frozen=True)
class PairedTest:
    """How two networks classified the same images, as counts of pairs, and McNemar's exact test of the difference."""

    both: int
    only_a: int
    only_b: int
    neither: int
    p_value: float  # two-sided
    difference: float  # accuracy of a minus accuracy of b, in [-1, 1]
    interval: tuple[float, float]  # of the difference, 95%, Newcombe's method 10


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return the 95% Wilson score interval for `right` correct images out of `n` >= 1, rounded to six digits."""
    low, high = _score_interval(right, n)
    return round(low, 6), round(high, 6)


def mcnemar(a: Verdicts, b: Verdicts) -> PairedTest:
    """Test whether two networks differ on the same images.

    The p-value is that of McNemar's exact conditional test: of the pairs in which only one network is right, does a
    have more than a fair coin would give? The interval is R. G. Newcombe's score interval for paired proportions
    (Statistics in Medicine 17, 1998, pages 2635-2650, method 10, correlation with continuity correction), rounded to
    six digits.

    Both treat the pairs as independent and describe these networks, not the methods that trained them. Verdicts of
    several seeds may be concatenated; that does not account for the spread of seeds. Of two equally good methods of 20%
    on 200 images, simulated with two seeds each, p fell below 0.05 in 4% of the cases without any spread of seeds, in
    12% with a standard deviation of 2 points, in 38% with one of 5 points.

    Args:
        a: (N,) verdicts, True: correct.
        b: (N,) verdicts on the same images in the same order, N at least 1.

    Raises:
        ValueError: if the shapes differ or there are no verdicts.
    """
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise ValueError(f"paired verdicts have one shape (N,) with N >= 1, got {a.shape} and {b.shape}")
    both, only_a, only_b = (int(np.count_nonzero(bits)) for bits in (a & b, a & ~b, ~a & b))
    neither = a.size - both - only_a - only_b
    return PairedTest(
        both=both,
        only_a=only_a,
        only_b=only_b,
        neither=neither,
        p_value=coin_p_value(only_a, only_b),
        difference=(only_a - only_b) / a.size,
        interval=_paired_interval(both, only_a, only_b, neither),
    )


def coin_p_value(heads: int, tails: int) -> float:
    """Return the exact two-sided p-value of these numbers of heads and tails under a fair coin; 1 without a toss.

    It is the same on every machine: the largest term is a correctly rounded quotient of whole numbers, and the others
    follow from it by multiplication.
    """
    n, few = heads + tails, min(heads, tails)
    total = ratio = 1.0
    for count in range(few, 0, -1):
        ratio *= count / (n - count + 1)  # of C(n, count - 1) to C(n, few)
        total += ratio
        if ratio < 1e-18:
            break
    return min(1.0, 2 * total * (math.comb(n, few) / (1 << n)))


def images_needed(only_a: int, only_b: int, n: int) -> int | None:
    """Return roughly how many pairs would show a difference of the observed size; None if there was none.

    For McNemar's test at p < 0.05 with 80% power, if the networks truly disagreed as often, and as one-sidedly, as in
    these n pairs (R. J. Connor, Biometrics 43, 1987). The true difference may be smaller: this is a rough estimate.

    Args:
        only_a: pairs in which only a is right.
        only_b: pairs in which only b is right.
        n: all pairs, at least 1.
    """
    if only_a == only_b:
        return None
    discordant, difference = (only_a + only_b) / n, abs(only_a - only_b) / n
    root = _Z * math.sqrt(discordant) + _Z_POWER * math.sqrt(max(0.0, discordant - difference**2))
    return math.ceil((root / difference) ** 2)


def binomial_bound(right: int, n: int, confidence: float = 0.99) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson) interval of an accuracy; an expected accuracy outside of it is refuted.

    Args:
        right: number of images that are right, from 0 to n.
        n: number of images, at least 1.
        confidence: least probability, in (0, 1), with which the interval contains the true accuracy.
    """
    from scipy.stats import binomtest  # here, because it takes a second to import

    interval = binomtest(right, n).proportion_ci(confidence_level=confidence, method="exact")
    return float(interval.low), float(interval.high)


def seed_bootstrap(verdicts: Sequence[Verdicts]) -> tuple[float, float]:
    """Return the 95% bootstrap interval of the mean accuracy over seeds, rounded to six digits.

    Seeds and images are drawn with replacement and independently of each other, the same images for every seed, because
    all seeds see the same test images (A. B. Owen's pigeonhole bootstrap); the interval lies between the percentiles.
    It assumes that the seeds are a sample of all trainings and the images one of all images. Two seeds are very few: a
    bootstrap misses 1 / S of the variance between S seeds, hence half, and half of the draws contain only one of them.
    In the simulation described in `mcnemar`, with a spread of 5 points, the interval contained the true mean in 89% of
    the cases with two seeds, in 91% with three and in 95% with five; with little spread it is wider than necessary.

    Args:
        verdicts: one (N,) array per seed, True: correct; at least one seed, and N below 2**24.

    Raises:
        ValueError: if there are no seeds or their numbers of images differ.
    """
    if not verdicts or len({bits.shape for bits in verdicts}) != 1:
        raise ValueError(f"every seed needs verdicts on the same images, got {[bits.shape for bits in verdicts]}")
    n_seeds, n_images = len(verdicts), verdicts[0].size
    right = resampled_counts(np.stack(verdicts))
    times = _draws(n_seeds, stream=1).astype(np.int64)
    sums = np.sort((right * times).sum(axis=1))
    low, high = int(sums[_OUTSIDE]), int(sums[-1 - _OUTSIDE])
    return round(low / (n_seeds * n_images), 6), round(high / (n_seeds * n_images), 6)


def resampled_counts(right: NDArray[Any]) -> NDArray[np.int64]:
    """Return (RESAMPLES, rows) sums of (rows, N) counts over images drawn with replacement, the same for every row."""
    # Sums of whole numbers below 2**24 are exact in float32, in any order.
    counts: NDArray[np.int64] = (_draws(right.shape[1], stream=0) @ right.T.astype(np.float32)).astype(np.int64)
    return counts


def accuracy_interval(verdicts: Sequence[Verdicts]) -> tuple[float, float]:
    """Return the 95% interval of the mean accuracy over seeds: Wilson's for one seed, the bootstrap's for several.

    Args:
        verdicts: one (N,) array per seed, True: correct; at least one seed.
    """
    if len(verdicts) == 1:
        return wilson(int(np.count_nonzero(verdicts[0])), verdicts[0].size)
    return seed_bootstrap(verdicts)


def tie_groups(rows: Sequence[Sequence[Verdicts]]) -> list[int]:
    """Return the tie group of each ranked row: its rows do not differ significantly from the best one of the group.

    The first row leads group 1. Each next row joins it unless the row and the leader differ by McNemar's exact test
    (p < 0.05); then it leads the next group. Rows are compared with their leader only: the last row of one group and
    the first of the next need not differ. There is no correction for the number of tests.

    Args:
        rows: in rank order; each a list of (N,) verdicts, one per seed, on the same images in all rows. The k-th seed
            is paired with the k-th seed; extra seeds of either row are ignored.

    Returns:
        One number per row, from 1, never decreasing.
    """
    groups: list[int] = []
    leader: Sequence[Verdicts] = ()
    for row in rows:
        if not groups or _differ(leader, row):
            leader = row
            groups.append(groups[-1] + 1 if groups else 1)
        else:
            groups.append(groups[-1])
    return groups


def pair_seeds(a: Sequence[Verdicts], b: Sequence[Verdicts]) -> tuple[Verdicts, Verdicts]:
    """Concatenate the verdicts of two rows, k-th seed paired with k-th seed, for as many seeds as both have."""
    common = min(len(a), len(b))
    return np.concatenate(a[:common]), np.concatenate(b[:common])


def _differ(a: Sequence[Verdicts], b: Sequence[Verdicts]) -> bool:
    left, right = pair_seeds(a, b)
    only_a, only_b = int(np.count_nonzero(left & ~right)), int(np.count_nonzero(right & ~left))
    return coin_p_value(only_a, only_b) < SIGNIFICANCE


def _score_interval(right: int, n: int) -> tuple[float, float]:
    share = right / n
    centre = share + _Z**2 / (2 * n)
    half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, (centre - half) / (1 + _Z**2 / n)), min(1.0, (centre + half) / (1 + _Z**2 / n))


def _paired_interval(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    n = both + only_a + only_b + neither
    right_a, right_b = both + only_a, both + only_b
    low_a, high_a = _score_interval(right_a, n)
    low_b, high_b = _score_interval(right_b, n)
    margins = right_a * (n - right_a) * right_b * (n - right_b)
    excess: float = both * neither - only_a * only_b
    if excess > 0:
        excess = max(0.0, excess - n / 2)
    correlation = excess / math.sqrt(margins) if margins else 0.0
    a, b = right_a / n, right_b / n
    low = a - b - _joint(a - low_a, high_b - b, correlation)
    high = a - b + _joint(high_a - a, b - low_b, correlation)
    return round(low, 6), round(high, 6)


def _joint(a: float, b: float, correlation: float) -> float:
    return math.sqrt(max(0.0, a**2 - 2 * correlation * a * b + b**2))


@lru_cache(maxsize=8)  # of images and of up to a handful of seeds
def _draws(n: int, *, stream: int) -> NDArray[np.float32]:
    """Return (RESAMPLES, n) counts of how often each of n items was drawn in n draws with replacement.

    Drawn from PCG64's raw numbers, which numpy promises to keep stable; its distributions may change.
    """
    source = np.random.PCG64(stream)
    counts = np.empty((RESAMPLES, n), dtype=np.float32)
    for row in counts:
        row[:] = np.bincount((source.random_raw(n) % np.uint64(n)).astype(np.intp), minlength=n)
    return counts
