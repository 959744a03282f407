"""Eight-bit batch-norm tensors: rounding to the nearest, its bounds, and that it changes nothing a second time."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmark.artifact.eight_bits import from_eight_bits, to_eight_bits

LIMIT = float(np.float32(1e37))
SIGNED = arrays(np.float32, st.integers(1, 8), elements=st.floats(-LIMIT, LIMIT, width=32))
VARIANCES = arrays(np.float32, st.integers(1, 8), elements=st.floats(0, LIMIT, width=32))


def numbers(variance):
    """Every number that a byte can be, in units of the power of two, from the page's words."""
    if not variance:
        return [code - 256 * (code > 127) for code in range(256)]
    return [code if code < 16 else (16 + code % 16) * 2 ** (code // 16 - 1) for code in range(256)]


@pytest.mark.parametrize("variance", [False, True])
def test_every_code_is_the_number_of_the_page(variance):
    codes = np.arange(256, dtype=np.uint8)

    assert from_eight_bits(codes, 0, variance=variance).tolist() == numbers(variance)
    assert np.array_equal(from_eight_bits(codes, -9, variance=variance) * 512, numbers(variance))


@pytest.mark.parametrize("variance", [False, True])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_values_are_rounded_to_the_nearest_code_and_twice_is_once(variance, data):
    values = data.draw(VARIANCES if variance else SIGNED)

    codes, exponent = to_eight_bits(values, variance=variance)
    restored = from_eight_bits(codes, exponent, variance=variance)

    again, same = to_eight_bits(restored, variance=variance)
    assert np.array_equal(again, codes)
    assert same == exponent or not restored.any()
    allowed = [number for number in numbers(variance) if number != -128]
    unit = Fraction(2) ** exponent
    for value, number in zip(values.tolist(), restored.tolist(), strict=True):
        exact = Fraction(value)
        nearest = min(abs(exact - candidate * unit) for candidate in allowed)
        assert abs(exact - Fraction(number)) == nearest


@given(VARIANCES)
def test_the_relative_error_of_a_variance_is_small(values):
    restored = from_eight_bits(*to_eight_bits(values, variance=True), variance=True)

    counted = (values > values.max() * 2.0**-14) & (values > 1e-30)
    assert bool((np.abs(restored - values)[counted] <= values[counted] / 32).all())


@pytest.mark.parametrize("variance", [False, True])
def test_zeros_and_values_near_the_end_of_the_range(variance):
    assert to_eight_bits(np.zeros(3, np.float32), variance=variance)[1] == 0
    with np.errstate(over="ignore"):
        codes, exponent = to_eight_bits(np.array([np.finfo(np.float32).max], np.float32), variance=variance)
    assert not np.isfinite(from_eight_bits(codes, exponent, variance=variance)).all()
    tiny = np.array([1e-45, 3e-39], np.float32)
    assert to_eight_bits(tiny, variance=variance)[1] == -128
