"""The suites of the paper's tables hold exactly the paper's cells, and `plan` shows the number each reproduces."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmark.data.hashes import LocalData
from benchmark.files.places import CONFIGS
from benchmark.leaderboard.board.reference import load_reported
from benchmark.leaderboard.board.reproduction import find_reported
from benchmark.planning.states import REPORTED, plan
from benchmark.planning.text import plan_lines
from benchmark.suite.registry import resolve
from benchmark.suite.suite import MethodEntry, expand, load_suite
from methods import BUILT_IN
from methods.base import Target

METHODS = {method.target: method for method in map(resolve, BUILT_IN)}
COMPARISON, ABLATIONS = map(load_reported, REPORTED)
PUBLISHED = [*COMPARISON, *ABLATIONS]


def cells(name, preset=None, extra=()):
    suite = load_suite(CONFIGS / f"{name}.yaml")
    entries = [(entry, resolve(entry.method)) for entry in [*suite.methods, *extra]]
    return expand(suite, entries, seeds=suite.seeds, preset=preset)


def key(experiment):
    """Return the key of an experiment's cell in the published tables."""
    dense = experiment.keep_ratio == 1.0
    assert experiment.architecture.width == 1.0
    return (
        *(experiment.dataset, experiment.epsilon, experiment.method.name),
        "fast" if experiment.objective == "fast" else "pgd",
        *(experiment.architecture.name, experiment.architecture.last_norm),
        *(None if dense else experiment.allocation, experiment.keep_ratio, experiment.weights),
    )


def published_key(row):
    return (
        *(row.dataset, row.epsilon, row.method, row.objective, row.architecture, row.last_norm),
        *(row.allocation, row.keep_ratio, row.weights),
    )


def reported_for(experiment):
    return find_reported(experiment, PUBLISHED)


@pytest.mark.parametrize(("name", "epsilon"), [("cifar10", "8/255"), ("cifar100", "4/255")])
def test_a_comparison_grid_holds_its_28_published_cells_and_no_other(name, epsilon):
    grid = cells(name)

    published = {published_key(row) for row in COMPARISON if row.dataset == name}
    assert len(grid) == 28
    assert {key(experiment) for experiment in grid} == published
    assert {(experiment.preset, experiment.epsilon, experiment.seed) for experiment in grid} == {("paper", epsilon, 0)}


def test_the_two_grids_reproduce_the_56_published_numbers_one_to_one():
    grid = cells("cifar10") + cells("cifar100")

    rows = [reported_for(experiment) for experiment in grid]

    assert Counter(rows) == Counter(COMPARISON) and len(rows) == 56
    assert [published_key(row) for row in rows] == [key(experiment) for experiment in grid]


@pytest.mark.parametrize(("name", "atmc_batch"), [("cifar10", 128), ("cifar100", 256)])
def test_every_method_has_its_papers_schedule(name, atmc_batch):
    schedules = {
        (experiment.method.name, experiment.objective, experiment.weights): (
            experiment.training.epochs,
            experiment.training.batch_size,
        )
        for experiment in cells(name)
    }

    assert schedules == {
        ("at", "pgd", "fp"): (400, 512),
        ("at", "pgd", "binary"): (400, 512),
        ("hydra", "trades", "fp"): (220, 128),
        ("hydra", "trades", "binary"): (220, 128),
        ("atmc", "half_clean", "fp"): (400, atmc_batch),
        ("atmc", "half_clean", "binary"): (550, atmc_batch),
        ("edge_popup", "pgd", "binary"): (400, 256),
        ("edge_popup", "fast", "binary"): (100, 256),
    }


def test_phases_have_the_lengths_of_their_papers():
    lengths = set()
    for experiment in cells("cifar10"):
        target = Target(experiment.keep_ratio, experiment.weights, experiment.allocation)
        method = METHODS[experiment.method.target].create(experiment.method.options, "test")
        phases = method.phases(experiment.training.epochs, target)
        lengths.add((experiment.method.name, tuple(phase.epochs for phase in phases)))

    assert lengths == {
        ("at", (400,)),
        ("hydra", (100, 20, 100)),
        ("atmc", (200, 200)),
        ("atmc", (200, 200, 150)),
        ("edge_popup", (400,)),
        ("edge_popup", (100,)),
    }


