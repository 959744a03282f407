"""Numbers of pruned layers: channels without any weight, against chance. Pure functions on boolean masks.

A mask has the shape (out_channels, in_channels, ...) of its convolution's weight; True is kept.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Channels = NDArray[np.bool_]  # (channels,): True has no weight


def empty_outputs(mask: Mask) -> Channels:
    """Return (out_channels,): True where no weight produces the channel."""
    empty: Channels = np.logical_not(mask.reshape(len(mask), -1).any(axis=1))
    return empty


def empty_inputs(mask: Mask) -> Channels:
    """Return (in_channels,): True where no weight reads the channel."""
    return empty_outputs(mask.swapaxes(0, 1))


def expected_empty_share(weights: int, kept: int, per_channel: int) -> float:
    """Return the chance that a channel is empty if `kept` of a layer's weights are drawn without replacement.

    That is C(weights - per_channel, kept) / C(weights, kept), and by symmetry the expected share of empty channels.

    Args:
        weights: of the layer.
        kept: from 0 to `weights`.
        per_channel: weights of one channel, from 1 to `weights`.

    >>> expected_empty_share(4, 1, 2)
    0.5
    """
    if kept > weights - per_channel:
        return 0.0
    # The quotient is symmetric in `kept` and `per_channel`; the shorter product has the smaller rounding error.
    few, many = sorted((kept, per_channel))
    return math.exp(math.fsum(np.log1p(-many / (weights - np.arange(few))).tolist()))


def jaccard(a: Channels, b: Channels) -> float | None:
    """Return the share of common members in the union of two sets; None if both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else None


def expected_jaccard(a: int, b: int, n: int) -> float | None:
    """Return the expected Jaccard index of two independent sets of fixed sizes drawn from n things.

    Their overlap h is hypergeometric, P(h) = C(a, h) C(n - a, b - h) / C(n, b), and the index is h / (a + b - h). The
    plug-in formula with the expected overlap ab / n would be slightly off, because the index is not linear in h.

    Args:
        a: size of one set, from 0 to n.
        b: size of the other.
        n: things, at least 1.

    Returns:
        The expectation, None if both sets are empty.

    >>> expected_jaccard(1, 1, 4)
    0.25
    """
    if a + b == 0:
        return None
    overlaps = range(max(0, a + b - n), min(a, b) + 1)
    return math.fsum(math.comb(a, h) * math.comb(n - a, b - h) / math.comb(n, b) * (h / (a + b - h)) for h in overlaps)
