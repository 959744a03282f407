"""What a gradient-health check says, and how a count or a number becomes a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from benchmark.results.statistics import wilson
from benchmark.results.verdicts import Verdict


@dataclass(frozen=True)
class Check:
    """One answer about whether a robustness number can be trusted."""

    name: str  # snake_case
    value: float | None  # the check's number, finite; None if it could not be computed
    verdict: Verdict
    reason: str  # one sentence: the number, what it means and, unless the check passed, what to do


class Limits(NamedTuple):
    """A number above `suspect` is suspect, above `fail` it fails."""

    suspect: float
    fail: float

    def verdict(self, number: float) -> Verdict:
        """Judge a number; one that is not finite fails."""
        if number <= self.suspect:
            return "pass"
        return "suspect" if number <= self.fail else "fail"


def judge_share(name: str, count: int, total: int, limits: Limits, *, found: str, advice: str) -> Check:
    """Judge a share of images by the lower end of its 95% Wilson interval: a few of a few images prove little.

    Args:
        name: of the check.
        count: images that speak against the network, at most `total`.
        total: images looked at; with none the check is not run.
        limits: for the lower end of the interval.
        found: goes on after "3 of 24 images".
        advice: what to do, for a verdict other than "pass".
    """
    if total == 0:
        return Check(name, None, "not run", f"{name} was not run: there is no image left that it could look at.")
    verdict = limits.verdict(wilson(count, total)[0])
    return Check(name, count / total, verdict, sentence(f"{count} of {total} images {found}", verdict, advice))


def judge_number(name: str, number: float, limits: Limits, *, found: str, advice: str) -> Check:
    """Judge a number that is no share of images; one that is not finite fails and is not reported."""
    verdict = limits.verdict(number)
    finite = abs(number) < float("inf")  # also false for NaN
    return Check(name, number if finite else None, verdict, sentence(found, verdict, advice))


def sentence(found: str, verdict: Verdict, advice: str) -> str:
    """Join what was found with what to do about it, which a passed check does not need."""
    found = found[0].upper() + found[1:]
    return f"{found}." if verdict == "pass" else f"{found}; {advice}."
