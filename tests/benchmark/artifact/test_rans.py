"""The mask coder: exact inverse, close to the bound at every density, strict about its streams."""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.artifact import rans, rans_steps
from benchmark.artifact.rans import MAX_LANES, BadStream, decode, encode, lanes_for
from methods.sparse.support import compiles

if compiles():
    from benchmark.artifact import rans_kernels

needs_numba = pytest.mark.skipif(not compiles(), reason="numba is missing or switched off")


def bound_bits(size, ones):
    """Return log2 C(size, ones)."""
    return (math.lgamma(size + 1) - math.lgamma(ones + 1) - math.lgamma(size - ones + 1)) / math.log(2)


def random_masks(sizes, densities, seed):
    """Return one mask per size."""
    generator = np.random.default_rng(seed)
    return [generator.random(size) < density for size, density in zip(sizes, densities, strict=True)]


@contextmanager
def steps_are(steps):
    """Let the coder use these steps, whatever the number of symbols."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rans, "_steps", lambda symbols: steps)
        yield


def outcome(steps, stream, sizes, ones):
    """Return what decoding with these steps returns, or the sentence with which it is refused."""
    with steps_are(steps):
        try:
            return [mask.tolist() for mask in decode(stream, sizes, ones)]
        except BadStream as error:
            return str(error)


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


# Sizes around one and two lanes' worth of symbols, densities at which frequencies are the smallest and largest.
LAYERS = st.lists(st.tuples(st.integers(1, 2000), st.sampled_from([0, 1e-4, 0.01, 0.5, 0.99, 1])), max_size=5)


@needs_numba
@given(LAYERS, st.integers(0, 2**32 - 1))
def test_compiled_steps_give_the_bytes_of_the_reference(layers, seed):
    masks = random_masks([size for size, _ in layers], [density for _, density in layers], seed)

    with steps_are(rans_steps):
        stream = encode(masks)
    with steps_are(rans_kernels):
        assert encode(masks) == stream
        assert [mask.tolist() for mask in decoded(stream, masks)] == [mask.tolist() for mask in masks]


@needs_numba
def test_compiled_steps_give_the_bytes_of_the_reference_with_all_lanes_and_in_parts(monkeypatch):
    monkeypatch.setattr(rans_kernels, "PART", 100_003)  # no multiple of the lanes
    masks = random_masks([4_300_000, 5, 100_003], [0.01, 0.5, 0.9], 4)
    masks[0][0] = True
    with steps_are(rans_steps):
        stream = encode(masks)

    with steps_are(rans_kernels):
        assert encode(masks) == stream
        assert all(np.array_equal(*pair) for pair in zip(decoded(stream, masks), masks, strict=True))


@needs_numba
@given(LAYERS.filter(bool), st.integers(0, 2**32 - 1), st.data())
def test_compiled_steps_refuse_hostile_streams_in_the_same_words(layers, seed, data):
    """Cut short, changed, continued, or with other sizes and counts: the same masks or the same refusal."""
    masks = random_masks([size for size, _ in layers], [density for _, density in layers], seed)
    sizes, ones = [len(mask) for mask in masks], [int(mask.sum()) for mask in masks]
    stream = bytearray(encode(masks))
    place = data.draw(st.integers(0, len(stream) - 1))
    match data.draw(st.sampled_from(["cut", "whole words", "change", "garbage", "continue", "sizes", "ones"])):
        case "cut":
            del stream[place:]
        case "whole words":
            del stream[place // 4 * 4 :]
        case "change":
            stream[place] ^= data.draw(st.integers(1, 255))
        case "garbage":
            stream[8 * lanes_for(sum(sizes)) :] = data.draw(st.binary(max_size=64))
        case "continue":
            stream += data.draw(st.binary(min_size=1, max_size=64))
        case "sizes":
            sizes[0] += data.draw(st.integers(1, 5000))
        case "ones":
            ones[0] = data.draw(st.integers(0, sizes[0]))

    assert outcome(rans_kernels, bytes(stream), sizes, ones) == outcome(rans_steps, bytes(stream), sizes, ones)


@needs_numba
@pytest.mark.parametrize("words", [0, 1, 7])
def test_compiled_steps_read_no_word_beyond_the_last(words):
    """In memory that goes on after the words: numba would read what is there."""
    memory = np.zeros(20, np.uint32)
    states, mask = np.full(3, 1 << rans_steps.LOW_BITS, np.uint64), np.zeros(1000, np.bool_)
    frequencies = (np.uint64(1 << 23), np.uint64(1 << 23))

    position = rans_kernels.decode_mask(mask, frequencies, states, memory[:words], 0)

    assert position == rans_steps.TOO_SHORT


def test_few_symbols_are_coded_without_waiting_for_numba(monkeypatch):
    monkeypatch.delitem(sys.modules, "numba", raising=False)

    assert rans._steps(rans.MIN_COMPILED - 1) is rans_steps


@needs_numba
def test_many_symbols_are_coded_by_compiled_steps():
    assert rans._steps(rans.MIN_COMPILED) is rans_kernels


def test_without_numba_the_reference_codes_any_number_of_symbols(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)

    assert rans._steps(10**9) is rans_steps
