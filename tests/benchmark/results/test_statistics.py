"""Intervals and tests against scipy, published examples, their definitions, and simulations of what they promise."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.results import statistics
from benchmark.results.statistics import (
    SIGNIFICANCE,
    accuracy_interval,
    binomial_bound,
    coin_p_value,
    images_needed,
    mcnemar,
    pair_seeds,
    seed_bootstrap,
    tie_groups,
    wilson,
)

COUNTS = [(right, n) for n in (1, 2, 7, 100, 10_000) for right in sorted({0, 1, n // 3, n - 1, n})]
PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def paired(both, only_a, only_b, neither):
    """Return the verdicts of two networks with these counts."""
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


def first_right(right, n=100):
    return np.arange(n) < right


@pytest.mark.parametrize(("right", "n"), COUNTS)
def test_wilson_is_scipys_and_holds_the_share(right, n):
    expected = stats.binomtest(right, n).proportion_ci(method="wilson")
    low, high = wilson(right, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert 0 <= low <= right / n <= high <= 1


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Altman et al., Statistics with Confidence (2000), table 6.2, as computed by biostatUZH's example.
        ((14, 5, 0, 22), 0.0115, 0.2265),
        # Fagerland, Lydersen, Laake, Statistical Analysis of Contingency Tables (2017), chapter 8.
        ((1, 1, 7, 12), -0.5069, -0.0256),
        ((59, 6, 16, 80), -0.1186, -0.0046),
    ],
)
def test_the_interval_of_a_paired_difference_is_that_of_published_examples(counts, low, high):
    assert mcnemar(*paired(*counts)).interval == pytest.approx((low, high), abs=5e-5)


def test_the_paired_test_counts_and_tests_what_differs():
    test = mcnemar(*paired(59, 6, 16, 80))
    assert (test.both, test.only_a, test.only_b, test.neither) == (59, 6, 16, 80)
    assert test.difference == pytest.approx(-10 / 161)
    assert test.p_value == pytest.approx(stats.binomtest(6, 22).pvalue, rel=1e-12)


@given(PAIRS)
def test_exchanging_the_networks_turns_the_difference_and_nothing_else(pairs):
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    one, other = mcnemar(a, b), mcnemar(b, a)
    assert one.p_value == other.p_value
    assert (one.both, one.only_a, one.only_b, one.neither) == (other.both, other.only_b, other.only_a, other.neither)
    assert one.difference == -other.difference
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]), abs=1e-12)
    assert -1 <= one.interval[0] <= one.difference + 1e-6 and one.difference - 1e-6 <= one.interval[1] <= 1


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((0,), (0,)), ((2, 2), (2, 2))], ids=str)
def test_verdicts_that_are_no_pairs_are_refused(shapes):
    with pytest.raises(ValueError, match="one shape"):
        mcnemar(*(np.ones(shape, dtype=bool) for shape in shapes))


@pytest.mark.parametrize("n", [0, 1, 2, 5, 6, 17, 100, 999])
def test_the_coins_p_value_is_scipys(n):
    for heads in range(0, n + 1, max(1, n // 40)):
        expected = stats.binomtest(heads, n).pvalue if n else 1.0
        assert coin_p_value(heads, n - heads) == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(("heads", "tails"), [(3, 9), (40, 90), (4_900, 5_300), (200, 3_000), (25_000, 25_000)])
def test_the_coins_p_value_is_exact_in_rational_numbers(heads, tails):
    n, term, total = heads + tails, 1, 0
    for count in range(heads + 1):
        total += term
        term = term * (n - count) // (count + 1)
    expected = min(1.0, float(Fraction(2 * total, 1 << n)))
    assert coin_p_value(heads, tails) == pytest.approx(expected, rel=1e-13, abs=0)


def test_a_p_value_too_small_for_a_float_is_zero():
    assert coin_p_value(0, 5_000) == 0.0


def test_the_paired_interval_covers_the_true_difference():
    """10,000 draws: 95% is met to a standard error of 0.2 points, and Newcombe's method errs by one point or less."""
    generator = np.random.default_rng(0)
    for shares in ((0.15, 0.1, 0.05, 0.7), (0.4, 0.06, 0.04, 0.5), (0.02, 0.02, 0.08, 0.88)):
        tables, counts = np.unique(generator.multinomial(200, shares, size=10_000), axis=0, return_counts=True)
        covered = 0
        for table, count in zip(tables, counts, strict=True):
            low, high = mcnemar(*paired(*table)).interval
            covered += count if low <= shares[1] - shares[2] <= high else 0
        assert 0.94 <= covered / 10_000 <= 0.97, shares


def test_so_many_images_show_the_difference_in_four_of_five_cases():
    generator = np.random.default_rng(0)
    for only_a, only_b, n in ((31, 21, 400), (8, 2, 256), (300, 250, 10_000)):
        images = images_needed(only_a, only_b, n)
        shares = only_a / n, only_b / n, 1 - (only_a + only_b) / n
        draws = generator.multinomial(images, shares, size=2_000)
        power = np.mean([coin_p_value(int(a), int(b)) < SIGNIFICANCE for a, b, _ in draws])
        assert 0.73 <= power <= 0.84, (only_a, only_b, n, images)


def test_images_needed_is_connors_formula():
    """31 against 21 of 400 by hand: discordant 0.13, difference 0.025."""
    by_hand = (1.959964 * math.sqrt(0.13) + 0.841621 * math.sqrt(0.13 - 0.025**2)) ** 2 / 0.025**2
    assert images_needed(31, 21, 400) == images_needed(21, 31, 400) == math.ceil(by_hand)
    assert images_needed(7, 7, 400) is None


