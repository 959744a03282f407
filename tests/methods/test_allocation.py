"""Layer budgets are exact integers: a table for the paper's network, and properties for any network."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchmark.networks.resnet import prunable_sizes
from methods.allocation import allocate, weight_budget

# ResNet34 with ten classes and 1% of the weights kept: counts of each group at p = 0, 0.1, 0.5, 1. Where there are two
# counts, equal layers differ by one.
GOLDEN = {
    "conv1": ({1728}, {1728}, {391}, {17}),
    "layer1 3x3": ({5880, 5881}, {4831, 4832}, {1805}, {369}),
    "layer2 first": ({5880}, {5178}, {2553}, {737}),
    "layer2 3x3": ({5880}, {5550}, {3611}, {1474, 1475}),
    "layer2 shortcut": ({5880}, {4157}, {851}, {82}),
    "layer3 first": ({5880}, {5948}, {5106}, {2949}),
    "layer3 3x3": ({5880}, {6375}, {7221, 7222}, {5898}),
    "layer3 shortcut": ({5880}, {4775}, {1702}, {328}),
    "layer4 first": ({5880}, {6833}, {10213}, {11796}),
    "layer4 3x3": ({5880}, {7323}, {14443}, {23593}),
    "layer4 shortcut": ({5880}, {5485}, {3404}, {1311}),
    "fc": ({5120}, {3966}, {673}, {51}),
}
STRATEGIES = (0.0, 0.1, 0.5, 1.0)

layer_sizes = st.lists(st.integers(1, 5000), min_size=1, max_size=12)
keep_ratios = st.floats(0.001, 1.0)
exponents = st.floats(0.0, 1.0) | st.sampled_from(STRATEGIES)


def group_of(name: str) -> str:
    """Return the row of GOLDEN for a convolution of ResNet34."""
    stage = name.partition(".")[0]
    if stage in ("conv1", "fc"):
        return stage
    if "shortcut" in name:
        return f"{stage} shortcut"
    return f"{stage} first" if name.endswith(".0.conv1") and stage != "layer1" else f"{stage} 3x3"


def literal_allocation(sizes: Sequence[int], keep_ratio: float, p: float) -> list[int]:
    """Allocate in one pass over the layers by size, as the paper's released code does, but in exact arithmetic."""
    budget = round(Decimal(repr(keep_ratio)) * sum(sizes))
    powers = [Fraction(float(size) ** p) for size in sizes]
    shares = [Fraction()] * len(sizes)
    left, powers_left = Fraction(budget), sum(powers, Fraction())
    for layer in sorted(range(len(sizes)), key=lambda layer: sizes[layer]):
        shares[layer] = min(Fraction(sizes[layer]), left * powers[layer] / powers_left)
        left -= shares[layer]
        powers_left -= powers[layer]
    kept = [int(share) for share in shares]
    for _ in range(budget - sum(kept)):
        fractions = [share - count for share, count in zip(shares, kept, strict=True)]
        kept[fractions.index(max(fractions))] += 1
    return kept


def released_counts(sizes: Sequence[int], keep_ratio: float, p: float) -> list[int]:
    """Return the counts of the paper's released code: ratios from a budget rounded down, counts rounded up."""
    budget, scale = int(keep_ratio * sum(sizes)), keep_ratio * sum(sizes) / sum(size**p for size in sizes)
    kept, left = [0] * len(sizes), sorted(range(len(sizes)), key=lambda layer: sizes[layer])
    while left:
        layer = left.pop(0)
        ratio = min(1.0, scale * sizes[layer] ** (p - 1))
        kept[layer] = sizes[layer] - int((1 - ratio) * sizes[layer])
        budget -= int(ratio * sizes[layer])
        if left:
            scale = budget / sum(sizes[other] ** p for other in left)
    return kept


def allocated(sizes: Sequence[int], keep_ratio: float, p: float) -> list[int]:
    """Allocate, skipping inputs that leave a layer without weights."""
    assume(min(literal_allocation(sizes, keep_ratio, p)) >= 1)
    return allocate(sizes, keep_ratio, p)


@pytest.mark.parametrize(("column", "p"), list(enumerate(STRATEGIES)))
def test_resnet34_gets_the_golden_counts(make_plan, column, p):
    sizes = prunable_sizes(make_plan(name="resnet34", width=1.0))

    kept = dict(zip(sizes, allocate(list(sizes.values()), 0.01, p), strict=True))

    for group, columns in GOLDEN.items():
        assert {count for name, count in kept.items() if group_of(name) == group} == columns[column], group
    assert sum(kept.values()) == 212_651


def test_the_released_code_exceeds_the_budget_as_the_deviation_says(make_plan):
    sizes = list(prunable_sizes(make_plan(name="resnet34", width=1.0)).values())

    excess = [
        [theirs - ours for theirs, ours in zip(released_counts(sizes, 0.01, p), allocate(sizes, 0.01, p), strict=True)]
        for p in STRATEGIES
    ]

    assert [(min(layers), max(layers), sum(layers)) for layers in excess] == [
        (0, 1, 32),
        (0, 3, 34),
        (0, 2, 35),
        (0, 3, 34),
    ]


@pytest.mark.parametrize("p", STRATEGIES)
def test_a_hundred_classes_have_a_budget_of_213112(make_plan, p):
    sizes = list(prunable_sizes(make_plan(name="resnet34", width=1.0, num_classes=100)).values())

    kept = allocate(sizes, 0.01, p)

    assert sum(kept) == 213_112
    assert [index for index in range(37) if kept[index] == sizes[index]] == ([0] if p <= 0.1 else [])


