"""Attacks run again on parts that only the verifier knows, and catch forged verdicts as often as the docs say."""

from __future__ import annotations

from math import comb

import pytest

from benchmark.data.load import load_test
from benchmark.evaluation.accuracy import prepare
from benchmark.results.record import Record
from benchmark.submission import replay, replayed
from benchmark.submission.affordable import Budget
from benchmark.submission.claim import Claim
from benchmark.submission.replay import check_autoattack, check_pgd
from benchmark.submission.replayed import Replay
from benchmark.submission.sample import candidates


@pytest.fixture
def forged(forger, monkeypatch):
    """Return the maker of replays of a record that counts one broken image as robust, and that image's place."""
    fields = forger.read()
    place = candidates(Record(**fields))[0]
    forger.flip(fields, place, right=True)
    claim, network = Claim.of_record(Record(**fields)), prepare(forger.artifact.network, "cpu")
    images = load_test("digits", None, limit=claim.evaluation.n_images).test
    monkeypatch.setattr(replayed, "fitting_images", lambda most, *args: most // 2)
    monkeypatch.setattr(replay, "LEAST", dict.fromkeys(replay.LEAST, 1))

    def make(draw: int, *, exact: bool) -> Replay:
        return Replay(claim, network, images, exact, Budget(60.0), draw)

    return make, place


@pytest.mark.parametrize("exact", [True, False])
def test_a_forged_verdict_of_pgd_is_found_if_and_only_if_its_image_is_drawn(forged, exact):
    make, place = forged
    caught = []
    for draw in range(12):
        run = make(draw, exact=exact)
        right = run.claim.right("clean").nonzero()[0].tolist()
        reasons, note = check_pgd(run)
        caught.append(place in run.drawn("pgd", right)[: len(right) // 2])
        assert bool(reasons) == caught[-1], draw
        assert f"(--draw {draw})" in note
    assert any(caught) and not all(caught)


def test_a_forged_verdict_is_found_by_one_attack_where_others_take_too_long(forged, monkeypatch):
    make, place = forged
    monkeypatch.setattr(replay, "whole_time", lambda *args: float("inf"))
    monkeypatch.setattr(replayed, "fitting_images", lambda most, passes, *args: most if passes < 1000 else 1)

    reasons, note = check_autoattack(make(3, exact=False), lambda line: None)

    assert reasons == [
        f"apgd-ce: the record counts image {place} as robust; with each of 30 other seeds it was broken again"
    ]
    assert note == "apgd-ce on 2 of 2 images counted as robust, 1 broken"


@pytest.mark.parametrize(("robust", "forged_images", "part"), [(170, 1, 34), (170, 5, 34), (170, 20, 34), (27, 2, 13)])
def test_forged_images_are_in_a_drawn_part_as_often_as_chance_has_it(forged, robust, forged_images, part):
    make, _ = forged
    trials = 4000
    misses = sum(
        min(make(draw, exact=True).drawn("apgd-ce", range(robust))[:part]) >= forged_images for draw in range(trials)
    )
    expected = comb(robust - forged_images, part) / comb(robust, part)

    assert abs(misses / trials - expected) < 5 * (expected * (1 - expected) / trials) ** 0.5 + 1e-3
