"""The figures of edge-popup's ablations: which rows share one, what they show, and that nothing in them overlaps."""

from __future__ import annotations

from itertools import combinations

import pytest

from benchmark.figures.ablations import draw_options, draw_rates
from benchmark.figures.style import house_style
from benchmark.files.places import CONFIGS
from benchmark.leaderboard.board.reference import PAPERS_OPTIONS
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.figure_plans.boards import plan_figures
from benchmark.leaderboard.figure_plans.options import FIGURES, option_plans
from benchmark.results.statistics import wilson
from benchmark.results.verdicts import pack_verdicts
from benchmark.suite.registry import resolve
from benchmark.suite.suite import expand, load_suite
from methods import BUILT_IN
from methods.edge_popup import EdgePopup

TARGET = BUILT_IN["edge_popup"]
KAIMING = "signed_kaiming_constant"


def wide_of(clean, pgd, sha="f" * 64):
    """Return verdicts on 400 images, whose first 100 are right on 80 and under PGD on 50."""
    bits = {
        name: [place < protocol for place in range(100)] + [place < more for place in range(300)]
        for name, protocol, more in (("clean", 80, clean), ("pgd", 50, pgd))
    }
    return {
        "n_images": 400,
        "test_sha256": sha,
        **{f"{name}_accuracy": sum(right) / 400 for name, right in bits.items()},
        "verdicts": {name: pack_verdicts(right) for name, right in bits.items()},
    }


@pytest.fixture
def make(make_short):
    """Return a maker of records of the built-in edge-popup with some options."""

    def record(number, *, last_norm=True, options=None, **changes):
        fields = {"method__target": TARGET, "method__options": options or {}, "architecture__last_norm": last_norm}
        return make_short(number, **{**fields, **changes})

    return record


@pytest.fixture
def suite_records(make):
    """Return records of the cells of the suite of ablations, with PGD on more images."""
    suite = load_suite(CONFIGS / "cifar10-jpeg-ablations.yaml")
    entries = [(entry, resolve(entry.method)) for entry in suite.methods]
    return [
        make(
            number,
            keep=cell.keep_ratio,
            p=cell.allocation,
            last_norm=cell.architecture.last_norm,
            options=cell.method.options,
            provenance__config=cell.model_dump(mode="json"),
            evaluation__wide=wide_of(200, 5 * number),
        )
        for number, cell in enumerate(expand(suite, entries, seeds=suite.seeds, preset=None), 1)
    ]


def planned(records):
    plans, skipped = plan_figures(boards(records), (), ())
    kinds = ("pruning-rate", "score-scale", "initialisation")
    return [plan for plan in plans if plan.name.partition("--")[0] in kinds], skipped


def shown(plan):
    """Return the values and the accuracies of a figure's points, with LBN and without it."""
    return {
        series.last_norm: [(plan.data.values[point.place], point.robust) for point in series.points]
        for series in plan.data.series
    }


def drawn(plan):
    """Return the drawn figure with its layout settled."""
    with house_style():
        figure = (draw_rates if plan.name.startswith("pruning-rate") else draw_options)(plan, plan.data)
        figure.canvas.draw()
    return figure


def test_the_defaults_that_records_leave_out_are_those_of_the_method():
    method = EdgePopup()

    assert {name: getattr(method, name) for name in PAPERS_OPTIONS} == PAPERS_OPTIONS


def test_the_suite_of_ablations_gives_one_figure_of_each_part(suite_records):
    plans, _ = planned(suite_records)

    rates, scales, starts = plans
    assert [len(series.points) for series in rates.data.series] == [4] * 4
    texts = ["0.001", "0.01\n(default)", "0.1", "1"]
    assert {norm: [value for value, _ in points] for norm, points in shown(scales).items()} == {
        True: texts,
        False: texts,
    }
    texts = ["pm1\n(default)", "signed Kaiming,\nscale_fan global"]
    assert {norm: [value for value, _ in points] for norm, points in shown(starts).items()} == {
        True: texts,
        False: texts,
    }


def test_pgd_on_more_images_is_shown_where_all_rows_of_a_figure_have_it(make):
    scales = [0.001, 0.1]
    records = [
        make(number, options={"score_scale": scale}, right=(80, 50, 40), evaluation__wide=wide_of(200, 100 * number))
        for number, scale in enumerate(scales, 1)
    ]
    lacking = make(3, options={"score_scale": 1.0}, right=(80, 50, 40))
    other = make(3, options={"score_scale": 1.0}, right=(80, 50, 40), evaluation__wide=wide_of(200, 100, "e" * 64))

    (plan,), _ = planned(records)

    (series,) = plan.data.series
    assert [(point.robust, point.low, point.high) for point in series.points] == [
        (150 / 400, *wilson(150, 400)),
        (250 / 400, *wilson(250, 400)),
    ]
    assert plan.data.measured == "PGD-50 accuracy, 400 images"
    assert plan.title.startswith("PGD-50 accuracy") and "400 test images" in plan.caption
    assert all("best-known robust 40.00%" in number for _, number in plan.numbers)
    for third in (lacking, other):
        (plan,), _ = planned([*records, third])
        assert {point.robust for point in plan.data.series[0].points} == {0.4}
        assert plan.data.measured == "best-known robust accuracy" and "100 test images" in plan.caption


