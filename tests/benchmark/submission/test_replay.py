"""Attacks run again on parts that only the verifier knows, and catch forged verdicts as often as the docs say."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
import torch

from benchmark.data.load import load_test
from benchmark.evaluation.accuracy import prepare
from benchmark.results.record import Record
from benchmark.submission import replay
from benchmark.submission.claim import Claim
from benchmark.submission.replay import Replay, check_autoattack, check_pgd
from benchmark.submission.sample import candidates


@pytest.fixture
def forged(forger, monkeypatch):
    """Return the maker of replays of a record that counts one broken image as robust, and that image's place."""
    fields = forger.read()
    place = candidates(Record(**fields))[0]
    forger.flip(fields, place, right=True)
    claim, network = Claim.of_record(Record(**fields)), prepare(forger.artifact.network, "cpu")
    images = load_test("digits", None, limit=claim.evaluation.n_images).test
    monkeypatch.setattr(replay, "fitting_images", lambda most, *args: most // 2)

    def make(draw: int, *, exact: bool) -> Replay:
        return Replay(claim, network, images, exact, 60.0, draw)

    return make, place


@pytest.mark.parametrize("exact", [True, False])
def test_a_forged_verdict_of_pgd_is_found_if_and_only_if_its_image_is_drawn(forged, exact):
    make, place = forged
    caught = []
    for draw in range(12):
        replayed = make(draw, exact=exact)
        right = replayed.claim.right("clean").nonzero()[0].tolist()
        reasons, note = check_pgd(replayed)
        caught.append(place in replayed.drawn("pgd", right)[: len(right) // 2])
        assert bool(reasons) == caught[-1], draw
        assert f"(--draw {draw})" in note
    assert any(caught) and not all(caught)


def test_a_forged_verdict_is_found_by_one_attack_where_two_take_too_long(forged, monkeypatch):
    monkeypatch.setattr(replay, "fitting_attacks", lambda *args: ())
    monkeypatch.setattr(replay, "fitting_images", lambda most, passes, *args: most if passes < 1000 else 1)
    make, place = forged

    reasons, note = check_autoattack(make(3, exact=False), lambda line: None)

    assert reasons == [
        f"apgd-ce: the record counts image {place} as robust; with 30 other seeds it was broken every time"
    ]
    assert note.startswith("apgd-ce on ")


def test_only_an_attack_that_is_random_is_held_against_a_verdict_by_other_seeds(forged, monkeypatch):
    """FAB starts at the image itself, so that every seed gives what rounding gave; Square is random."""
    make, place = forged
    attacked = []

    def fake(replayed, images, attacks, say, *, seed):
        attacked.append(tuple(attacks))
        broken = torch.zeros(len(images), dtype=torch.bool)
        return {name: broken if name in ("fab-t", "square") else ~broken for name in attacks}

    monkeypatch.setattr(replay, "_attack", fake)
    lost = np.zeros(len(make(0, exact=False).attacked), dtype=bool)
    lost[place] = True

    fab = replay._doubts(make(0, exact=False), "fab-t", lost, ~lost & False, print)
    square = replay._doubts(make(0, exact=False), "square", lost, ~lost & False, print)
    gained = replay._doubts(make(0, exact=False), "square", ~lost & False, lost, print)

    assert (fab, gained) == ([], [])
    assert "with 30 other seeds it was broken every time" in square[0]
    assert set(attacked) == {("square",)}


@pytest.mark.parametrize(("robust", "forged_images", "part"), [(170, 1, 34), (170, 5, 34), (170, 20, 34), (27, 2, 13)])
def test_forged_images_are_in_a_drawn_part_as_often_as_chance_has_it(forged, robust, forged_images, part):
    make, _ = forged
    trials = 4000
    misses = sum(
        min(make(draw, exact=True).drawn("autoattack", range(robust))[:part]) >= forged_images for draw in range(trials)
    )
    expected = comb(robust - forged_images, part) / comb(robust, part)

    assert abs(misses / trials - expected) < 5 * (expected * (1 - expected) / trials) ** 0.5 + 1e-3
