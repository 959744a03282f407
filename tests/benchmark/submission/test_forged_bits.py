"""A forged bit of every attack is refused if its image is drawn, on the record's kind of machine and on any other.

The attacks are stubs: an image falls to the one attack that the test is about, whatever its seed, and to no other.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from benchmark.data.load import load_test
from benchmark.evaluation.accuracy import prepare
from benchmark.evaluation.opponent.checks import HARD_LABEL, LEAKY
from benchmark.results.evaluation import CASCADE, CHECKS, OPPONENT, EvaluationPart
from benchmark.results.record import Record
from benchmark.results.verdicts import pack_verdicts
from benchmark.submission import measuring, opponent, remeasure, replay, replayed
from benchmark.submission.affordable import SHARES
from benchmark.submission.claim import Claim
from benchmark.submission.remeasure import Effort, replay_of
from benchmark.submission.replayed import Replay

COUNT = 48  # images, all of them counted as robust
WRONG = 5  # places of these are not right when clean
PASS_SECONDS = 1e-3  # of an image
ATTACKS = ("short", "pgd", *CASCADE, LEAKY, HARD_LABEL)
CHECK_OF = {"short": "robust", "pgd": "pgd", LEAKY: "opponent", HARD_LABEL: "opponent"}


@pytest.fixture
def make(forger, monkeypatch):
    """Return the maker of replays of a large record in so many seconds."""
    fields = forger.read()
    evaluation = fields["evaluation"]
    evaluation["n_images"] = COUNT
    bits = pack_verdicts([place >= WRONG for place in range(COUNT)])
    evaluation["verdicts"] = dict.fromkeys(evaluation["verdicts"], bits) | {OPPONENT: pack_verdicts([True] * COUNT)}
    forger.agree(evaluation)
    claim = dataclasses.replace(Claim.of_record(Record(**forger.read())), evaluation=EvaluationPart(**evaluation))
    network = prepare(forger.artifact.network, "cpu")
    images = load_test("digits", None, limit=COUNT).test
    for name in ("time_of", "time_as_claimed"):
        monkeypatch.setattr(Replay, name, staticmethod(lambda count: count * PASS_SECONDS))

    def replays(seconds: float, draw: int, *, exact: bool, opposed: bool = True) -> Replay:
        part = claim.evaluation
        if not opposed:
            verdicts = {name: bits for name, bits in part.verdicts.items() if name != OPPONENT}
            health = [check for check in part.health if check.name in CHECKS]
            part = part.model_copy(update={"verdicts": verdicts, "health": health})
        whole = dataclasses.replace(claim, evaluation=part)
        return replay_of(whole, network, images, Effort(seconds, draw), exact=exact)

    return replays


@pytest.fixture
def attacked(monkeypatch):
    """Return what makes some images fall to one attack, and a list of the places that each attack met first."""

    def make(attack, forged):
        met = {}

        def fall(name, places):
            met.setdefault(name, list(places))
            return [name == attack and place in forged for place in places]

        def pgd_verdicts(network, images, *, among, **settings):
            places = among.nonzero().flatten().tolist()
            fell = torch.zeros_like(among)
            fell[places] = torch.tensor(fall("pgd", places), dtype=torch.bool)
            return among & ~fell

        monkeypatch.setattr(replay, "short_pgd", lambda run, places, seed: fall("short", places))
        monkeypatch.setattr(replay, "pgd_verdicts", pgd_verdicts)
        monkeypatch.setattr(Replay, "attack", lambda self, places, name, say, **settings: fall(name, places))
        monkeypatch.setattr(opponent, "_attack", lambda run, name, places, shrink, say: fall(name, places))
        return met

    return make


def checked(run, attack):
    """Return the reasons of the check that runs an attack."""
    reasons, _ = remeasure._CHECKS[CHECK_OF.get(attack, "autoattack")](run, lambda line: None)
    return reasons


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_forged_bit_is_refused_if_and_only_if_its_image_is_drawn(make, attacked, monkeypatch, attack, exact):
    monkeypatch.setattr(replayed, "fitting_images", lambda most, *args: most // 2)
    monkeypatch.setattr(replay, "whole_time", lambda *args: float("inf"))
    place, drawn = WRONG + 1, []
    for draw in range(12):
        met = attacked(attack, {place})
        reasons = checked(make(60.0, draw, exact=exact), attack)
        drawn.append(place in met[attack])
        assert bool(reasons) == drawn[-1], (draw, reasons)
        assert all(attack in reason or attack == "short" for reason in reasons)
        assert all(str(place) in reason for reason in reasons)
    assert any(drawn) and not all(drawn)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_forged_bit_is_refused_where_there_is_time_for_all_images(make, attacked, attack, exact):
    place = WRONG + 1
    met = attacked(attack, {place})

    (reason,) = checked(make(1e6, 0, exact=exact), attack)

    assert set(range(WRONG, COUNT)) == set(met[attack])
    assert str(place) in reason
    if exact and attack in ("pgd", *CASCADE):
        assert "on a machine that computes as the record's" in reason


@pytest.mark.parametrize("opposed", [True, False])
@pytest.mark.parametrize("attack", ATTACKS)
def test_bits_that_are_forged_wholesale_are_refused_however_little_time_there_is(make, attacked, attack, opposed):
    met = attacked(attack, set(range(COUNT)))

    assert checked(make(1.0, 0, exact=False, opposed=opposed), attack)
    assert met[attack]


def test_square_and_the_opponents_attacks_run_however_little_time_there_is(make, attacked):
    met = attacked("none", set())
    run, lines = make(1.0, 0, exact=False), []
    for check in remeasure._CHECKS.values():
        if check is not remeasure._CHECKS["attacked health"]:
            reasons, note = check(run, lines.append)
            assert not reasons
            lines.append(note)

    assert {name: len(places) for name, places in met.items()} == replay.LEAST | opponent.LEAST
    assert "square (1,000 queries) on 4 of 43 images counted as robust, 0 broken" in "\n".join(lines)
    assert set(SHARES) == {*met, "logit_scale", "more_steps", "unbounded"}


@pytest.mark.parametrize("attack", [LEAKY, HARD_LABEL])
def test_a_network_that_misleads_gradients_is_refused_whether_or_not_its_record_has_the_checks(make, attacked, attack):
    fallen = set(range(WRONG, COUNT, 2))
    attacked(attack, fallen)

    reasons = checked(make(30.0, 1, exact=False, opposed=False), attack)

    assert len(reasons) == 1
    assert reasons[0].startswith(f"{attack}: ") and "that survived all attacks" in reasons[0]


def test_few_images_that_fall_to_the_opponent_are_no_reason_against_a_record_without_these_checks(make, attacked):
    """Of 64 images an honest network loses one or two; of the few that are drawn first, that may be half."""
    for draw in range(20):
        met = attacked(HARD_LABEL, {WRONG, COUNT - 1})
        run = make(1.0, draw, exact=False, opposed=False)
        first = run.drawn(HARD_LABEL, run.robust)[: opponent.LEAST[HARD_LABEL]]
        both = {WRONG, COUNT - 1} <= {*first}  # once in 150 draws
        assert bool(checked(run, HARD_LABEL)) == both, draw
        assert len(met[HARD_LABEL]) == opponent.LEAST[HARD_LABEL]


@pytest.mark.parametrize("check", remeasure._CHECKS)
def test_a_network_without_a_robust_image_is_attacked_nowhere(make, attacked, check):
    """It is a network like any other."""
    run = make(60.0, 0, exact=False)
    none = np.zeros(COUNT, dtype=bool)
    verdicts = dict.fromkeys(run.claim.evaluation.verdicts, pack_verdicts(none)) | {OPPONENT: pack_verdicts(~none)}
    evaluation = run.claim.evaluation.model_copy(update={"verdicts": verdicts})
    run = dataclasses.replace(run, claim=dataclasses.replace(run.claim, evaluation=evaluation))

    assert remeasure._CHECKS[check](run, lambda line: None)[0] == []
    assert not any(attacked("none", set()).values())


def test_a_network_whose_folded_copy_answers_otherwise_is_refused(forger, monkeypatch):
    """Attacks query the copy: weights made so that rounding separates the two would hide the network from them."""
    monkeypatch.setattr(measuring, "fold", lambda network: lambda images: network(images).roll(1, 1))

    assert "clean: the folded copy that attacks query differs on " in forger.reasons()
