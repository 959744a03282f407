"""Costs are exact: multiply-adds as in the table of layer shapes, and forward runs counted by hand."""

from __future__ import annotations

import pytest

from benchmark.data.hashes import LocalData
from benchmark.data.load import load_training
from benchmark.networks.count import multiply_adds
from benchmark.networks.resnet import NetworkPlan
from benchmark.planning.cost import training_flops, training_images
from benchmark.planning.states import plan
from benchmark.planning.text import plan_lines
from benchmark.suite.objectives import forward_runs
from benchmark.suite.registry import resolve

METHODS = {method.target: method for method in map(resolve, ("at", "edge_popup", "small_dense"))}
DENSE = {"method": {"name": "at", "target": "methods.at:AT"}, "keep_ratio": 1.0, "weights": "fp", "allocation": 1.0}


def resnet34(classes=10, **changes):
    return NetworkPlan("resnet34", classes, (0.5,) * 3, (0.2,) * 3, **changes)


def planned(tmp_path, *experiments):
    return plan(experiments, METHODS, tmp_path, LocalData(None))


@pytest.mark.parametrize("classes", [10, 100])
def test_resnet34_costs_what_its_table_of_shapes_says(classes):
    by_hand = (
        (1_728 + 221_184) * 32**2
        + (73_728 + 1_032_192 + 8_192) * 16**2
        + (294_912 + 6_488_064 + 32_768) * 8**2
        + (1_179_648 + 11_796_480 + 131_072) * 4**2
        + 512 * classes
    )

    assert multiply_adds(resnet34(classes), 3, 32) == by_hand
    assert round(by_hand / 1e9, 3) == 1.159


def test_the_last_norm_is_free_and_a_quarter_of_the_pixels_cost_a_quarter():
    whole, small = (multiply_adds(resnet34(), 3, size) for size in (32, 16))

    assert multiply_adds(resnet34(last_norm=False), 3, 32) == whole
    assert (whole - 5_120) == 4 * (small - 5_120)  # the classifier sees one pixel either way


@pytest.mark.parametrize(
    ("objective", "passes", "runs"),
    [
        ("pgd", 11, 10 * 2 + 3),
        ("fast", 2, 2 + 3),
        ("trades", 12.5, 10 * 2 + 1 + 3 + 3),
        ("half_clean", 12, 10 * 2 + 3 + 3),
        ("clean", 1, 3),
    ],
)
def test_attack_passes_cost_two_forward_runs_and_update_passes_three(make_experiment, objective, passes, runs):
    experiment = make_experiment(objective=objective)

    assert (experiment.passes_per_image, forward_runs(objective, 10)) == (passes, runs)


@pytest.mark.parametrize(
    ("objective", "epochs", "magnitude"), [("pgd", 400, 1.0e18), ("fast", 100, 5.7e16)], ids=["pgd", "fast"]
)
def test_the_papers_recipes_cost_what_the_published_schedule_implies(make_experiment, objective, epochs, magnitude):
    experiment = make_experiment(objective=objective, training={"epochs": epochs})

    assert training_flops(experiment, resnet34(), experiment.training.epochs) == pytest.approx(magnitude, rel=0.05)


def test_validation_images_are_not_trained_on(make_experiment):
    assert training_images(make_experiment()) == 49_000
    assert training_images(make_experiment(train_images=512)) == 512
    assert training_images(make_experiment(train_images=60_000)) == 49_000
    assert training_images(make_experiment(dataset="digits")) == len(load_training("digits", None).train)


def test_an_unknown_data_set_has_no_cost_before_it_is_read(make_experiment, tmp_path):
    experiment = make_experiment(dataset="my-images")

    text = "\n".join(plan_lines(planned(tmp_path, experiment)))

    assert training_flops(experiment, resnet34(), experiment.training.epochs) is None
    assert "n/a FLOPs" in text and "every training image" in text


def test_a_method_that_builds_a_smaller_network_pays_for_that_one(make_experiment, tmp_path):
    small = make_experiment(
        method={"name": "small_dense", "target": "methods.small_dense:SmallDense"}, allocation=1.0, weights="fp"
    )

    narrow, whole = planned(tmp_path, small, make_experiment(**DENSE))

    assert narrow.passes_per_image == whole.passes_per_image
    assert 0 < narrow.flops < whole.flops / 20
    assert narrow.warning == ""  # it has no masks to allocate


def test_a_budget_below_the_smallest_network_is_refused_before_it_runs(make_experiment, tmp_path):
    (item,) = planned(
        tmp_path,
        make_experiment(
            method={"name": "small_dense", "target": "methods.small_dense:SmallDense"},
            allocation=1.0,
            keep_ratio=1e-5,
        ),
    )

    assert item.state == "refused" and "213 weights is less than one channel per stage" in item.reason


def test_a_plan_shows_numbers_totals_and_how_to_read_them(make_experiment, tmp_path):
    dense = make_experiment(**DENSE, preset="paper", architecture={"last_norm": False}, training={"batch_size": 512})
    refused = make_experiment(**{**DENSE, "keep_ratio": 0.5})

    items = planned(tmp_path, dense, make_experiment(), refused)
    lines = list(plan_lines(items))

    assert lines[0] == f"todo    {dense.run}"
    assert lines[1] == "         400 epochs    4,400 passes  1.05e18 FLOPs   reported: 43.26 robust, 80.99 clean"
    assert lines[3].endswith("reported: n/a") and lines[4].startswith("        warning: keeps conv1 whole")
    assert lines[6] == "        at trains dense networks: keep_ratio must be 1, got 0.5"
    assert lines[8] == "3 experiments: 2 todo, 1 refused; 1 with a reported number"
    assert lines[9] == "unchecked: the data, as their files are not here; pass their folder as --data-dir"
    assert lines[10] == "all together: 8,800 passes, 2.09e18 FLOPs (5.8 h at 100 TFLOP/s)"
    assert "49,000 training images" in lines[12]


def test_a_plan_shows_the_options_of_cells_that_differ_in_nothing_else(make_experiment, tmp_path):
    edge_popup = {"name": "edge_popup", "target": "methods.edge_popup:EdgePopup"}
    scaled = make_experiment(method=edge_popup | {"options": {"score_scale": 0.1, "binary_init": "pm1"}})

    lines = list(plan_lines(planned(tmp_path, scaled, make_experiment())))

    assert lines[:2] == [f"todo    {scaled.run}", "        options: score_scale=0.1, binary_init=pm1"]
    assert sum("options:" in line for line in lines) == 1
