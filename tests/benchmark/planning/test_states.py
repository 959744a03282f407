"""A plan shows for every experiment its cost, its state and what to know about its target."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from benchmark.data.hashes import LocalData
from benchmark.launch.order import work_folder
from benchmark.planning import cells, refusals
from benchmark.planning.states import plan
from benchmark.planning.target_warning import target_warning
from benchmark.planning.text import plan_lines, remarks
from benchmark.results.store import save_record
from benchmark.suite.registry import ResolvedMethod
from methods.allocation import allocate
from methods.at import AT
from methods.edge_popup import EdgePopup

# Test folders are no packages (importmode=importlib), hence no import.
make_record = runpy.run_path(str(Path(__file__).parents[1] / "results" / "conftest.py"))["make_record"]

METHODS = {
    "methods.at:AT": ResolvedMethod(AT, "methods.at:AT"),
    "methods.edge_popup:EdgePopup": ResolvedMethod(EdgePopup, "methods.edge_popup:EdgePopup"),
}
NOWHERE = LocalData(None)
DENSE_METHOD = {"name": "at", "target": "methods.at:AT"}


@pytest.fixture
def planned(make_experiment, tmp_path):
    """Return the plan of one experiment, changed by keyword."""

    def make(**changes):
        (item,) = plan([make_experiment(**changes)], METHODS, tmp_path, NOWHERE)
        return item

    return make


@pytest.fixture
def save_result(make_record, tmp_path):
    """Return a function that leaves the record of an experiment in the output folder."""

    def save(experiment):
        save_record(
            make_record(
                run=experiment.run,
                run_hash=experiment.run_hash,
                provenance__config=experiment.model_dump(mode="json"),
            ),
            tmp_path,
        )

    return save


def test_an_experiment_without_results_is_to_do(planned):
    item = planned(allocation=1.0)

    assert (item.state, item.reason, item.warning) == ("todo", "", "")


def test_the_plan_carries_the_warning_of_what_is_to_do(planned):
    assert "keeps conv1 whole" in planned(allocation=0.1).warning


def test_run_prints_a_warning_once_for_all_experiments_it_applies_to(make_experiment, save_result, tmp_path):
    done, *todo = (make_experiment(seed=seed) for seed in range(3))
    save_result(done)
    others = [make_experiment(allocation=0.0), make_experiment(allocation=1.0), make_experiment(keep_ratio=1.0)]

    lines = list(remarks(plan([done, *todo, *others], METHODS, tmp_path, NOWHERE)))

    assert len(lines) == 4
    assert lines[0].startswith(f"skip   {others[2].run}: edge_popup selects weights")
    assert lines[1].startswith(f"note   2 experiments such as {todo[0].run}: keeps conv1 whole")
    assert lines[2].startswith(f"note   {others[0].run}: keeps conv1, fc whole")
    assert lines[3].startswith("unchecked: the data of 1 finished experiment, as the files of cifar10")


def test_the_cost_counts_attack_steps_and_update_over_all_epochs(planned):
    item = planned(training={"epochs": 7, "attack": {"num_steps": 4}})

    assert item.passes_per_image == 7 * 5


def test_an_experiment_with_its_record_is_done(planned, save_result, make_experiment):
    save_result(make_experiment())

    assert planned().state == "done"
    assert planned(seed=1).state == "todo"


def test_a_record_measured_in_another_way_does_not_count(planned, save_result, make_experiment):
    save_result(make_experiment(evaluation={"pgd": {"steps": 50}, "images": 5000}))

    assert planned().state == "todo"
    assert planned(evaluation={"images": 5000}).state == "done"


def test_a_failure_is_reported_with_the_last_line_of_its_traceback(planned, make_experiment, tmp_path):
    folder = work_folder(tmp_path, make_experiment().run)
    folder.mkdir(parents=True)
    (folder / "failed.txt").write_text("Traceback ...\nTrainingFailed: the loss is nan\n", encoding="utf-8")

    item = planned()

    assert (item.state, item.reason) == ("failed", "TrainingFailed: the loss is nan")


def test_a_record_outweighs_an_old_failure(planned, save_result, make_experiment, tmp_path):
    folder = work_folder(tmp_path, make_experiment().run)
    folder.mkdir(parents=True)
    (folder / "failed.txt").write_text("TrainingFailed: the loss is nan\n", encoding="utf-8")
    save_result(make_experiment())

    assert planned().state == "done"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"method": DENSE_METHOD}, "at trains dense networks: keep_ratio must be 1, got 0.01"),
        ({"keep_ratio": 1.0}, "edge_popup selects weights: keep_ratio must be below 1"),
        (
            {"keep_ratio": 0.0001, "allocation": 1.0},
            "a budget of 2,127 weights over 37 layers leaves layer 0 (1,728 weights) with none at p=1; "
            "raise keep_ratio or lower p",
        ),
    ],
    ids=["dense method", "pruning method", "empty layer"],
)
def test_an_experiment_that_makes_no_sense_is_refused_with_the_reason(planned, changes, reason):
    item = planned(**changes)

    assert (item.state, item.reason) == ("refused", reason)


def test_a_refusal_that_is_no_sentence_is_still_a_refusal(planned, monkeypatch):
    monkeypatch.setattr(EdgePopup, "refusal", lambda *_: True)

    item = planned()

    assert (item.state, item.reason) == ("refused", "True")


def test_plan_keeps_the_order_and_writes_nothing(make_experiment, tmp_path):
    experiments = [make_experiment(seed=seed) for seed in (2, 0, 1)]

    items = plan(experiments, METHODS, tmp_path / "out", NOWHERE)

    assert [item.experiment.seed for item in items] == [2, 0, 1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("keep_ratio", "allocation", "names"),
    [(0.01, 0.1, "conv1"), (0.01, 0.0, "conv1, fc"), (0.5, 0.0, "conv1, layer1.0.conv1, layer1.0.conv2 and 17 more")],
)
def test_a_target_that_leaves_layers_whole_is_warned_of(make_experiment, keep_ratio, allocation, names):
    warning = target_warning(make_experiment(keep_ratio=keep_ratio, allocation=allocation))

    assert f"keeps {names}" in warning
    assert "whole" in warning and "a larger p" in warning and "smaller p" not in warning


@pytest.mark.parametrize(("keep_ratio", "kept"), [(0.0088, 15), (0.009, 16)])
def test_a_target_that_leaves_fewer_than_sixteen_weights_is_warned_of(make_experiment, keep_ratio, kept):
    """Of conv1's 1,728 weights the first ratio keeps 15 and the second 16."""
    warning = target_warning(make_experiment(keep_ratio=keep_ratio, allocation=1.0))

    assert allocate([1_728, 21_263_360], keep_ratio, 1.0)[0] == kept
    assert ("keeps fewer than 16 weights of conv1; a smaller p" in warning) == (kept < 16)