def test_edge_popup_has_the_score_scale_behind_each_published_number():
    scales = {
        (experiment.allocation, experiment.method.options.get("score_scale", 0.01))
        for experiment in cells("cifar10") + cells("cifar100")
        if experiment.method.name == "edge_popup"
    }

    assert scales == {(0.1, 0.001), (1.0, 0.01)}


@pytest.fixture(scope="module")
def ablations():
    return cells("ablations")


def edge_popup(experiments, **options):
    return [e for e in experiments if e.method.name == "edge_popup" and e.method.options == options]


def test_the_ablation_of_pruning_rate_and_p_has_49_cells(ablations):
    table = edge_popup(cell for cell in ablations if cell.architecture.last_norm)  # the default scale is 0.01

    targets = {(cell.keep_ratio, cell.allocation) for cell in table}
    assert targets == {
        (keep, p) for keep in (0.5, 0.2, 0.1, 0.05, 0.01, 0.005, 0.002) for p in (0.0, 0.1, 0.2, 0.5, 0.8, 0.9, 1.0)
    }
    assert len(table) == 49


def test_the_ablation_of_the_score_scale_has_8_cells(ablations):
    counts = Counter(
        (cell.architecture.last_norm, scale)
        for scale in (0.001, 0.01, 0.1, 1.0)
        for cell in edge_popup(ablations, **({} if scale == 0.01 else {"score_scale": scale}))
        if (cell.keep_ratio, cell.allocation) == (0.01, 0.1)
    )

    assert counts == {(norm, scale): 1 for norm in (False, True) for scale in (0.001, 0.01, 0.1, 1.0)}


def test_the_ablation_of_the_initialisation_has_28_cells(ablations):
    kaiming = {"binary_init": "signed_kaiming_constant", "scale_fan": "global"}

    for last_norm, scale in ((False, 0.1), (True, 0.001)):
        for init in ({}, kaiming):
            column = edge_popup(ablations, **init, score_scale=scale)
            column = [cell for cell in column if cell.architecture.last_norm == last_norm]
            assert sorted(cell.allocation for cell in column) == [0.0, 0.1, 0.2, 0.5, 0.8, 0.9, 1.0]


def test_the_capacity_curve_trains_five_widths_on_clean_and_on_adversarial_images(ablations):
    curve = [cell for cell in ablations if cell.method.name == "at"]

    assert Counter((cell.architecture.width, cell.objective) for cell in curve) == {
        (width, objective): 1 for width in (0.125, 0.25, 0.5, 1.0, 2.0) for objective in ("pgd", "clean")
    }
    assert {(cell.weights, cell.training.batch_size) for cell in curve} == {("fp", 512)}


def test_the_ablations_share_cells_with_each_other_and_with_the_comparison(ablations):
    shared = {cell.run for cell in ablations} & {cell.run for cell in cells("cifar10")}

    assert len(ablations) == 49 + 7 + 26 + 10
    # AT without LBN, the headline, and edge-popup at p=1.
    assert shared == {cell.run for cell in ablations if reported_for(cell) in COMPARISON} and len(shared) == 3


def reported_table(ablations, *, last_norm, score_scale=0.01, **options):
    """Return the reported percents of one table by keep ratio and p."""
    if score_scale != 0.01:  # the default
        options["score_scale"] = score_scale
    cells = [cell for cell in edge_popup(ablations, **options) if cell.architecture.last_norm == last_norm]
    return {(cell.keep_ratio, cell.allocation): round(100 * reported_for(cell).robust, 2) for cell in cells}


