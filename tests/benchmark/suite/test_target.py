"""The groups of weights as an axis of the grid: in names, hashes and what a method receives."""

from __future__ import annotations

import math

import pytest

from benchmark.errors import UserError
from benchmark.networks.resnet import prunable_shapes
from benchmark.planning.refusals import Refused, network_and_epochs
from benchmark.planning.target_warning import full_network, target_warning
from benchmark.suite.experiment import Experiment
from benchmark.suite.registry import resolve
from benchmark.suite.suite import expand, load_suite
from benchmark.suite.target import target_of
from methods.allocation import allocate
from methods.base import Target

ALL = "[weight, kernel, channel, 2:4]"


@pytest.fixture
def expanded(tmp_path):
    """Return a function that expands a suite of one method with a grid."""

    def make(grid, method="edge_popup"):
        path = tmp_path / "suite.yaml"
        path.write_text(
            f"name: s\ndataset: cifar10\ngrid: {{{grid}}}\nmethods: [{{method: {method}}}]\n", encoding="utf-8"
        )
        suite = load_suite(path)
        return expand(suite, [(entry, resolve(entry.method)) for entry in suite.methods], seeds=[0], preset=None)

    return make


def test_granularity_is_an_axis_with_names_and_hashes_of_its_own(expanded):
    experiments = expanded(f"weights: binary, keep_ratio: 0.5, allocation: 0.4, granularity: {ALL}")

    assert [target_of(experiment) for experiment in experiments] == [
        Target(0.5, "binary", 0.4),
        Target(0.5, "binary", 0.4, "kernel"),
        Target(0.5, "binary", 0.4, "channel"),
        Target(0.5, "binary", 1.0, "2:4"),  # the pattern keeps half of every layer, whatever the allocation
    ]
    assert [experiment.cell.split("/")[-1] for experiment in experiments] == [
        "binary-keep0.5-p0.4-pgd",
        "binary-keep0.5-p0.4-kernel-pgd",
        "binary-keep0.5-p0.4-channel-pgd",
        "binary-keep0.5-p1-2of4-pgd",
    ]
    assert len({experiment.run_hash for experiment in experiments}) == 4


def test_single_weights_are_the_default_and_leave_config_and_hash_as_they_were(make_experiment):
    default = make_experiment()

    assert "granularity" not in default.model_dump(mode="json")
    assert make_experiment(granularity="weight").run_hash == default.run_hash
    assert make_experiment(granularity="kernel").run_hash != default.run_hash
    again = Experiment.model_validate(make_experiment(granularity="2:4").model_dump(mode="json"))
    assert again.granularity == "2:4"


def test_a_dense_network_has_no_groups(expanded):
    (experiment,) = expanded(f"weights: fp, keep_ratio: 1.0, granularity: {ALL}", method="at")

    assert experiment.granularity == "weight"


def test_a_granularity_that_does_not_exist_is_one_sentence(expanded):
    with pytest.raises(UserError, match=r"grid.granularity\[0\].*got '?row"):
        expanded("granularity: row")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"granularity": "kernel", "allocation": "global"}, "allocation must not be global"),
        ({"granularity": "2:4", "allocation": 1.0}, "keep_ratio must be 0.5 and allocation 1, got 0.01 and 1"),
        ({"granularity": "channel", "keep_ratio": 0.001}, "cannot give every layer a group"),
    ],
)
def test_a_plan_refuses_groups_that_cannot_be_had(make_experiment, changes, why):
    with pytest.raises(Refused, match=why):
        network_and_epochs(make_experiment(**changes), resolve("edge_popup"))


def test_a_plan_reports_what_whole_groups_leave_unspent(make_experiment):
    shapes = prunable_shapes(full_network(make_experiment()))
    kept = allocate([math.prod(shape) for shape in shapes.values()], 0.01, 0.1)
    unspent = sum(count % math.prod(shape[2:]) for count, shape in zip(kept, shapes.values(), strict=True))

    assert unspent > 100
    assert f"; leaves {unspent} weights of its budget unspent" in target_warning(make_experiment(granularity="kernel"))
    assert "unspent" not in target_warning(make_experiment())
