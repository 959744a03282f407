"""The mask coder: exact inverse, close to the bound at every density, strict about its streams."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.artifact.rans import MAX_LANES, BadStream, decode, encode, lanes_for


def bound_bits(size, ones):
    """Return log2 C(size, ones)."""
    return (math.lgamma(size + 1) - math.lgamma(ones + 1) - math.lgamma(size - ones + 1)) / math.log(2)


def random_masks(sizes, densities, seed):
    """Return one mask per size."""
    generator = np.random.default_rng(seed)
    return [generator.random(size) < density for size, density in zip(sizes, densities, strict=True)]


def decoded(stream, masks):
    """Decode with the sizes and counts of `masks`."""
    return decode(stream, [len(mask) for mask in masks], [int(mask.sum()) for mask in masks])


@given(
    st.lists(st.tuples(st.integers(1, 3000), st.floats(0, 1)), max_size=5),
    st.integers(0, 2**32 - 1),
)
def test_decoding_returns_the_masks_bit_for_bit(layers, seed):
    masks = random_masks([size for size, _ in layers], [density for _, density in layers], seed)

    returned = decoded(encode(masks), masks)

    assert [mask.tolist() for mask in returned] == [mask.tolist() for mask in masks]


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=40), max_size=4))
def test_decoding_returns_masks_of_any_pattern(layers):
    masks = [np.array(bits) for bits in layers]

    assert [mask.tolist() for mask in decoded(encode(masks), masks)] == layers


@pytest.mark.parametrize("density", [1e-5, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_the_stream_is_within_a_thousandth_and_eight_bytes_a_lane_of_the_bound(density):
    (mask,) = random_masks([1_000_000], [density], 1)
    mask[0] = True

    bits, lanes = bound_bits(len(mask), int(mask.sum())), 1000 // 8

    assert len(encode([mask])) <= 1.001 * bits / 8 + 8 * lanes


def test_layers_of_different_density_share_a_stream_at_the_cost_of_each():
    masks = random_masks([100_000, 100_000], [0.5, 0.002], 2)

    bits, lanes = sum(bound_bits(len(mask), int(mask.sum())) for mask in masks), 55

    assert len(encode(masks)) <= 1.001 * bits / 8 + 8 * lanes


@pytest.mark.parametrize(("symbols", "lanes"), [(1, 1), (200, 1), (256, 2), (64_000, 31), (10**9, MAX_LANES)])
def test_lanes_grow_with_the_symbols(symbols, lanes):
    assert lanes_for(symbols) == lanes


def test_no_mask_costs_nothing():
    assert encode([]) == b""
    assert decode(b"", [], []) == []


@pytest.mark.parametrize(
    ("tamper", "why"),
    [
        (lambda stream: b"", "0 bytes are not"),
        (lambda stream: stream[:4], "4 bytes are not"),
        (lambda stream: stream + b"\0", "whole words"),
        (lambda stream: stream + bytes(4), "left over"),
        (lambda stream: stream[:-4], "too early|ones instead|left over"),
        (lambda stream: bytes(8) + stream[8:], "out of range"),
        (lambda stream: b"\xff" * 8 + stream[8:], "out of range"),
        (lambda stream: stream[:-1] + bytes([stream[-1] ^ 1]), "too early|ones instead|left over"),
    ],
)
def test_a_tampered_stream_is_refused(tamper, why):
    masks = random_masks([900], [0.3], 3)

    with pytest.raises(BadStream, match=why):
        decoded(tamper(encode(masks)), masks)


def test_another_count_of_ones_is_refused():
    masks = random_masks([900], [0.3], 3)

    with pytest.raises(BadStream):
        decode(encode(masks), [900], [int(masks[0].sum()) + 1])


def test_bytes_without_masks_are_refused():
    with pytest.raises(BadStream, match="no masks"):
        decode(b"\0\0\0\0", [], [])