@pytest.mark.parametrize(("right", "n"), COUNTS)
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_beyond_the_exact_bound_the_count_is_too_unlikely(right, n, confidence):
    low, high = binomial_bound(right, n, confidence)
    tail = (1 - confidence) / 2
    assert low == 0 if right == 0 else stats.binom.sf(right - 1, n, low) == pytest.approx(tail, rel=1e-6)
    assert high == 1 if right == n else stats.binom.cdf(right, n, high) == pytest.approx(tail, rel=1e-6)


def test_the_exact_bound_is_wider_the_surer_it_must_be():
    assert binomial_bound(45, 100) == binomial_bound(45, 100, 0.99)
    narrow, wide = binomial_bound(45, 100, 0.9), binomial_bound(45, 100)
    assert wide[0] < narrow[0] < 0.45 < narrow[1] < wide[1]


def test_the_bootstrap_draws_seeds_and_images_and_takes_the_percentiles_of_the_means():
    """Done again one draw at a time; the written numbers say that no machine and no numpy may give others."""
    images = np.arange(200)
    seeds = [images % 5 < 2, images % 7 < 3, images % 3 < 1]
    of_images, of_seeds = np.random.PCG64(0), np.random.PCG64(1)
    means = []
    for _ in range(2_000):
        drawn = (of_images.random_raw(200) % 200).tolist()
        means.append(np.mean([seeds[seed][drawn] for seed in (of_seeds.random_raw(3) % 3).tolist()]))
    means.sort()
    assert seed_bootstrap(seeds) == pytest.approx((means[50], means[-51]), abs=1e-6)
    assert seed_bootstrap(seeds) == (0.318333, 0.458333)


def test_the_bootstrap_of_one_seed_is_that_of_its_images():
    low, high = seed_bootstrap([first_right(450, 1000)])
    assert (low, high) == pytest.approx(wilson(450, 1000), abs=0.004)


def test_the_bootstrap_of_seeds_without_any_doubt_about_images_is_that_of_the_seeds():
    """Right on all images or on none: of four such seeds the mean varies as a binomial share does."""
    assert seed_bootstrap([np.ones(50, dtype=bool)] * 2) == (1.0, 1.0)
    assert seed_bootstrap([np.ones(50, dtype=bool), np.zeros(50, dtype=bool)] * 2) == (0.0, 1.0)


def test_seeds_with_other_numbers_of_images_are_refused():
    with pytest.raises(ValueError, match="same images"):
        seed_bootstrap([np.ones(3, dtype=bool), np.ones(4, dtype=bool)])
    with pytest.raises(ValueError, match="same images"):
        seed_bootstrap([])


@pytest.mark.parametrize(("n_seeds", "least"), [(2, 0.84), (8, 0.92)])
def test_the_bootstrap_covers_the_mean_of_all_trainings_and_images_less_with_two_seeds(n_seeds, least):
    """Images are easy or hard, seeds spread by 5 points around 20%; few seeds cover less than 95%, as documented."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        ease = generator.beta(0.5, 2.0, size=200)
        room = ease * (1 - ease) / np.mean(ease * (1 - ease))
        shift = generator.normal(0, 0.05, size=(n_seeds, 1))
        low, high = seed_bootstrap(list(generator.random((n_seeds, 200)) < np.clip(ease + shift * room, 0, 1)))
        covered += low <= 0.2 <= high
    assert least <= covered / 400 <= 0.99


def test_one_seed_has_wilsons_interval_and_several_the_bootstraps():
    one, other = first_right(45), first_right(50)
    assert accuracy_interval([one]) == wilson(45, 100)
    assert accuracy_interval([one, other]) == seed_bootstrap([one, other])


def test_seeds_are_paired_in_order_as_many_as_both_have():
    a, b = pair_seeds([first_right(1, 2), first_right(2, 2)], [first_right(0, 2), first_right(1, 2), first_right(2, 2)])
    assert a.tolist() == [True, False, True, True]
    assert b.tolist() == [False, False, True, False]


def test_a_row_that_differs_from_the_leader_leads_the_next_group():
    """Nested verdicts: k fewer is k against 0, and p < 0.05 from six on."""
    assert tie_groups([[first_right(right)] for right in (50, 50, 45, 44, 39, 38, 20)]) == [1, 1, 1, 2, 2, 3, 4]
    assert tie_groups([]) == []


@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=3), max_size=12))
def test_tie_groups_part_the_rows_in_order_and_only_at_significant_differences(rights):
    rows = [[first_right(right, 40) for right in row] for row in rights]
    groups = tie_groups(rows)
    assert len(groups) == len(rows)
    assert sorted(set(groups)) == list(range(1, max(groups, default=0) + 1))
    assert groups == sorted(groups)
    for row, group in zip(rows, groups, strict=True):
        leader = rows[groups.index(group)]
        assert row is leader or mcnemar(*pair_seeds(leader, row)).p_value >= SIGNIFICANCE
    for group in set(groups) - {1}:
        before, leader = rows[groups.index(group - 1)], rows[groups.index(group)]
        assert mcnemar(*pair_seeds(before, leader)).p_value < SIGNIFICANCE


def test_two_thousand_rows_are_grouped_by_one_test_each(monkeypatch):
    tests = []
    monkeypatch.setattr(statistics, "coin_p_value", lambda *counts: tests.append(counts) or coin_p_value(*counts))
    generator = np.random.default_rng(0)
    shares = np.linspace(0.9, 0.1, 2_000)
    rows = [[generator.random(256) < share] for share in shares]
    groups = tie_groups(rows)
    assert len(tests) == 1_999
    assert 5 < groups[-1] < 100