@pytest.mark.parametrize(
    ("keep_ratio", "capped"),
    [
        (0.5, (20, 20, 20, 19, 4, 0, 0)),
        (0.2, (19, 11, 11, 4, 0, 0, 0)),
        (0.1, (10, 10, 10, 3, 0, 0, 0)),
        (0.05, (3, 3, 3, 1, 0, 0, 0)),
        (0.01, (2, 1, 1, 0, 0, 0, 0)),
        (0.005, (1, 1, 0, 0, 0, 0, 0)),
        (0.002, (0, 0, 0, 0, 0, 0, 0)),
    ],
)
def test_as_many_layers_are_kept_whole_as_in_the_golden_list(make_plan, keep_ratio, capped):
    sizes = list(prunable_sizes(make_plan(name="resnet34", width=1.0)).values())

    kept = [allocate(sizes, keep_ratio, p) for p in (0.0, 0.1, 0.2, 0.5, 0.8, 0.9, 1.0)]

    whole = tuple(sum(count == size for count, size in zip(counts, sizes, strict=True)) for counts in kept)
    assert whole == capped


@given(layer_sizes, keep_ratios, exponents)
def test_the_counts_equal_a_literal_ascending_pass(sizes, keep_ratio, p):
    kept = allocated(sizes, keep_ratio, p)

    assert kept == literal_allocation(sizes, keep_ratio, p)


@given(layer_sizes, keep_ratios, exponents)
def test_the_counts_add_up_to_the_budget_and_fit_the_layers(sizes, keep_ratio, p):
    kept = allocated(sizes, keep_ratio, p)

    assert sum(kept) == weight_budget(sum(sizes), keep_ratio)
    assert all(1 <= count <= size for count, size in zip(kept, sizes, strict=True))


@given(layer_sizes, keep_ratios, st.floats(0.01, 1.0))
def test_a_larger_layer_never_keeps_fewer_weights(sizes, keep_ratio, p):
    kept = allocated(sizes, keep_ratio, p)

    assert all(
        kept[small] <= kept[large]
        for small in range(len(sizes))
        for large in range(len(sizes))
        if sizes[small] < sizes[large]
    )


@given(layer_sizes, keep_ratios, exponents)
def test_of_equal_layers_the_earlier_keep_at_most_one_weight_more(sizes, keep_ratio, p):
    kept = allocated(sizes, keep_ratio, p)

    for size in set(sizes):
        counts = [count for count, other in zip(kept, sizes, strict=True) if other == size]
        assert counts == sorted(counts, reverse=True)
        assert counts[0] - counts[-1] <= 1


@given(layer_sizes, keep_ratios)
def test_p_one_keeps_the_same_ratio_in_every_layer(sizes, keep_ratio):
    kept = allocated(sizes, keep_ratio, 1.0)

    ratio = Fraction(weight_budget(sum(sizes), keep_ratio), sum(sizes))
    assert all(abs(Fraction(count, size) - ratio) < Fraction(1, size) for count, size in zip(kept, sizes, strict=True))


@given(layer_sizes, keep_ratios)
def test_p_zero_keeps_the_same_count_in_every_layer_that_is_not_whole(sizes, keep_ratio):
    kept = allocated(sizes, keep_ratio, 0.0)

    free = [count for count, size in zip(kept, sizes, strict=True) if count < size]
    assert max(free, default=0) - min(free, default=0) <= 1


def test_a_keep_ratio_of_one_keeps_everything():
    sizes = [3, 700, 20]

    kept = allocate(sizes, 1.0, 0.3)

    assert kept == sizes


@pytest.mark.parametrize(
    ("total", "keep_ratio", "budget"),
    [
        (21_265_088, 0.01, 212_651),
        (21_311_168, 0.01, 213_112),
        (10, 0.25, 2),  # halves go to the even number ...
        (10, 0.35, 4),  # ... also upwards
        (100, 0.145, 14),
        (150, 0.41, 62),  # the binary product 0.41 * 150 is below the half
        (150, 0.07, 10),  # ... and 0.07 * 150 above it
        (3, 1.0, 3),
    ],
)
def test_the_budget_is_the_rounded_exact_decimal(total, keep_ratio, budget):
    assert weight_budget(total, keep_ratio) == budget


@given(st.integers(1, 10**8), st.integers(1, 10**4))
def test_the_budget_does_not_depend_on_binary_rounding(total, ten_thousandths):
    assert weight_budget(total, ten_thousandths / 10**4) == round(Fraction(total * ten_thousandths, 10**4))


@pytest.mark.parametrize(
    ("sizes", "keep_ratio", "p", "message"),
    [
        ([], 0.5, 0.5, r"at least one layer of at least one weight; got \[\]"),
        ([3, 0], 0.5, 0.5, r"at least one layer of at least one weight; got \[3, 0\]"),
        ([3], 0.0, 0.5, r"in \(0, 1\]; got 0"),
        ([3], 1.5, 0.5, r"in \(0, 1\]; got 1.5"),
        ([3], float("nan"), 0.5, r"in \(0, 1\]; got nan"),
        ([3], 0.5, -0.1, r"exponent in \[0, 1\]; got -0.1"),
        ([3], 0.5, 1.1, r"exponent in \[0, 1\]; got 1.1"),
        ([10, 1000], 0.01, 1.0, r"10 weights over 2 layers leaves layer 0 \(10 weights\) with none at p=1"),
        ([100, 100, 100], 0.005, 0.0, r"2 weights over 3 layers leaves layer 2 \(100 weights\) with none"),
    ],
)
def test_an_impossible_request_is_refused_with_its_numbers(sizes, keep_ratio, p, message):
    with pytest.raises(ValueError, match=message):
        allocate(sizes, keep_ratio, p)
