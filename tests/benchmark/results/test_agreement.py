"""What counts as agreement between a record and a second measurement."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from benchmark.results.agreement import ATTACK_FLIPS, CLEAN_FLIPS, CONFIDENCE, agreement, headline_reason


def verdicts(n: int, right: int, *, lost: int = 0, gained: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return claimed and measured verdicts; the measured lose some that were right and gain some that were wrong."""
    claimed = np.arange(n) < right
    measured = claimed.copy()
    measured[:lost] = False
    measured[right : right + gained] = True
    return claimed, measured


def test_the_same_verdicts_agree():
    result = agreement("autoattack", *verdicts(200, 80))
    assert (result.claimed, result.measured, result.n, result.lost, result.gained) == (80, 80, 200, 0, 0)
    assert result.reason == ""


@pytest.mark.parametrize(("name", "share"), [("clean", CLEAN_FLIPS), ("autoattack", ATTACK_FLIPS)])
@pytest.mark.parametrize("n", [24, 200, 10_000])
def test_flips_are_allowed_up_to_the_exact_binomial_quantile(name, share, n):
    allowed = agreement(name, *verdicts(n, n // 2)).allowed
    assert binom.cdf(allowed, n, share) >= CONFIDENCE > binom.cdf(allowed - 1, n, share)
    half = allowed // 2
    assert agreement(name, *verdicts(n, n // 2, lost=half, gained=allowed - half)).reason == ""
    more = agreement(name, *verdicts(n, n // 2, lost=half, gained=allowed - half + 1))
    assert f"{allowed + 1} of {n} verdicts differ, chance explains {allowed}" in more.reason


def test_losses_that_no_gains_balance_do_not_agree_even_if_they_are_few():
    fine, bad = (agreement("autoattack", *verdicts(200, 80, lost=lost)) for lost in (6, 7))
    assert (
        binomtest(6, 6, alternative="greater").pvalue > 1 - CONFIDENCE > binomtest(7, 7, alternative="greater").pvalue
    )
    assert fine.allowed >= 7
    assert fine.reason == ""
    assert "7 images that the record counts are lost and only 0 gained" in bad.reason


def test_gains_alone_are_no_boast():
    assert agreement("autoattack", *verdicts(200, 80, gained=7)).reason == ""


@pytest.mark.parametrize(
    ("accuracy", "right", "n", "agrees"), [(0.4, 80, 200, True), (0.48, 80, 200, True), (0.5, 80, 200, False)]
)
def test_a_headline_must_lie_in_the_exact_interval_of_what_was_measured(accuracy, right, n, agrees):
    interval = binomtest(right, n).proportion_ci(confidence_level=CONFIDENCE, method="exact")
    assert (interval.low <= accuracy <= interval.high) == agrees
    assert (headline_reason(accuracy, right, n) == "") == agrees
