"""The automatic layer budgets are the exact optimum: a table, two independent maximisers, and planted mutations."""

from __future__ import annotations

import heapq
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import methods.auto_allocation as module
from benchmark.networks.resnet import NetworkPlan, prunable_sizes
from methods.allocation import (
    allocate,
    allocation_text,
    auto_constant,
    auto_name,
    check_allocation,
    closest_exponent,
    weight_budget,
)
from methods.auto_allocation import DEFAULT_C, MAX_C, auto_budgets

Maximiser = Callable[[Sequence[int], int, float], list[int]]

LAYERS = (
    "conv1",
    "layer1.0.conv1",
    "layer2.0.shortcut.0",
    "layer2.0.conv2",
    "layer3.0.conv2",
    "layer4.0.conv2",
    "fc",
)
# ResNet34 with ten classes: width and keep ratio, then the total and the budgets of LAYERS.
GOLDEN = {
    (1.0, 0.5): (10_632_544, (1_728, 24_995, 7_616, 80_681, 296_063, 1_154_457, 5_023)),
    (1.0, 0.1): (2_126_509, (1_728, 11_733, 5_890, 23_999, 61_572, 200_627, 4_504)),
    (1.0, 0.01): (212_651, (1_705, 3_770, 2_910, 4_869, 6_634, 9_876, 2_653)),
    (1.0, 0.002): (42_530, (882, 1_046, 969, 1_124, 1_213, 1_316, 945)),
    (0.25, 0.02): (26_607, (231, 351, 243, 511, 828, 1_605, 305)),
    (0.25, 0.2): (266_070, (373, 997, 418, 2_446, 7_500, 27_202, 714)),
}

layer_sizes = st.lists(st.integers(1, 150), min_size=1, max_size=7)
constants = st.sampled_from((0.0, 0.0117, DEFAULT_C, 0.105, 1.0)) | st.floats(0.0, 5.0)
shares = st.floats(0.0, 1.0)  # of the way from one weight per layer to all weights


def budget_of(sizes: Sequence[int], share: float) -> int:
    """Return a budget between one weight per layer and all weights."""
    return len(sizes) + round(share * (sum(sizes) - len(sizes)))


@cache
def ln(count: int) -> Decimal:
    """Return a natural logarithm to 60 digits."""
    return Decimal(count).ln(Context(prec=60))


def greedy(sizes: Sequence[int], budget: int, c: float) -> list[int]:
    """Grant single weights, the largest gain first, ties to the earlier layer, in exact arithmetic."""
    with localcontext() as context:
        context.prec = 60
        factor = Fraction(repr(c)) * Fraction(sum(sizes), len(sizes))
        strength = Decimal(factor.numerator) / Decimal(factor.denominator)

        def entry(layer: int, count: int) -> tuple[Decimal, int]:
            masks, paths = ln(sizes[layer] - count) - ln(count + 1), ln(count + 1) - ln(count)
            # Two ways to write one gain differ in their last digits.
            return -(masks + strength * paths).quantize(Decimal("1e-45")), layer

        kept = [1] * len(sizes)
        heap = [entry(layer, 1) for layer, size in enumerate(sizes) if size > 1]
        heapq.heapify(heap)
        while sum(kept) < budget:
            _, layer = heapq.heappop(heap)
            kept[layer] += 1
            if kept[layer] < sizes[layer]:
                heapq.heappush(heap, entry(layer, kept[layer]))
    return kept


def objective(sizes: Sequence[int], kept: Sequence[int], c: float) -> float:
    """Return what is maximised, from its definition."""
    masks = sum(math.log(math.comb(size, count)) for size, count in zip(sizes, kept, strict=True))
    return masks + c * sum(sizes) / len(sizes) * sum(math.log(count) for count in kept)


def golden_budgets(maximise: Maximiser) -> dict[tuple[float, float], tuple[int, tuple[int, ...]]]:
    """Return what a maximiser gives for the networks of GOLDEN."""
    results = {}
    for width, keep_ratio in GOLDEN:
        sizes = resnet34(width)
        budget = weight_budget(sum(sizes.values()), keep_ratio)
        kept = dict(zip(sizes, maximise(list(sizes.values()), budget, DEFAULT_C), strict=True))
        results[width, keep_ratio] = (sum(kept.values()), tuple(kept[name] for name in LAYERS))
    return results


def resnet34(width: float) -> dict[str, int]:
    """Return the layers of ResNet34 with ten classes."""
    return prunable_sizes(NetworkPlan("resnet34", 10, (0.0,) * 3, (1.0,) * 3, width, True))


def test_resnet34_gets_the_golden_budgets():
    assert golden_budgets(auto_budgets) == GOLDEN


@settings(deadline=None, max_examples=40)
@given(layer_sizes, shares, constants)
def test_the_budgets_equal_a_greedy_choice_of_single_weights(sizes, share, c):
    budget = budget_of(sizes, share)

    assert auto_budgets(sizes, budget, c) == greedy(sizes, budget, c)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), shares, constants)
