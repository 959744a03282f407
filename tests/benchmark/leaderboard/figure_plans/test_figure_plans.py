"""What figures show is decided from records alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.leaderboard.board.reference import load_reported
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.figure_plans.boards import PANELS, plan_figures
from benchmark.leaderboard.figure_plans.data import RatePoint, figure_name
from benchmark.leaderboard.figure_plans.masks import legible_pair
from benchmark.leaderboard.figure_plans.security import LINES
from benchmark.results.parts import LayerPart

REFERENCE = Path(__file__).resolve().parents[4] / "leaderboards" / "reference" / "reported_ablations.csv"


def planned(records, evaluated=(), ablations=()):
    plans, skipped = plan_figures(boards(records), evaluated, ablations)
    return {plan.name.partition("--")[0]: plan for plan in plans}, skipped


def layers(**weights):
    return [LayerPart(name=name.replace("_", "."), weights=count, kept=1) for name, count in weights.items()]


def test_a_front_has_every_row_with_its_interval_and_lists_those_on_it(make_short):
    small = make_short(1, right=(80, 50, 40), artifact__size_bytes=1_000)
    bad = make_short(2, right=(80, 50, 30), keep=0.1, artifact__size_bytes=2_000)
    large = make_short(3, right=(80, 50, 45), method="at", weights="fp", artifact__size_bytes=3_000)

    plan = planned([small, bad, large])[0]["front-size"]

    points = {point.cost: point for point in plan.data.points}
    assert [points[cost].on_front for cost in (1_000, 2_000, 3_000)] == [True, False, True]
    assert (points[1_000].id, points[1_000].robust) == (small.run_hash[:6], 0.4)
    assert points[1_000].low < 0.4 < points[1_000].high
    assert [label.rpartition("(")[2] for label, _ in plan.numbers] == ["000001), pgd, LBN", "000003), pgd, LBN"]
    assert plan.numbers[1][1].endswith(", 3.0 kB")


def test_a_front_does_not_depend_on_the_order_of_records_and_its_source_does_on_their_numbers(make_short):
    records = [make_short(number, keep=number / 10, right=(80, 50, 40 + number)) for number in (1, 2, 3)]
    changed = [*records[:2], make_short(3, keep=0.3, right=(80, 50, 42))]

    plan = planned(records)[0]["front-size"]

    assert planned(records[::-1])[0]["front-size"] == plan
    assert planned(changed)[0]["front-size"].source != plan.source


def test_pruning_rates_join_rows_that_differ_in_ratio_and_p_alone(make_short):
    records = [
        make_short(1, right=(80, 50, 40), keep=0.1),
        make_short(2, right=(80, 50, 42), keep=0.1, seed=1),
        make_short(3, right=(80, 50, 44), keep=0.01),
        make_short(4, right=(80, 50, 30), keep=0.1, p=1.0),
        make_short(5, right=(80, 50, 20), keep=0.5, method__objective="fast"),
        make_short(6, right=(80, 50, 20), keep=0.5, method="hydra"),
    ]

    plan = planned(records)[0]["pruning-rate"]

    assert [series.p for series in plan.data.series] == ["0.1", "1"]
    first, second = plan.data.series
    assert [(point.keep_ratio, point.robust) for point in first.points] == [(0.01, 0.44), (0.1, pytest.approx(0.41))]
    assert [(point.keep_ratio, point.robust) for point in second.points] == [(0.1, 0.3)]
    assert all(point.low < point.robust < point.high for point in second.points)


def test_file_sizes_join_rows_that_differ_in_ratio_and_granularity_alone(make_short):
    def row(number, keep, size, accuracy, granularity="weight", **changes):
        changes |= {"artifact__size_bytes": size, "compression__granularity": granularity, "p": "auto"} | changes
        return make_short(number, right=(80, 50, accuracy), keep=keep, **changes)

    records = [
        row(1, 0.02, 12_900, 40),
        row(2, 0.02, 12_950, 42, seed=1),
        row(3, 0.2, 42_000, 45),
        row(4, 0.2, 18_900, 43, "kernel"),
        row(5, 0.02, 8_900, 30, "kernel", p=0.1),
    ]

    plans, _ = planned(records)
    plan = plans["granularity"]

    assert [series.granularity for series in plan.data.series] == ["kernel", "weight"]
    kernel, weight = plan.data.series
    assert [(point.size_bytes, point.keep_ratio, point.robust) for point in kernel.points] == [(18_900, 0.2, 0.43)]
    assert [(point.size_bytes, point.keep_ratio) for point in weight.points] == [(12_925, 0.02), (42_000, 0.2)]
    assert weight.points[0].robust == pytest.approx(0.41)
    assert [text.rpartition(", ")[2] for _, text in plan.numbers] == ["18.9 kB", "12.9 kB", "42.0 kB"]
    assert "p auto" in plan.caption
    assert "granularity" not in planned(records[:3])[0]


def test_reported_pruning_rates_have_a_figure_of_their_own(make_short):
    records = [make_short(1, keep=0.1), make_short(2, keep=0.01)]

    plans, _ = planned(records, ablations=load_reported(REFERENCE))

    assert "eported by the authors" in plans["pruning-rate-reported"].title
    series = {each.p: each.points for each in plans["pruning-rate-reported"].data.series}
    assert {p: len(points) for p, points in series.items()} == dict.fromkeys(
        ("0", "0.1", "0.2", "0.5", "0.8", "0.9", "1"), 7
    )
    assert series["0.1"][1] == RatePoint(0.005, 0.4097, None, None)
    assert plans["pruning-rate-reported"].protocol is None
    assert sum(len(each.points) for each in plans["pruning-rate"].data.series) == 2


def test_security_curves_are_means_over_the_seeds_that_were_measured(make_short, make_curve):
    seeds = [make_short(1, right=(80, 50, 45)), make_short(2, right=(80, 50, 45), seed=1)]
    other = make_short(3, right=(80, 50, 40), method="hydra")
    curves = [
        make_curve(seeds[0], (0.8, 0.6, 0.4, 0.0)),
        make_curve(seeds[1], (0.8, 0.7, 0.5, 0.1)),
        make_curve(other),
    ]

    plan = planned([*seeds, other], curves)[0]["security"]

    assert [line.method for line in plan.data.lines] == ["edge_popup", "hydra"]
    assert [accuracy for _, accuracy in plan.data.lines[0].points] == pytest.approx([0.8, 0.65, 0.45, 0.05])
    assert plan.data.epsilon == "8/255"
    assert [text.rpartition(", ")[2] for _, text in plan.numbers] == ["2 of 2 seeds", "1 seed"]
    alone = planned([*seeds, other], curves[1:])[0]["security"]
    assert alone.numbers[0][1].endswith("%, 1 of 2 seeds") and alone.data.lines[0].points[1][1] == 0.7


def test_curves_of_other_protocols_images_and_shards_are_left_out(make_short, make_curve):
    records = [make_short(1), make_short(2, keep=0.1)]
    foreign = [
        make_curve(records[1], protocol="cifar10-linf-4_255-aa-standard-100"),
        make_curve(records[1], test_sha256="0" * 64),
        make_curve(records[1], shard={"index": 1, "count": 2}),
        make_curve(records[1], curve=None),
    ]

    for curves in ([], [make_curve(records[0])], *([make_curve(records[0]), each] for each in foreign)):
        plans, skipped = planned(records, curves)
        assert "security" not in plans
        assert any("evaluate ARTIFACT --curve" in reason for reason in skipped)


def test_of_many_curves_those_of_the_best_rows_are_shown(make_short, make_curve):
    records = [make_short(n, right=(80, 50, 10 + n), keep=n / 100) for n in range(1, LINES + 3)]

    plan = planned(records, [make_curve(record) for record in records])[0]["security"]

    assert len(plan.data.lines) == LINES
    assert plan.data.lines[0].label.endswith(f"({LINES + 2:06x})")
    assert f"The {LINES} best of the {LINES + 2} rows" in plan.caption


def test_a_training_curve_is_the_mean_over_seeds_with_its_phases(make_short):
    def line(epoch, phase, robust):
        words = {"epoch": epoch, "phase": phase, "lr": 0.1, "loss": 1.0, "kept_weights": 1, "seconds": 1.0}
        return {**words, "validation_clean_accuracy": 0.5, "validation_robust_accuracy": robust}

    def record(seed, robust):
        history = [line(1, "dense", 0.1), line(2, "dense", 0.2), line(3, "prune", robust)]
        fields = {"training__validation_robust_accuracy": robust, "training__selected_epoch": 3}
        return make_short(seed + 1, seed=seed, method="hydra", training__history=history, **fields)

    plan = planned([record(0, 0.3), record(1, 0.4), make_short(9)])[0]["training"]

    panel = next(panel for panel in plan.data.panels if panel.method == "hydra")
    assert panel.phases == (("dense", 1, 2), ("prune", 3, 3))
    assert panel.epochs == (1, 2, 3)
    assert panel.robust == pytest.approx((0.1, 0.2, 0.35))
    assert panel.selected == (3, 3)
    assert panel.setting == "pgd, LBN"


def test_the_caption_of_training_curves_says_how_many_validation_images_were_measured(make_short):
    whole = make_short(1).dataset.validation_images
    for most, shown in ((None, whole), (20, 20), (10 * whole, whole)):
        config = {"training": {"selection_images": most}}
        plan = planned([make_short(each, keep=each / 10, provenance__config=config) for each in (1, 2)])[0]["training"]
        assert plan.caption.endswith(f". {shown:,} validation images.")


def test_of_many_rows_the_best_of_each_method_has_a_training_curve(make_short):
    records = [
        make_short(10 * m + k, method=f"method{m}", keep=k / 10, right=(80, 50, 10 + m + 2 * k))
        for m in range(PANELS + 1)
        for k in (1, 2)
    ]

    plan = planned(records)[0]["training"]

    assert [panel.method for panel in plan.data.panels] == [f"method{m}" for m in range(PANELS, 0, -1)]
    assert all("keep 0.2" in panel.label for panel in plan.data.panels)


def test_a_mask_is_of_the_first_seed_of_the_best_row_at_the_smallest_keep_ratio(make_short):
    block = [
        {"name": "layer1.0.conv1", "weights": 9 * 8 * 8, "kept": 20},
        {"name": "layer1.0.conv2", "weights": 9 * 8 * 8, "kept": 30},
        {"name": "fc", "weights": 10_000 - 2 * 9 * 8 * 8, "kept": 50},
    ]
    records = [
        make_short(1, right=(80, 50, 45), keep=0.5, compression__layers=block),
        make_short(2, right=(80, 50, 40), compression__layers=block),
        make_short(3, right=(80, 50, 42), seed=1, p=1.0, compression__layers=block),
        make_short(4, right=(80, 50, 42), seed=0, p=1.0, compression__layers=block),
    ]

    plans, _ = planned(records)

    assert plans["mask"].run == plans["masks"].run == records[3].run
    assert plans["mask"].data.layers == ("layer1.0.conv2",)
    assert plans["masks"].data.layers == ("layer1.0.conv1", "layer1.0.conv2")
    assert plans["mask"].data.artifact_sha256 == records[3].artifact.sha256


def test_the_layers_shown_are_those_of_the_last_block_that_is_legible():
    narrow = {"layer1_0_conv1": 9 * 64 * 64, "layer1_0_conv2": 9 * 64 * 64}
    last = {"layer2_1_conv1": 9 * 128 * 128, "layer2_1_conv2": 9 * 128 * 128}
    wide = {"layer3_0_conv1": 9 * 256 * 128, "layer3_0_conv2": 9 * 256 * 256}
    bottleneck = {"layer1_0_conv1": 64, "layer1_0_conv2": 9 * 64, "layer1_0_conv3": 256}

    assert legible_pair(layers(**narrow, **last, **wide)) == ("layer2.1.conv1", "layer2.1.conv2")
    assert legible_pair(layers(**narrow, **wide)) == ("layer1.0.conv1", "layer1.0.conv2")
    assert legible_pair(layers(**wide)) is None
    assert legible_pair(layers(**bottleneck)) is None


def test_a_network_without_legible_layers_is_named_with_the_reason(make_short):
    record = make_short(1)

    _, skipped = planned([record, make_short(2, right=(80, 50, 30), keep=0.1)])

    assert [reason for reason in skipped if reason.startswith(f"{record.run}: no mask pictures")]


def test_a_single_row_has_nothing_to_be_compared_with(make_short):
    plans, skipped = planned([make_short(1)])

    assert not {"front-size", "front-passes", "training"} & set(plans)
    assert any("single row" in reason for reason in skipped)


def test_presets_have_figures_of_their_own(make_short):
    records = [
        make_short(n, keep=n / 10, preset=preset) for n, preset in enumerate(["paper", "paper", "own", "own"], 1)
    ]

    plans, _ = plan_figures(boards(records), (), ())

    names = [plan.name for plan in plans if plan.name.startswith("front-size")]
    assert [name.rpartition("--")[2] for name in names] == ["paper", "own"]
    assert len({plan.name for plan in plans}) == len(plans)


def test_a_name_from_elsewhere_cannot_leave_the_folder_of_figures():
    names = [figure_name("mask", text, "fp") for text in ("../../x", "..\\x", "A", "a", "x" * 300, "é")]

    assert len(set(names)) == len(names)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-") and len(name) < 140 for name in names)


def test_the_source_says_what_was_drawn_and_not_how_it_is_called(make_short):
    plan = planned([make_short(1), make_short(2, keep=0.1)])[0]["front-size"]

    assert replace(plan, title="another").source == plan.source
    assert replace(plan, data=replace(plan.data, chance=0.2)).source != plan.source
