"""Checks of gradient health that attack, repeated on a drawn part: forged ones are refused, honest ones are not."""

from __future__ import annotations

import random

import numpy as np
import pytest

from benchmark.evaluation.health.attack_checks import LEFT_UNBOUNDED, MORE_STEPS, NEWLY_BROKEN
from benchmark.evaluation.health.verdict import Check, judge_share
from benchmark.results.evaluation import CheckPart, EvaluationPart, PgdPart
from benchmark.submission import slow_health
from benchmark.submission.claim import Claim
from benchmark.submission.remeasure import Effort, replay_of
from benchmark.submission.replayed import Replay
from benchmark.submission.slow_health import LEAST, POOLS, _against, check_slow_health

LIMITS = {"logit_scale": NEWLY_BROKEN, "more_steps": MORE_STEPS, "unbounded": LEFT_UNBOUNDED}
POOL = 64


def judged(name, count, total):
    """Return a check of which so many images speak against the network."""
    return judge_share(name, count, total, LIMITS[name], observation="are such", advice="look")


def stated(name, count, total=POOL):
    """Return the check as a record holds it."""
    return CheckPart(**vars(judged(name, count, total)))


@pytest.fixture
def run(monkeypatch):
    """Return what repeats the checks, for a record that has a statement about one of them, on a network of our own.

    `fallen` are the places that really speak against the network in this check; in the others none does.
    """
    monkeypatch.setattr(Replay, "time_of", staticmethod(lambda count: count * 1e-3))
    monkeypatch.setattr(Claim, "measured", lambda claim, name: np.ones(POOL, dtype=bool))

    def make(statement, fallen, draw, *, seconds=1.0):
        health = [statement, *(stated(other, 0) for other in POOLS if other != statement.name)]
        evaluation = EvaluationPart.model_construct(health=health, pgd=PgdPart.model_construct(steps=20))
        counts = []

        def measure(replay, name, places):
            if name == statement.name:
                counts.append(len(places))
            return judged(name, len(fallen & {*places}) if name == statement.name else 0, len(places))

        monkeypatch.setattr(slow_health, "_made", measure)
        claim = Claim(evaluation, 10, 1, "cpu", "2.0")
        reasons, _ = check_slow_health(replay_of(claim, None, None, Effort(seconds, draw)))
        return reasons, counts

    return make


@pytest.mark.parametrize("seconds", [1.0, 1e6])
@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("draw", range(5))
def test_a_forged_value_is_refused_whatever_time_there_is(run, name, draw, seconds):
    reasons, counts = run(stated(name, 0), set(range(8, POOL)), draw, seconds=seconds)

    assert len(reasons) == 1 and reasons[0].startswith(f"{name}: the record says pass with 0, measured fail: ")
    assert counts[0] == (LEAST if seconds == 1 else POOL)
    assert counts[-1] == POOL  # what looks worse than the record is looked at whole before it is refused


@pytest.mark.parametrize("name", POOLS)
def test_a_forged_verdict_is_refused_though_its_value_is_true(name):
    honest, forged = judged(name, 32, POOL), stated(name, 32).model_copy(update={"verdict": "pass"})

    assert _against(honest, stated(name, 32), POOL, whole=True) == []
    assert _against(honest, forged, POOL, whole=True) == [
        f"{name}: the record says pass with 0.5, measured fail: {honest.reason}"
    ]


@pytest.mark.parametrize("name", POOLS)
def test_a_forged_number_beside_a_true_verdict_is_refused(name):
    assert _against(judged(name, 64, POOL), stated(name, 33), POOL, whole=True)
    assert _against(judged(name, 32, 32), stated(name, 33), 32, whole=False)
    assert _against(judged(name, 0, POOL), stated(name, 16), POOL, whole=True)


@pytest.mark.parametrize(("name", "count"), [("logit_scale", 2), ("more_steps", 6), ("unbounded", 2)])
@pytest.mark.parametrize("fewer", [0, 1])
def test_an_honest_check_is_not_refused_in_200_draws(run, name, count, fewer):
    """The very images that fall differ by one, as other starts and rounding have it."""
    generator = random.Random(1)
    for draw in range(200):
        fallen = set(generator.sample(range(POOL), count))
        assert run(stated(name, count - fewer), fallen, draw)[0] == []


@pytest.mark.parametrize("count", [4, 8, 16, 32])
@pytest.mark.parametrize(("name", "share"), [("logit_scale", 0.03), ("more_steps", 0.15), ("unbounded", 0.03)])
def test_a_part_that_differs_by_chance_is_not_refused(name, share, count):
    generator = random.Random(1)
    for _ in range(200):
        broken = sum(generator.random() < share for _ in range(count))
        assert _against(judged(name, broken, count), stated(name, round(share * POOL)), count, whole=False) == []


def test_what_could_not_be_measured_is_no_agreement():
    broke_off = Check("unbounded", None, "fail", "The network broke off.")

    assert _against(broke_off, stated("unbounded", 0), 8, whole=False) == [
        "unbounded: the record says pass with 0, measured fail: The network broke off."
    ]


@pytest.mark.parametrize("name", POOLS)
def test_a_check_that_was_left_out_is_refused(run, name):
    reasons, counts = run(CheckPart(name=name, value=None, verdict="not run", reason="No time."), set(), 0)

    assert reasons == [f"{name}: the record says not run, but there are images to run it on"]
    assert counts == []