def test_the_ablation_of_pruning_rate_and_p_has_its_reported_numbers(ablations):
    table = reported_table(ablations, last_norm=True)

    assert len(table) == 49
    assert [table[corner] for corner in ((0.5, 0.0), (0.002, 0.0), (0.5, 1.0), (0.002, 1.0))] == [
        *(2.16, 34.97),
        *(42.85, 20.56),
    ]
    assert [table[0.01, p] for p in (0.0, 0.1, 0.2, 0.5, 0.8, 0.9, 1.0)] == [
        *(44.60, 44.88, 42.92, 42.45, 39.12, 38.68, 34.57)
    ]
    assert [table[keep, 0.1] for keep in (0.5, 0.2, 0.1, 0.05, 0.01, 0.005, 0.002)] == [
        *(4.35, 15.03, 28.12, 42.65, 44.88, 40.97, 33.09)
    ]
    assert (table[0.1, 0.8], table[0.05, 0.8], table[0.2, 0.5]) == (43.64, 43.88, 32.70)


def test_the_ablation_of_the_score_scale_has_its_reported_numbers(ablations):
    numbers = {
        last_norm: [
            reported_table(ablations, last_norm=last_norm, score_scale=scale)[0.01, 0.1]
            for scale in (0.001, 0.01, 0.1, 1.0)
        ]
        for last_norm in (False, True)
    }

    assert numbers == {False: [33.08, 39.96, 41.01, 31.04], True: [45.06, 44.88, 44.63, 44.41]}


@pytest.mark.parametrize(
    ("last_norm", "scale", "kaiming", "numbers"),
    [
        (False, 0.1, True, [39.38, 39.62, 36.66, 39.98, 37.96, 34.75, 36.88]),
        (True, 0.001, True, [42.83, 45.01, 45.04, 42.64, 41.71, 40.14, 39.32]),
        (False, 0.1, False, [40.94, 41.01, 37.85, 40.61, 35.15, 35.64, 30.02]),
        (True, 0.001, False, [44.65, 45.06, 41.58, 39.95, 38.95, 35.81, 30.62]),
    ],
)
def test_the_ablation_of_the_initialisation_has_its_reported_numbers(ablations, last_norm, scale, kaiming, numbers):
    options = {"binary_init": "signed_kaiming_constant", "scale_fan": "global"} if kaiming else {}

    table = reported_table(ablations, last_norm=last_norm, score_scale=scale, **options)

    assert [table[0.01, p] for p in (0.0, 0.1, 0.2, 0.5, 0.8, 0.9, 1.0)] == numbers


def test_the_plan_of_the_ablations_shows_every_number_but_none_for_the_capacity_curve(ablations, tmp_path):
    planned = plan(ablations, METHODS, tmp_path, LocalData(None))
    lines = list(plan_lines(planned))

    assert all(item.reported for item in planned if item.experiment.method.name == "edge_popup")
    curve = [item for item in planned if item.experiment.method.name == "at"]
    # The point of width 1 is AT without LBN in the comparison.
    assert [item.reported.clean for item in curve if item.reported] == [0.8099]
    assert "92 experiments: 92 todo; 83 with a reported number" in lines
    assert sum(line.endswith("reported: 44.88 robust") for line in lines) == 1
    assert sum(line.endswith("reported: 45.06 robust, 76.59 clean") for line in lines) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"preset": "short"},
        {"epsilon": "4/255"},
        {"objective": "fast"},
        {"train_images": 1000},
        {"architecture": {"width": 0.5}},
        {"first_phase": {"run": "cifar10/resnet34-lbn/at/fp-keep1-pgd/seed0-3f9a1c", "run_hash": "3f9a1c000000"}},
        {"weights": "fp"},
        {"keep_ratio": 0.02},
        {"allocation": 0.3},
        {"training": {"epochs": 40}},
        {"training": {"batch_size": 128}},
        {"training": {"precision": "bf16"}},
        {"training": {"attack": {"step_size": "3/255"}}},
        {"artifact": {"statistics": "float16"}},
    ],
    ids=[
        *("preset", "epsilon", "objective", "images", "width", "first phase", "weights", "keep ratio", "p"),
        *("epochs", "batch", "precision", "step", "float16"),
    ],
)
def test_a_cell_with_another_setting_reproduces_nothing(make_experiment, changes):
    headline = {
        "preset": "paper",
        "method": {
            "name": "edge_popup",
            "target": "methods.edge_popup:EdgePopup",
            "options": {"score_scale": 0.001},
        },
    }
    row = reported_for(make_experiment(**headline))

    assert row is not None and row.robust == 0.4506
    changed = reported_for(make_experiment(**(headline | changes)))
    assert changed is None or (changed.objective, changed.robust) == ("fast", 0.4077)