def test_networks_that_failed_gradient_health_are_in_the_figures_and_named(make, board_of, health):
    failed = {"evaluation__health": health("unbounded", "fail", "All stay right.")}
    records = [
        make(1, keep=0.1, right=(80, 50, 41)),
        make(2, keep=0.1, seed=1, **failed),  # a seed of a ranked row
        make(3, keep=0.2, right=(80, 50, 42)),
        make(4, keep=0.4, right=(80, 50, 43), **failed),
        make(5, keep=0.4, seed=1, **failed),
        make(6, keep=0.8, training__frozen_parts_unchanged=False, **failed),  # refused for more than health
    ]
    assert len(board_of(*records).rows) == 2

    (plan,), _ = planned(records)

    (series,) = plan.data.series
    assert [(point.keep_ratio, point.robust) for point in series.points] == [(0.1, 0.41), (0.2, 0.42), (0.4, 0.43)]
    assert [number.endswith("; off the board") for _, number in plan.numbers] == [False, False, True]
    assert "upper bounds" in plan.caption and "upper bounds" not in planned(records[:3])[0][0].caption


def test_the_options_figures_join_rows_alike_in_all_else(make):
    records = [
        make(1, options={"score_scale": 0.1}, right=(80, 50, 41)),
        make(2, right=(80, 50, 42)),
        make(3, last_norm=False, right=(80, 50, 43)),
        make(4, options={"score_scale": 0.1}, keep=0.1),
        make(5, options={"score_scale": 0.1, "lr": 0.2}),
        make(6, options={"score_scale": 0.2}, method__target="others.edge_popup:EdgePopup"),
        make(7, options={"score_scale": 0.3}, weights="fp"),
        make(8, options={"score_scale": "wide"}),
        make(9, options={"binary_init": KAIMING, "scale_fan": "layer"}, right=(80, 50, 49)),
        make(10, options={"scale_fan": "global"}),
    ]

    plans, _ = planned(records)

    scales, starts = (plan for plan in plans if not plan.name.startswith("pruning-rate"))
    assert shown(scales) == {True: [("0.01\n(default)", 0.42), ("0.1", 0.41)], False: [("0.01\n(default)", 0.43)]}
    assert shown(starts) == {
        True: [("pm1\n(default)", 0.42), ("signed Kaiming,\nscale_fan layer", 0.49)],
        False: [("pm1\n(default)", 0.43)],
    }


def test_lbn_alone_is_no_ablation_of_an_option_and_the_reason_is_given(make):
    records = [make(1), make(2, last_norm=False, options={"score_scale": 0.1, "binary_init": KAIMING})]

    plans, skipped = planned(records)

    assert plans == []
    assert [line.partition(": ")[2].partition(",")[0] for line in skipped if "rows differ" in line] == [
        *("no pruning rates", "no scale of the initial scores", "no initialisation of the weights")
    ]


def test_of_many_figures_of_an_option_those_of_most_rows_are_shown(make, board_of):
    records = [
        make(10 * number + place, keep=number / 10, options={"score_scale": scale})
        for number in range(1, 6)
        for place, scale in enumerate((0.1, 1.0, 2.0) if number == 5 else (0.1, 1.0))
    ]
    board = board_of(*records)

    plans, reasons = option_plans(board, "paper", board.section("paper"))

    assert len(plans) == FIGURES and len(plans[0].data.values) == 3
    assert "2 of no more rows are left out" in reasons[0]


def test_nothing_overlaps_in_the_figures_of_the_suite(suite_records):
    plans, _ = planned(suite_records)
    for plan in plans:
        figure = drawn(plan)
        (axes,) = figure.axes
        (legend,) = figure.legends
        ticks = [label.get_window_extent() for label in axes.get_xticklabels()]
        texts = [*ticks, axes.xaxis.label.get_window_extent(), axes.title.get_window_extent()]
        boxes = [*texts, axes.yaxis.label.get_window_extent(), legend.get_window_extent()]

        assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])], plan.name
        assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
        for bars in axes.containers:
            x, y = bars.lines[0].get_data()
            assert axes.get_xlim()[0] < min(x) and max(x) < axes.get_xlim()[1]
            assert max(y) < axes.get_ylim()[1]


def test_points_with_and_without_lbn_are_side_by_side(suite_records):
    plan = planned(suite_records)[0][1]
    (axes,) = drawn(plan).axes

    with_lbn, without = (bars.lines[0].get_xdata() for bars in axes.containers)

    assert with_lbn == pytest.approx([place - 0.06 for place in range(4)])
    assert without == pytest.approx([place + 0.06 for place in range(4)])
