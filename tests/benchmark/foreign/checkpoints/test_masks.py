"""Masks keep what the sorted masks of the repositories keep, rounding included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.foreign.checkpoints.masks import keep_largest, pruned_count


def reference(scores, density):
    """Return the mask of zeros and ones as the repositories compute it: in place, over the sorted order."""
    out = scores.abs().clone()
    order = scores.abs().flatten().sort()[1]
    flat = out.flatten()
    flat[order[: int((1 - density) * scores.numel())]] = 0
    flat[order[int((1 - density) * scores.numel()) :]] = 1
    return flat.view_as(scores).bool()


@given(
    st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 3.0]), min_size=1, max_size=40),
    st.floats(0.001, 1.0),
)
def test_the_mask_is_the_original_s_even_with_ties(values, density):
    scores = torch.tensor(values)

    kept = keep_largest(scores, pruned_count(density, len(values)))

    assert torch.equal(kept.mask, reference(scores, density))


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=30), st.floats(0.05, 0.95))
def test_ties_are_counted_where_they_matter(values, density):
    scores = torch.tensor(values)
    pruned = pruned_count(density, len(values))

    kept = keep_largest(scores, pruned)

    ordered = sorted(abs(value) for value in scores.tolist())
    undecided = 0 < pruned < len(ordered) and ordered[pruned - 1] == ordered[pruned]
    assert kept.tied == (ordered.count(ordered[pruned]) if undecided else 0)


@pytest.mark.parametrize(("density", "size", "pruned"), [(0.9, 10, 0), (0.8, 10, 1), (1.0, 7, 0), (0.01, 2304, 2280)])
def test_the_count_is_truncated_in_python_s_floats(density, size, pruned):
    assert pruned_count(density, size) == pruned
