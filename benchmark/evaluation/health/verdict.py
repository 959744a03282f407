"""The result of a gradient-health check, and how a count or a number becomes a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from benchmark.results.statistics import wilson
from benchmark.results.verdicts import Verdict


@dataclass(frozen=True)
class Check:
    """The result of one check of whether robust accuracy can be trusted."""

    name: str  # snake_case
    value: float | None  # the check's number, finite; None if it could not be computed
    verdict: Verdict
    reason: str  # one sentence: the number, its meaning and, unless the check passed, advice


class Limits(NamedTuple):
    """A number above `suspect` is suspect; above `fail` it fails."""

    suspect: float
    fail: float

    def verdict(self, number: float) -> Verdict:
        """Judge a number; one that is not finite fails."""
        if number <= self.suspect:
            return "pass"
        return "suspect" if number <= self.fail else "fail"


def judge_share(name: str, count: int, total: int, limits: Limits, *, observation: str, advice: str) -> Check:
    """Judge a share of images by the lower end of its 95% Wilson interval: a few of a few images prove little.

    Args:
        name: of the check.
        count: images that count against the network, at most `total`.
        total: images examined; without any, the check is not run.
        limits: for the lower end of the interval.
        observation: continues a sentence that begins with "3 of 24 images".
        advice: what to do, for a verdict other than "pass".
    """
    if total == 0:
        return Check(name, None, "not run", f"{name} was not run: there are no images to examine.")
    verdict = limits.verdict(wilson(count, total)[0])
    return Check(name, count / total, verdict, _sentence(f"{count} of {total} images {observation}", verdict, advice))


def judge_number(name: str, number: float, limits: Limits, *, observation: str, advice: str) -> Check:
    """Judge a number that is not a share of images; one that is not finite fails and is not reported."""
    verdict = limits.verdict(number)
    finite = abs(number) < float("inf")  # also false for NaN
    return Check(name, number if finite else None, verdict, _sentence(observation, verdict, advice))


def _sentence(observation: str, verdict: Verdict, advice: str) -> str:
    """Join an observation and, unless the check passed, the advice."""
    observation = observation[0].upper() + observation[1:]
    return f"{observation}." if verdict == "pass" else f"{observation}; {advice}."