@pytest.mark.parametrize(
    "changes",
    [{"keep_ratio": 1.0}, {"keep_ratio": 0.5, "allocation": "global"}, {"keep_ratio": 0.1, "allocation": 1.0}],
    ids=["dense", "global", "even"],
)
def test_a_sound_target_is_not_warned_of(make_experiment, changes):
    assert target_warning(make_experiment(**changes)) == ""


def test_a_plan_names_the_exponent_that_an_automatic_target_is_closest_to(planned):
    items = [planned(keep_ratio=0.01, allocation=name) for name in ("auto", "auto:0.105", 0.1)]

    assert [item.closest_p for item in items] == [0.23, 0.09, None]
    assert "        allocation: closest to p 0.23" in plan_lines(items)
    assert planned(method=DENSE_METHOD, keep_ratio=1.0, allocation="auto").closest_p is None


@pytest.mark.parametrize(
    ("keep_ratio", "width", "words"),
    [
        (0.1, 1.0, "keeps conv1 whole, nothing to choose there; a smaller constant takes from small layers"),
        (0.0003, 0.25, "keeps fewer than 16 weights of conv1"),
    ],
)
def test_the_warning_about_an_automatic_target_names_its_constant(make_experiment, keep_ratio, width, words):
    warning = target_warning(make_experiment(keep_ratio=keep_ratio, allocation="auto", architecture={"width": width}))

    assert words in warning and " p " not in warning


def test_the_warning_looks_at_the_narrowed_network(make_experiment):
    wide = target_warning(make_experiment(keep_ratio=0.02, allocation=1.0))
    narrow = target_warning(make_experiment(keep_ratio=0.02, allocation=1.0, architecture={"width": 0.25}))

    assert wide == ""
    assert "keeps fewer than 16 weights of conv1, layer2.0.shortcut.0" in narrow


@pytest.mark.parametrize(
    ("deviations", "changes", "reason"),
    [
        (["x"] * 33, {}, "it has 33 deviations, a record holds 32"),
        (["x" * 4001], {}, "a deviation has 4,001 characters"),
        (["x" * 3000] * 6, {}, "its settings, phases and deviations have 1"),
        ([], {"training": {"epochs": 10_001}}, "10,001 epochs"),
        ([], {"suite": "x" * 301}, "one of its names has 301 characters"),
        ([], {"method": {**DENSE_METHOD, "options": {"lr": [0.1] * 257}}}, "257 items"),
    ],
)
def test_what_no_record_could_hold_is_refused_before_the_training(planned, monkeypatch, deviations, changes, reason):
    monkeypatch.setattr(ResolvedMethod, "deviations", lambda self: deviations)
    monkeypatch.setattr(ResolvedMethod, "create", lambda self, options, where: AT())
    item = planned(**{"method": DENSE_METHOD, "keep_ratio": 1.0, "allocation": 1.0} | changes)
    assert item.state == "refused" and reason in item.reason


def test_whatever_no_seed_changes_is_worked_out_once(make_experiment, tmp_path, monkeypatch):
    """A plan of ten thousand experiments has a few cells and many seeds."""
    asked = []
    monkeypatch.setattr(
        cells, "network_and_epochs", lambda *given: asked.append(given) or refusals.network_and_epochs(*given)
    )
    experiments = [make_experiment(seed=seed, keep_ratio=keep_ratio) for keep_ratio in (0.1, 0.5) for seed in range(50)]

    planned = plan(experiments, METHODS, tmp_path, NOWHERE)

    assert len(asked) == 2
    alone = [plan([experiment], METHODS, tmp_path, NOWHERE)[0] for experiment in (experiments[0], experiments[-1])]
    assert [planned[0], planned[-1]] == alone
    assert planned[0].work == planned[49].work
