"""Durations in the unit that suits them, and lines of progress that are not more frequent than they should be."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmark.runtime.progress import Ticker, duration


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock by one that stands still until its `now` is changed."""
    time = SimpleNamespace(now=0.0)
    monkeypatch.setattr("benchmark.runtime.progress.perf_counter", lambda: time.now)
    return time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0s"), (89, "89s"), (90, "2 min"), (5399, "90 min")),
        *((5400, "1.5 h"), (35_000, "9.7 h"), (72_000, "20 h"), (3.6e7, "10,000 h")),
    ],
)
def test_durations_are_written_in_the_unit_that_suits_them(seconds, text):
    assert duration(seconds) == text


def test_a_line_is_due_once_in_an_interval(clock):
    ticker, due = Ticker(10.0), []

    for clock.now in range(36):
        due += [clock.now] if ticker.due() else []

    assert due == [10, 20, 30]
    assert ticker.seconds == 35


def test_the_time_left_follows_from_the_share_that_is_done(clock):
    ticker = Ticker(10.0)
    clock.now = 20.0
    assert ticker.due()

    assert ticker.left(0.25) == "60s"
    assert ticker.times(0.25) == "20s, about 60s left"
    assert ticker.times(1.0) == "20s, about 0s left"