@pytest.mark.parametrize(
    "options",
    [
        {"score_scale": 0.02},
        {"score_scale": 0.001, "score_init": "normal"},
        {"score_scale": 0.001, "binary_init": "signed_kaiming_constant"},
        {"score_scale": 0.001, "binary_init": "signed_kaiming_constant", "scale_fan": "layer"},
        {"score_scale": 0.1, "binary_init": "signed_kaiming_constant", "scale_fan": "global"},
        {"score_scale": 0.001, "lr": 0.05},
    ],
    ids=str,
)
def test_edge_popup_with_options_in_no_table_reproduces_nothing(make_experiment, options):
    method = {"name": "edge_popup", "target": "methods.edge_popup:EdgePopup", "options": options}

    assert reported_for(make_experiment(preset="paper", method=method)) is None


def test_hydra_with_another_loss_reproduces_nothing(make_experiment):
    hydra = {
        "preset": "paper",
        "method": {"name": "hydra", "target": "methods.hydra:Hydra"},
        "training": {"epochs": 220, "batch_size": 128},
    }

    assert reported_for(make_experiment(**hydra, objective="trades")) is not None
    assert reported_for(make_experiment(**hydra, objective="pgd")) is None


def test_the_note_on_the_two_doubtful_numbers_is_printed(tmp_path):
    lines = list(plan_lines(plan(cells("cifar100"), METHODS, tmp_path, LocalData(None))))

    assert sum(line.startswith("        note: As printed") for line in lines) == 2
    assert "28 experiments: 28 todo; 28 with a reported number" in lines


@pytest.mark.parametrize(
    ("name", "preset"),
    [("cifar10", None), ("cifar100", None), ("ablations", None), ("cifar10", "smoke"), ("cifar100", "smoke")],
)
def test_no_cell_is_refused(tmp_path, name, preset):
    others = {"at", "atmc", "edge_popup", "hydra"} ^ set(BUILT_IN)
    grid = cells(name, preset, [MethodEntry(method=method) for method in sorted(others)])

    planned = plan(grid, METHODS, tmp_path, LocalData(None))

    assert [item.reason for item in planned if item.state == "refused"] == []
    assert {item.experiment.method.name for item in planned} >= others


@pytest.mark.parametrize("name", ["quickstart", "cifar10-jpeg"])
def test_small_suites_run_every_method_in_both_precisions_with_its_own_objective_and_fast(tmp_path, name):
    grid = cells(name)

    combinations = {(e.method.name, e.weights, e.objective) for e in grid}
    own = {method.cls.name: method.cls.objective for method in METHODS.values()}
    assert combinations == {(m, w, o) for m in BUILT_IN for w in ("fp", "binary") for o in (own[m], "fast")}
    assert len(grid) == len(combinations) == 32
    assert all(e.architecture.last_norm for e in grid if e.method.name != "rst")
    assert {item.state for item in plan(grid, METHODS, tmp_path, LocalData(None))} == {"todo"}


def test_the_sanity_suite_varies_only_what_it_compares():
    """Four keep ratios, two values of p, LBN, and two ways to choose weights; two seeds and one budget for all."""
    grid = cells("cifar10-jpeg-sanity")

    schedules = {e.training.model_dump_json() for e in grid}
    assert (len(grid), len(schedules), {e.seed for e in grid}) == (22, 1, {0, 1})
    assert len({e.architecture.model_copy(update={"last_norm": True}) for e in grid}) == 1
    assert {e.objective for e in grid} == {"pgd"}
    crossing = {(e.keep_ratio, e.allocation) for e in grid if e.weights == "binary" and e.architecture.last_norm}
    assert crossing == {(keep, p) for keep in (0.02, 0.05, 0.1, 0.2) for p in (0.1, 1.0)}
