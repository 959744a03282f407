"""Size classes leave no gap, and the Pareto front is what its definition says."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from benchmark.leaderboard.board.classes import SIZE_CLASSES, pareto_front, size_class
from benchmark.leaderboard.board.tables import boards

POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)


def test_a_limit_belongs_to_its_own_class_and_one_byte_more_to_the_next():
    for smaller, larger in itertools.pairwise(SIZE_CLASSES):
        assert size_class(int(smaller.limit)) is smaller
        assert size_class(int(smaller.limit) + 1) is larger
    assert size_class(1) is SIZE_CLASSES[0]
    assert [SIZE_CLASSES[0].title, SIZE_CLASSES[-1].title] == ["up to 10 kB", "above 30 MB"]


@given(POINTS)
def test_a_point_is_on_the_front_unless_another_is_no_worse_in_both_and_better_in_one(points):
    def dominated(cost, score):
        return any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points)

    on_front = pareto_front([cost for cost, _ in points], [score for _, score in points])

    assert on_front == [not dominated(*point) for point in points]


def test_each_size_class_has_its_own_ranking_and_the_fronts_look_across_them(make_record):
    def record(method, size, right, passes):
        return make_record(method=method, right=(90, 80, right), artifact__size_bytes=size, training__passes=passes)

    (board,) = boards(
        [record("big", 90_000, 50, 1e6), record("small", 9_000, 40, 2e6), record("worse", 9_500, 30, 3e6)]
    ).values()

    classes = [
        (each.name, [(row.method, row.rank, row.tie, row.fronts) for row in rows])
        for each, rows in board.rankings("paper")
    ]
    assert classes == [
        ("10 kB", [("small", 1, 1, ("size",)), ("worse", 2, 2, ())]),
        ("100 kB", [("big", 1, 1, ("size", "passes"))]),
    ]
