"""Time for repeated attacks is cut into shares: what one does not need is left to the next, and no more is spent."""

from __future__ import annotations

import random

import pytest
import torch

from benchmark.data.load import Images
from benchmark.submission import replayed
from benchmark.submission.affordable import SHARES, Budget, fitting_images
from benchmark.submission.replayed import Replay

CHOSEN = vars(Replay)["threads"]  # before the tests' own fixture takes one

ORDER = ("short", "pgd", "leaky_bpda", "hard_label", "apgd-ce", "apgd-t", "fab-t", "square")
ORDER += ("logit_scale", "more_steps", "unbounded")  # in which `verify` runs them


def test_the_shares_are_those_of_what_runs_and_make_a_whole():
    assert sorted(ORDER) == sorted(SHARES)
    assert sum(SHARES.values()) == pytest.approx(1)


def test_what_an_attack_does_not_need_goes_to_the_next():
    budget = Budget(100)
    short, pgd = 100 * SHARES["short"], 100 * SHARES["pgd"]

    assert budget.allowed("short") == budget.allowed("short") == pytest.approx(short)
    budget.spent(short - 5)
    assert budget.allowed("pgd") == pytest.approx(pgd + 5)
    budget.spent(pgd + 100)  # the least number of images took longer than was allowed, which nobody pays back

    assert budget.allowed("unbounded") == pytest.approx(100 * SHARES["unbounded"])


def test_the_estimates_add_up_to_the_time_but_for_the_least_numbers_of_images(monkeypatch):
    generator, spent, excess = random.Random(1), 0.0, 0.0
    for trial in range(200):
        seconds, first = generator.uniform(1, 300), generator.uniform(1e-4, 1e-2)
        each = generator.uniform(1e-5, 1e-2)
        monkeypatch.setattr(Replay, "time_of", staticmethod(lambda n, a=first, b=each: a + b * (n - 1) if n else 0.0))
        replay, spent, excess = Replay(None, None, None, False, Budget(seconds), trial), 0.0, 0.0
        for name in ORDER:
            passes, there = generator.randint(10, 5000), range(generator.randint(0, 200))
            places = replay.part(name, there, passes, 4, most=generator.choice([None, 64]))
            needed, least = passes * replay.time_of(len(places)), passes * replay.time_of(min(4, len(there)))
            assert places == sorted(set(places)) and len(places) >= min(4, len(there))
            spent += needed
            excess += least if len(places) <= 4 else 0.0
        assert spent <= seconds + excess + 1e-9


def test_as_many_images_fit_as_their_passes_take_no_longer():
    def time_of(count):
        return 0.01 + 0.001 * count

    for seconds in (0.5, 1.0, 2.0, 10.0):
        count = fitting_images(200, 50, time_of, seconds)
        assert count in (0, 200) or 50 * time_of(count) <= seconds < 50 * time_of(count + 1)
    assert [fitting_images(200, 50, time_of, seconds) for seconds in (0.5, 100.0)] == [0, 200]


@pytest.mark.parametrize(("waits", "threads"), [(True, 1), (False, 4)])
def test_more_threads_are_taken_where_they_are_faster(monkeypatch, waits, threads):
    """Simulated passes: four threads take a quarter of the time, but now and then they wait for another process."""
    calls = []

    def seconds(network, images, *, choose=min):
        calls.append(torch.get_num_threads())
        each = 1.0 / torch.get_num_threads()
        return choose([each, each, 10 * each if waits and torch.get_num_threads() > 1 else each])

    monkeypatch.setattr(replayed.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(replayed, "pass_seconds", seconds)
    images = Images(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))

    assert CHOSEN.func(Replay(None, None, images, False, Budget(1), 0)) == threads
    assert calls[1:] == [4, 1]
