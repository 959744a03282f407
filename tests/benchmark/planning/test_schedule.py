"""Schedules by hand: the longest chain first, no job before those that it needs, what limits the end."""

from __future__ import annotations

import pytest

from benchmark.planning.schedule import Schedule, Task, schedule


def test_one_worker_does_all_work_one_after_another():
    tasks = [Task("a", 3.0), Task("b", 4.0), Task("c", 5.0)]

    assert schedule(tasks, 1) == Schedule(workers=1, work=12.0, makespan=12.0, chain=("c",), chain_seconds=5.0)


def test_independent_jobs_are_taken_longest_first():
    # Longest first: 5+3+2 | 4+3+3 = 10 each. In the order given, 2+3+4 | 3+3+5 ends at 11.
    tasks = [Task(str(number), seconds) for number, seconds in enumerate((2.0, 3.0, 3.0, 3.0, 4.0, 5.0))]

    result = schedule(tasks, 2)

    assert (result.makespan, result.busy) == (10.0, 1.0)


def test_list_scheduling_is_not_better_than_it_is():
    """Graham's example: longest first takes 11 where 9 is possible (5+4, 5+4, 3+3+3)."""
    tasks = [Task(str(number), seconds) for number, seconds in enumerate((5.0, 5.0, 4.0, 4.0, 3.0, 3.0, 3.0))]

    assert schedule(tasks, 3).makespan == 11.0


def test_a_job_waits_for_those_that_it_needs():
    # Network 10, then two attacks of 4, then the record of 1; beside it a job of 12.
    tasks = [
        Task("network", 10.0),
        Task("attack 1", 4.0, ("network",)),
        Task("attack 2", 4.0, ("network",)),
        Task("record", 1.0, ("attack 1", "attack 2")),
        Task("other", 12.0),
    ]

    two, three = schedule(tasks, 2), schedule(tasks, 3)

    # Two workers: network 0-10, other 0-12, attack 1 10-14, attack 2 12-16, record 16-17.
    assert two == Schedule(2, 31.0, 17.0, ("network", "attack 1", "record"), 15.0)
    assert two.busy == pytest.approx(31 / 34)
    assert (three.makespan, three.chain_seconds) == (15.0, 15.0)
    assert schedule(tasks, 100).makespan == 15.0


def test_what_begins_a_long_chain_comes_before_a_longer_job():
    # By length alone, both long jobs would go first, and "after" would end at 6 + 1 + 9 = 16.
    tasks = [Task("long", 6.0), Task("long too", 6.0), Task("short", 1.0), Task("after", 9.0, ("short",))]

    assert schedule(tasks, 2).makespan == 12.0  # short 0-1, after 1-10 | long 0-6, long too 6-12


def test_a_need_that_is_not_among_the_jobs_is_met_already():
    assert schedule([Task("b", 2.0, ("a",))], 4).makespan == 2.0


def test_no_jobs_take_no_time():
    result = schedule([], 3)

    assert (result.makespan, result.chain, result.busy) == (0.0, (), 1.0)


def test_more_workers_than_the_bounds_allow_never_help():
    tasks = [Task(str(number), 1.0 + number % 7) for number in range(200)]
    for workers in (1, 3, 8, 50):
        result = schedule(tasks, workers)
        bound = max(result.chain_seconds, result.work / workers)
        assert bound <= result.makespan <= (2 - 1 / workers) * bound
