"""Times are read in the usual forms, and nothing starts that cannot end in time."""

from __future__ import annotations

import pytest

from benchmark.errors import UserError
from benchmark.launch.job import Job
from benchmark.launch.time_limit import TimeLimit, parse_duration


def test_times_in_the_usual_forms():
    texts = ("8m", "90s", "2h", "1.5d", "1:30:00", " 10s ")
    assert [parse_duration(text, "--x") for text in texts] == [480, 90, 7200, 129_600, 5400, 10]


@pytest.mark.parametrize("text", ["nan", "inf", "0", "0s", "0:00:00", "-5m", "8x", "8", "", "1:60:00", "1e3s", "m"])
def test_other_times_are_refused(text):
    with pytest.raises(UserError, match="--time-limit takes a time above zero such as 90s"):
        parse_duration(text, "--time-limit")


def test_a_job_is_judged_by_its_prediction_or_by_those_of_its_kind(tiny_order):
    order, now = tiny_order(shards=2), [0.0]
    network, first, second = (Job(order, part) for part in ("network", "attack 1/2", "attack 2/2"))
    limit = TimeLimit(100, clock=lambda: now[0])
    limit.predict({network.name: 101})
    assert limit.objection(network) == "it takes about 101s, and 100s are left" or "min" in limit.objection(network)
    assert limit.objection(first) is None
    limit.finished(first, 60)
    now[0] = 30
    assert limit.left() == 70 and limit.objection(second) is None
    now[0] = 50
    assert limit.objection(second) == "it takes about 60s, and 50s are left"
    now[0] = 101
    assert limit.left() == 0 and limit.objection(first) == "the time is up"
    assert TimeLimit().left() is None and TimeLimit().objection(network) is None
