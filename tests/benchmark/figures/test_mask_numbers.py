"""Numbers of pruned layers against counting every possible mask."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from benchmark.figures.mask_numbers import (
    empty_inputs,
    empty_outputs,
    expected_empty_share,
    expected_jaccard,
    jaccard,
)
from benchmark.figures.masks import mask_facts

SHAPE = (3, 2, 1, 2)


def all_masks(kept):
    size = int(np.prod(SHAPE))
    for places in combinations(range(size), kept):
        mask = np.zeros(size, bool)
        mask[list(places)] = True
        yield mask.reshape(SHAPE)


def members(places, n):
    channels = np.zeros(n, bool)
    channels[list(places)] = True
    return channels


@pytest.mark.parametrize("kept", [0, 1, 3, 5, 8, 9, 12])
def test_the_expected_share_of_empty_channels_is_the_mean_over_all_masks(kept):
    masks = list(all_masks(kept))

    assert expected_empty_share(12, kept, 4) == pytest.approx(np.mean([empty_outputs(each).mean() for each in masks]))
    assert expected_empty_share(12, kept, 6) == pytest.approx(np.mean([empty_inputs(each).mean() for each in masks]))


def test_the_expected_share_holds_for_layers_of_millions_of_weights():
    weights, channel = 512 * 512 * 9, 512 * 9
    exact = math.comb(weights - channel, 5_000) / math.comb(weights, 5_000)

    assert expected_empty_share(weights, 5_000, channel) == pytest.approx(exact, rel=1e-11)


@pytest.mark.parametrize(("a", "b"), [(0, 2), (2, 3), (4, 4), (5, 5), (6, 1), (6, 6)])
def test_the_expected_jaccard_index_is_the_mean_over_all_pairs_of_sets(a, b):
    indices = [
        jaccard(members(first, 6), members(second, 6))
        for first in combinations(range(6), a)
        for second in combinations(range(6), b)
    ]

    assert expected_jaccard(a, b, 6) == pytest.approx(np.mean(indices))


def test_the_jaccard_index_of_two_empty_sets_is_unknown():
    nobody = np.zeros(4, bool)

    assert jaccard(nobody, nobody) is None
    assert expected_jaccard(0, 0, 4) is None


def test_the_numbers_beside_two_layers_are_counted_in_their_masks():
    first, second = np.zeros((4, 2, 3, 3), bool), np.zeros((2, 4, 3, 3), bool)
    first[:2, 0, 1, 1] = True  # produces channels 0 and 1 from input 0
    second[0, 1:3, 0, 0] = True  # reads channels 1 and 2 for output 0

    facts = dict(mask_facts({"conv1": first, "conv2": second}))

    assert facts["conv1: weights kept"] == "2 of 72 (2.78%)"
    assert facts["conv1: input channels without a weight"] == "1 of 2 (50.0%); random mask 24.6%"
    assert facts["conv1: output channels without a weight"].startswith("2 of 4 (50.0%); ")
    assert facts["channels empty on both sides"] == "1 of 4"
    # Sets of two in four: no, one and two common with probability 1/6, 4/6, 1/6, of 4, 3 and 2.
    assert facts["overlap (Jaccard) of the empty channels between the layers"] == "0.333; 0.389 if independent"
