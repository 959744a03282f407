"""Size classes leave no gap, and the Pareto front is what its definition says."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from benchmark.leaderboard.board.classes import SIZE_CLASSES, pareto_front, size_class
from benchmark.leaderboard.board.tables import boards

POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)


def test_a_limit_belongs_to_its_own_class_and_one_byte_more_to_the_next():
    for seeded in (False, True):
        classes = [each for each in SIZE_CLASSES if each.seeded == seeded]
        for smaller, larger in itertools.pairwise(classes):
            assert size_class(int(smaller.limit), seeded=seeded) is smaller
            assert size_class(int(smaller.limit) + 1, seeded=seeded) is larger
        assert size_class(1, seeded=seeded) is classes[0]
        words = ", with seed" if seeded else ""
        assert [classes[0].title, classes[-1].title] == [f"up to 10 kB{words}", f"above 30 MB{words}"]
    assert size_class(5) is not size_class(5, seeded=True) and len({each.name for each in SIZE_CLASSES}) == 18


def test_a_file_with_a_seed_is_ranked_apart_and_pushes_no_other_off_the_front_of_size(make_record):
    def record(method, size, right, weights):
        return make_record(method=method, right=(90, 80, right), artifact__size_bytes=size, artifact__weights=weights)

    (board,) = boards(
        [record("stored", 9_000, 40, "stored"), record("drawn", 5_000, 50, "seed"), record("worse", 9_000, 30, "seed")]
    ).values()
    (protocol,) = {row.preset for row in board.rows}

    assert [(each.name, [row.method for row in rows]) for each, rows in board.rankings(protocol)] == [
        ("10 kB", ["stored"]),
        ("10 kB with seed", ["drawn", "worse"]),
    ]
    fronts = {row.method: "size" in row.fronts for row in board.rows}
    assert fronts == {"stored": True, "drawn": True, "worse": False}
    assert {row.method: row.costs.stored_weights for row in board.rows}["drawn"] == "seed"


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
