"""Float16 with a power of two per tensor: no overflow, eleven bits, idempotent rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmark.artifact.halves import from_halves, to_halves

finite = st.floats(-(2.0**127), 2.0**127, width=32)


@given(arrays(np.float32, st.integers(0, 20), elements=finite))
def test_rounding_is_idempotent(values):
    halves, exponent = to_halves(values)
    once = from_halves(halves, exponent)

    again, same_exponent = to_halves(once)

    assert np.isfinite(once).all()
    assert (again.tobytes(), same_exponent) == (halves.tobytes(), exponent)


@given(arrays(np.float32, st.integers(1, 20), elements=st.floats(2.0**-60, 2.0**-40, width=32)), st.integers(-60, 160))
def test_values_of_any_magnitude_keep_eleven_bits(values, shift):
    values = np.ldexp(values, shift)

    rounded = from_halves(*to_halves(values))

    assert (np.abs(rounded - values) <= 2.0**-11 * values).all()


def test_a_variance_beyond_the_range_of_float16_neither_overflows_nor_loses_small_values():
    values = np.array([1e6, 70000.0, 1.0, 0.01, 0.0], np.float32)

    assert from_halves(*to_halves(values)) == pytest.approx(values, rel=2**-11)


def test_a_value_that_float16_holds_is_unchanged():
    values = np.array([1.0, -0.5, 1.5, 3.0, -0.0], np.float32)

    assert from_halves(*to_halves(values)).tobytes() == values.tobytes()


def test_zeros_have_exponent_zero():
    halves, exponent = to_halves(np.zeros(3, np.float32))

    assert (halves.tolist(), exponent) == ([0.0, 0.0, 0.0], 0)