def test_no_other_budgets_of_a_tiny_network_are_better(sizes, share, c):
    budget = budget_of(sizes, share)
    others = [each for each in itertools.product(*(range(1, n + 1) for n in sizes)) if sum(each) == budget]

    best = max(objective(sizes, each, c) for each in others)

    assert objective(sizes, auto_budgets(sizes, budget, c), c) == pytest.approx(best, rel=1e-12, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(layer_sizes, shares, constants)
def test_the_budgets_add_up_and_fit_the_layers(sizes, share, c):
    budget = budget_of(sizes, share)

    kept = auto_budgets(sizes, budget, c)

    assert sum(kept) == budget
    assert all(1 <= count <= size for count, size in zip(kept, sizes, strict=True))


@settings(deadline=None, max_examples=40)
@given(layer_sizes, shares, constants)
def test_one_more_weight_goes_to_one_layer_and_leaves_the_others(sizes, share, c):
    budget = min(budget_of(sizes, share), sum(sizes) - 1)
    if budget < len(sizes):
        return  # every layer has a single weight

    before, after = auto_budgets(sizes, budget, c), auto_budgets(sizes, budget + 1, c)

    assert sorted(b - a for a, b in zip(before, after, strict=True)) == [0] * (len(sizes) - 1) + [1]


@settings(deadline=None, max_examples=40)
@given(layer_sizes, shares, constants)
def test_a_larger_layer_never_keeps_fewer_and_of_equal_ones_the_earlier_keeps_more(sizes, share, c):
    kept = auto_budgets(sizes, budget_of(sizes, share), c)

    in_order = [count for _, _, count in sorted(zip(sizes, range(len(sizes), 0, -1), kept, strict=True))]
    assert in_order == sorted(in_order)


def near_ties() -> list[tuple[list[int], int, float]]:
    """Return sizes, budgets and constants where the last weight is claimed by two layers whose gains floats confuse."""
    sizes, cases = [60, 80], []
    for first, second in itertools.product(range(10, 20), range(15, 40)):
        if first == second:
            continue  # their gains differ by masks alone, whatever the constant
        masks = (60 - first) / (first + 1), (80 - second) / (second + 1)
        paths = (first + 1) / first, (second + 1) / second
        strength = (math.log(masks[1]) - math.log(masks[0])) / (math.log(paths[0]) - math.log(paths[1]))
        if 0 < strength < 70:
            cases.append((sizes, first + second + 1, strength / 70))
    return cases


def test_gains_that_floats_cannot_separate_are_compared_exactly():
    cases = near_ties()
    optimal = [greedy(*case) for case in cases]

    first_wins = {
        kept[0] - auto_budgets(sizes, budget - 1, c)[0] for (sizes, budget, c), kept in zip(cases, optimal, strict=True)
    }

    assert [auto_budgets(*case) for case in cases] == optimal
    assert first_wins == {0, 1}


@pytest.mark.parametrize("keep_ratio", [0.001, 0.01, 0.3, 0.99])
def test_a_network_with_one_huge_layer_matches_the_greedy_choice(keep_ratio):
    sizes = [27, 9_000, 400, 90]
    budget = max(weight_budget(sum(sizes), keep_ratio), len(sizes))

    kept = auto_budgets(sizes, budget)

    assert kept == greedy(sizes, budget, DEFAULT_C)


def test_without_paths_every_layer_keeps_about_the_same_share():
    sizes = [100, 1_000, 10_000]

    kept = auto_budgets(sizes, 1_110, 0.0)

    assert kept == [10, 100, 1_000]


def test_with_a_large_constant_every_layer_keeps_the_same_count_or_all_of_it():
    kept = auto_budgets([10, 100, 1_000, 1_000], 310, MAX_C)

    assert kept == [10, 100, 100, 100]


def test_rounded_floats_do_not_decide(monkeypatch):
    """A machine whose logarithm is off in its last digits gives the same budgets."""
    sizes = [1_728, 36_864, 36_864, 8_192, 147_456, 5_120]
    expected = auto_budgets(sizes, 12_345)
    exact_log = math.log

    monkeypatch.setattr(math, "log", lambda value: exact_log(value) * (1 + 1e-14))

    assert auto_budgets(sizes, 12_345) == expected


# A line of the source, and a mistake in its place that a check must find.
MUTATIONS = {
    "the threshold one too high": ("[: budget - sum(granted)]", "[: budget - sum(granted) - 1]"),
    "the threshold one too low": ("[: budget - sum(granted)]", "[: budget - sum(granted) + 1]"),
    "one weight too many above the threshold": ("    return enough\n", "    return enough + 1\n"),
    "one weight too few above the threshold": ("m = count - 1", "m = count"),
    "lambda without the mean size": ("Fraction(repr(c)) * sum(sizes) / len(sizes)", "Fraction(repr(c))"),
    "lambda with the total size": ("sum(sizes) / len(sizes)  #", "sum(sizes)  #"),
    "ties to the later layer": ("Decimal.ln), layer)", "Decimal.ln), -layer)"),
    "the smaller gain first": ("(-_gain(", "(_gain("),
    "the masks of the weight before": ("log((size - m) / (m + 1))", "log((size - m + 1) / m)"),
    "the paths of the weight after": ("log((m + 1) / m)", "log((m + 2) / (m + 1))"),
    "masks alone": ("+ strength * log((m", "+ 0 * log((m"),
}


def mutated(line: str, mistake: str) -> ModuleType:
    """Return the module with a mistake in it."""
    source = Path(module.__file__ or "").read_text(encoding="utf-8")
    assert source.count(line) == 1, line
    other = ModuleType("mutated_auto_allocation")
    sys.modules[other.__name__] = other
    exec(compile(source.replace(line, mistake), module.__file__ or "", "exec"), other.__dict__)
    return other


def is_right(maximise: Maximiser) -> bool:
    """Return whether a maximiser passes the checks of this file on fixed inputs."""
    small = [
        ([10, 10, 10], 11, DEFAULT_C),
        ([5, 5, 7, 200], 50, 1.0),
        ([3, 400, 90], 471, 0.0117),
        ([1, 2, 3], 6, DEFAULT_C),
        *near_ties(),
    ]
    try:
        return all(maximise(*case) == greedy(*case) for case in small) and golden_budgets(maximise) == GOLDEN
    except (ArithmeticError, AssertionError, IndexError, ValueError):
        return False


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_mistake_is_noticed(name):
    assert not is_right(mutated(*MUTATIONS[name]).auto_budgets)


def test_the_module_without_a_mistake_passes_what_notices_them():
    assert is_right(mutated("return granted", "return granted").auto_budgets)


@pytest.mark.parametrize(
    ("sizes", "budget", "c", "message"),
    [
        ([], 1, 0.1, r"at least one layer of at least one weight; got \[\]"),
        ([3, 0], 2, 0.1, r"at least one layer of at least one weight; got \[3, 0\]"),
        ([9, 9, 9], 2, 0.1, "a budget of 2 weights over 3 layers leaves a layer with none; raise keep_ratio"),
        ([9, 9], 19, 0.1, "a budget of 19 weights is more than the 18 of all layers"),
        ([9, 9], 9, -0.1, "c is a factor from 0 to 1000; got -0.1"),
        ([9, 9], 9, float("nan"), "c is a factor from 0 to 1000; got nan"),
        ([9, 9], 9, 1001.0, "c is a factor from 0 to 1000; got 1001"),
    ],
)
def test_an_impossible_request_is_refused_with_its_numbers(sizes, budget, c, message):
    with pytest.raises(ValueError, match=message):
        auto_budgets(sizes, budget, c)


def test_the_name_of_a_constant_is_read_back():
    names = [auto_name(c) for c in (0.035, 0.0117, 1, 1e-5, 0.0)]

    assert names == ["auto", "auto:0.0117", "auto:1.0", "auto:1e-05", "auto:0.0"]
    assert [auto_constant(name) for name in names] == [0.035, 0.0117, 1.0, 1e-5, 0.0]


@pytest.mark.parametrize(
    "name",
    ["", "Auto", "auto:", "auto:0.035", "auto:0.0350", "auto: 0.01", "auto:.01", "auto:nan", "auto:-1.0", "p0.1"],
)
def test_a_name_has_one_spelling(name):
    assert auto_constant(name) is None
    with pytest.raises(ValueError, match=r"allocation is an exponent p in \[0, 1\], 'global', 'auto' or 'auto:c'"):
        check_allocation(name)


def test_an_allocation_by_name_is_that_of_its_constant():
    sizes = [27, 900, 400, 9_000]

    assert allocate(sizes, 0.05, "auto") == auto_budgets(sizes, weight_budget(sum(sizes), 0.05))
    assert allocate(sizes, 0.05, "auto:0.5") == auto_budgets(sizes, weight_budget(sum(sizes), 0.05), 0.5)
    with pytest.raises(ValueError, match="allocation 'global' has no budgets per layer"):
        allocate(sizes, 0.05, "global")
    assert [allocation_text(each) for each in (0.5, "auto:0.5")] == ["p=0.5", "allocation auto:0.5"]


@pytest.mark.parametrize(("keep_ratio", "p"), [(0.5, 0.95), (0.1, 0.73), (0.01, 0.23), (0.002, 0.05)])
def test_the_closest_exponent_falls_as_fewer_weights_are_kept(keep_ratio, p):
    assert closest_exponent(list(resnet34(1.0).values()), keep_ratio) == p


@pytest.mark.parametrize(("c", "p"), [(0.0, 1.0), (MAX_C, 0.0)])
def test_the_ends_of_the_constant_are_the_ends_of_the_exponent(c, p):
    assert closest_exponent([10_000, 100_000, 1_000_000], 0.01, c) == p
