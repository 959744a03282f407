"""YAML suites: every mistake is one sentence, and the grid expands to exactly the expected experiments."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmark.errors import UserError
from benchmark.suite.experiment import Experiment
from benchmark.suite.registry import resolve
from benchmark.suite.suite import expand, load_suite

BASE = "name: small\ndataset: cifar10\nmethods:\n  - method: edge_popup\n"
TWO_METHODS = """
name: small
dataset: cifar10
architecture: {name: resnet10, width: 0.5}
training: {epochs: 20, attack: {num_steps: 3}}
methods:
  - method: at
    training: {epochs: 7, batch_size: 32}
    architecture: {width: 0.25}
  - method: edge_popup
"""


@pytest.fixture
def expanded(tmp_path):
    """Return a function that expands the text of a suite with overrides."""

    def make(text=BASE, *overrides, preset=None):
        path = tmp_path / "suite.yaml"
        path.write_text(text, encoding="utf-8")
        suite = load_suite(path, overrides)
        entries = [(entry, resolve(entry.method)) for entry in suite.methods]
        return expand(suite, entries, seeds=suite.seeds, preset=preset)

    return make


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("metods: 3\n", "suite.yaml: 'metods' is not a field. Did you mean methods? Known: name, about"),
        ("training: {epoch: 3}\n", "suite.yaml: training: 'epoch' is not a field. Did you mean epochs?"),
        ("training: {attack: {num_step: 3}}\n", "training.attack: 'num_step' is not a field. Did you mean num_steps?"),
        ("evaluation: {pgd: {step: 3}}\n", "suite.yaml: evaluation.pgd: 'step' is not a field. Did you mean steps?"),
        ("architecture: {widht: 1}\n", "suite.yaml: architecture: 'widht' is not a field. Did you mean width?"),
        ("grid: {keep_ration: 0.1}\n", "suite.yaml: grid: 'keep_ration' is not a field. Did you mean keep_ratio?"),
        ("    keep_ration: 0.1\n", "suite.yaml: methods[0]: 'keep_ration' is not a field. Did you mean keep_ratio?"),
        ("    training: {epoch: 3}\n", "small: methods[0] (edge_popup): training: 'epoch' is not a field. Did you"),
        (
            "    architecture: {widht: 1}\n",
            "suite.yaml: methods[0].architecture: 'widht' is not a field. Did you mean width?",
        ),
        ("    options: {lrr: 1}\n", "small: methods[0] (edge_popup): options.lrr is not a field of edge_popup. Did"),
        ("    options: {lr: fast}\n", "small: methods[0] (edge_popup): options.lr must be a decimal number such"),
        ("architecture: {name: resnet43}\n", "architecture.name: unknown architecture 'resnet43'. Did you mean r"),
        ("grid: {keep_ratio: [0.1, 0]}\n", "suite.yaml: grid.keep_ratio[1]: must be greater than 0, got 0"),
        ("grid: {keep_ratio: 1.5}\n", "suite.yaml: grid.keep_ratio[0]: must be less than or equal to 1, got"),
        ("grid: {weights: ternary}\n", "suite.yaml: grid.weights[0]: must be 'fp' or 'binary', got 'ternary'"),
        (
            "grid: {allocation: glob}\n",
            "suite.yaml: grid.allocation[0]: allocation must be an exponent p from 0 to 1, 'global', "
            "'auto', or {auto: c} with a constant c from 0 to 1000, got 'glob'",
        ),
        ("epsilon: 8\n", "suite.yaml: epsilon: '8' is not a perturbation size: give a fraction or decimal strictly"),
        ("training: {attack: {step_size: 17/255}}\n", "step_size 17/255 leaves the epsilon ball of 8/255 at every"),
        ("evaluation: {pgd: {step_size: 1/2}}\n", "step_size 1/2 leaves the epsilon ball of 8/255 at every step"),
        ("preset: short\n", "suite.yaml: preset: must be 'paper' or 'own', got 'short'"),
        ("seeds: [0, -1]\n", "suite.yaml: seeds[1]: must be greater than or equal to 0, got -1"),
        ("training: {epochs: 0}\n", "suite.yaml: training.epochs: must be greater than or equal to 1, got 0"),
        ("training: {precision: fp16}\n", "suite.yaml: training.precision: must be 'fp32', 'bf16' or 'bf16-a"),
        ("training: 5\n", "suite.yaml: training: must be a valid dictionary"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_setting(expanded, addition, message):
    with pytest.raises(UserError) as refusal:
        expanded(BASE + addition)

    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- at\n- edge_popup\n", "must hold a mapping with name, dataset and methods; got list"),
        ("", "must hold a mapping with name, dataset and methods; got NoneType"),
        ("name: [unclosed\n", "cannot be read as YAML"),
        ("name: small\ndataset: cifar10\n", "suite.yaml: methods: Field required"),
        ("name: small\ndataset: cifar10\nmethods: []\n", "methods: List should have at least 1 item"),
        (
            "name: small\ndataset: own\nmethods: [{method: at}]\n",
            "'own' is not a known data set and has no default epsilon",
        ),
    ],
)
def test_a_file_that_is_no_suite_is_refused(expanded, text, message):
    with pytest.raises(UserError) as refusal:
        expanded(text)

    assert message in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"there is no suite .*none\.yaml"):
        load_suite(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("written", "exact"),
    [
        ("8/255", "8/255"),
        ("16/510", "8/255"),
        ("0.031", "31/1000"),
        ("1e-2", "1/100"),
        ("0.03137254901960784", "8/255"),
    ],
)
def test_epsilon_stays_an_exact_fraction(expanded, written, exact):
    (experiment, _) = expanded(BASE + f"epsilon: {written}\n")

    assert experiment.epsilon == exact


@pytest.mark.parametrize(("dataset", "epsilon"), [("cifar10", "8/255"), ("cifar100", "4/255"), ("digits", "32/255")])
def test_epsilon_and_step_default_to_those_of_the_data_set(expanded, dataset, epsilon):
    experiment = expanded(BASE, f"dataset={dataset}")[0]

    quarter = f"{int(epsilon.partition('/')[0]) // 4}/255"
    assert (experiment.epsilon, experiment.attack_step, experiment.protocol(8, 10).pgd_step) == (
        epsilon,
        quarter,
        quarter,
    )


def test_an_axis_is_one_value_or_a_list_and_the_grid_their_product(expanded):
    grid = "grid: {weights: binary, keep_ratio: [0.1, 0.01], allocation: [global, 0.5], last_norm: [true, false]}\n"

    experiments = expanded(BASE + grid + "seeds: [0, 3]\n")

    cells = Counter(
        (e.weights, e.keep_ratio, e.allocation, e.architecture.last_norm, e.objective, e.seed) for e in experiments
    )
    assert cells == Counter(
        ("binary", keep_ratio, allocation, last_norm, "pgd", seed)
        for keep_ratio in (0.1, 0.01)
        for allocation in ("global", 0.5)
        for last_norm in (True, False)
        for seed in (0, 3)
    )


def test_an_automatic_allocation_is_named_by_its_constant(expanded):
    grid = "grid: {weights: binary, allocation: [auto, {auto: 0.0117}, {auto: 1e-1}, 'auto:0.5', {auto: 0.035}]}\n"

    experiments = expanded(BASE + grid)

    assert [e.allocation for e in experiments] == ["auto", "auto:0.0117", "auto:0.1", "auto:0.5"]
    assert [e.cell.rpartition("/")[2] for e in experiments] == [
        f"binary-keep0.01-{name}-pgd" for name in ("auto", "auto0.0117", "auto0.1", "auto0.5")
    ]
    assert len({e.run_hash for e in experiments}) == 4
    assert all(Experiment.model_validate_json(e.model_dump_json()) == e for e in experiments)


@pytest.mark.parametrize(
    "allocation", ["{auto: -1}", "{auto: 1001}", "{auto: true}", "{auto: .nan}", "{c: 1}", "auto:x"]
)
def test_an_automatic_allocation_with_another_constant_is_refused(expanded, allocation):
    with pytest.raises(UserError, match=r"grid\.allocation\[0\]: allocation must be an exponent p from 0 to 1"):
        expanded(BASE + f"grid: {{allocation: [{allocation}]}}\n")


def test_an_override_may_name_an_automatic_allocation(expanded):
    experiments = expanded(BASE, "grid.allocation={auto: 0.0117}", "grid.weights=fp")

    assert [e.allocation for e in experiments] == ["auto:0.0117"]


def test_an_entrys_axis_replaces_the_suites(expanded):
    experiments = expanded(BASE + "    keep_ratio: [0.2]\ngrid: {keep_ratio: [0.1, 0.3], weights: fp}\n")

    assert [(e.keep_ratio, e.weights) for e in experiments] == [(0.2, "fp")]


def test_without_a_grid_both_precisions_run_at_one_percent(expanded):
    experiments = expanded()

    assert [(e.weights, e.keep_ratio, e.allocation) for e in experiments] == [
        ("fp", 0.01, 0.1),
        ("binary", 0.01, 0.1),
    ]
    assert all(e.architecture.last_norm for e in experiments)


def test_a_list_of_option_values_is_one_more_axis(expanded):
    options = "    options: {lr: [0.1, 0.2], score_scale: 0.5}\n"

    experiments = expanded(BASE + options + "grid: {weights: fp}\n")

    assert [e.method.options for e in experiments] == [{"score_scale": 0.5}, {"lr": 0.2, "score_scale": 0.5}]


def test_a_dense_method_gets_keep_ratio_one_and_appears_once(expanded):
    experiments = expanded(BASE.replace("edge_popup", "at") + "grid: {keep_ratio: [0.1, 0.01], allocation: [0.1, 1]}\n")

    assert [(e.weights, e.keep_ratio, e.allocation) for e in experiments] == [("fp", 1.0, 1.0), ("binary", 1.0, 1.0)]
    assert [e.cell for e in experiments] == [
        "cifar10/resnet34-lbn/at/fp-keep1-pgd",
        "cifar10/resnet34-lbn/at/binary-keep1-pgd",
    ]


def test_duplicate_experiments_are_dropped_and_the_order_of_entries_kept(expanded):
    text = BASE + "  - method: at\n  - method: edge_popup\n    weights: [binary, binary]\n"

    experiments = expanded(text)

    assert [(e.method.name, e.weights) for e in experiments] == [
        ("edge_popup", "fp"),
        ("edge_popup", "binary"),
        ("at", "fp"),
        ("at", "binary"),
    ]


def test_allocations_of_a_dense_target_are_one_experiment(expanded):
    experiments = expanded(BASE + "grid: {weights: fp, keep_ratio: 1, allocation: [0.1, 0.5, global]}\n")

    assert [(e.keep_ratio, e.allocation) for e in experiments] == [(1.0, 1.0)]


def test_an_entrys_training_and_architecture_override_the_suites(expanded):
    at, _, edge_popup, _ = expanded(TWO_METHODS)

    assert (at.training.epochs, at.training.batch_size, at.training.attack.num_steps) == (7, 32, 3)
    assert (at.architecture.name, at.architecture.width) == ("resnet10", 0.25)
    assert (edge_popup.training.epochs, edge_popup.training.batch_size) == (20, 256)
    assert (edge_popup.architecture.name, edge_popup.architecture.width) == ("resnet10", 0.5)


def test_an_override_wins_over_the_suite_and_over_single_methods(expanded):
    at, _, edge_popup, _ = expanded(TWO_METHODS, "training.epochs=3", "architecture.width=0.125")

    assert (at.training.epochs, at.training.batch_size) == (3, 32)
    assert edge_popup.training.epochs == 3
    assert (at.architecture.width, edge_popup.architecture.width) == (0.125, 0.125)


def test_an_override_of_a_list_position_reaches_one_method(expanded):
    at, _, edge_popup, _ = expanded(TWO_METHODS, "methods.0.training.epochs=9", "methods.1.options.lr=0.5")

    assert (at.training.epochs, edge_popup.training.epochs) == (9, 20)
    assert (at.method.options, edge_popup.method.options) == ({}, {"lr": 0.5})


def test_an_override_may_add_settings(expanded):
    experiments = expanded(BASE, "evaluation.pgd.steps=7", "seeds=[4, 5]", "grid.weights=fp", "train_images=100")

    assert [(e.evaluation.pgd.steps, e.seed, e.train_images) for e in experiments] == [(7, 4, 100), (7, 5, 100)]


def test_of_two_overrides_the_later_wins(expanded):
    experiments = expanded(BASE, "training.epochs=7", "training.epochs=8")

    assert {e.training.epochs for e in experiments} == {8}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "--set takes key.subkey=value, got 'training.epochs'; for example --set training.epochs=5"),
        ("=3", "--set takes key.subkey=value, got '=3'"),
        ("training..epochs=3", "--set takes key.subkey=value, got 'training..epochs=3'"),
        ("methods.1.method=at", "--set methods.1.method=at: '1' must be a position from 0 to 0"),
        ("methods.first.method=at", "'first' must be a position from 0 to 0"),
        ("name.part=3", "--set name.part=3: 'name' is a single value and has no subkeys"),
        ("training.epochs=[", "--set training.epochs: '[' is not a YAML value"),
        ("training.epoch=3", "training: 'epoch' is not a field. Did you mean epochs?"),
        (
            "training.epochs=many",
            "training: epochs must be a whole number such as 12",
        ),
    ],
)
def test_a_wrong_override_is_one_sentence(expanded, override, message):
    with pytest.raises(UserError) as refusal:
        expanded(BASE, override)

    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_preset_is_applied_to_every_experiment(expanded):
    experiments = expanded(TWO_METHODS, preset="short")

    assert [(e.preset, e.training.epochs) for e in experiments] == [("short", 3)] * 4


def test_run_names_are_unique_and_readable(expanded):
    experiments = expanded(TWO_METHODS, "grid.keep_ratio=0.25", "grid.allocation=[global, 0.5]", "grid.weights=binary")

    runs = [e.run.rpartition("-")[0] for e in experiments]

    assert runs == [
        "cifar10/resnet10-w0.25-lbn/at/binary-keep1-pgd/seed0",
        "cifar10/resnet10-w0.5-lbn/edge_popup/binary-keep0.25-global-pgd/seed0",
        "cifar10/resnet10-w0.5-lbn/edge_popup/binary-keep0.25-p0.5-pgd/seed0",
    ]


def test_the_defaults_of_an_experiment_are_frozen(make_experiment):
    """A changed default would give old results another meaning under the same run hash."""
    experiment = make_experiment()

    assert experiment.run_hash == "0a5397d9d65a"
    assert experiment.model_dump() == {
        "suite": "main",
        "preset": "own",
        "dataset": "cifar10",
        "train_images": None,
        "epsilon": "8/255",
        "architecture": {"name": "resnet34", "width": 1.0, "last_norm": True},
        "method": {
            "name": "edge_popup",
            "target": "methods.edge_popup:EdgePopup",
            "options": {},
            "source_sha256": None,
        },
        "weights": "binary",
        "keep_ratio": 0.01,
        "allocation": 0.1,
        "objective": "pgd",
        "training": {
            "epochs": 400,
            "batch_size": 256,
            "precision": "fp32",
            "attack": {"num_steps": 10, "step_size": None, "random_start": True, "batch_norm": "train"},
            "fast": {"step_size": None, "fill": 0.5, "soft_target": {"enabled": False, "rho": 0.9, "beta": 0.1}},
            "trades_beta": 6.0,
            "selection_steps": 10,
            "selection_images": None,
        },
        "artifact": {"statistics": "float32"},
        "evaluation": {
            "images": None,
            "pgd": {"steps": 50, "restarts": 1, "step_size": None},
            "autoattack": {"seed": 0, "batch_size": 500},
        },
        "first_phase": None,
        "seed": 0,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"suite": "another"},
        {"evaluation": {"images": 100, "pgd": {"steps": 7}, "autoattack": {"seed": 3}}},
        {"method": {"name": "edge_popup", "target": "/elsewhere/edge_popup.py:EdgePopup"}},
        {"training": {"epochs": 400, "attack": {"num_steps": 10}}, "architecture": {"name": "resnet34", "width": 1}},
    ],
    ids=["suite", "evaluation", "target", "written defaults"],
)
def test_the_run_hash_ignores_settings_that_do_not_change_the_training(make_experiment, changes):
    assert make_experiment(**changes).run_hash == make_experiment().run_hash


@pytest.mark.parametrize(
    "changes",
    [
        {"preset": "paper"},
        {"dataset": "svhn"},
        {"train_images": 100},
        {"epsilon": "4/255"},
        {"architecture": {"last_norm": False}},
        {"method": {"name": "edge_popup", "target": "methods.edge_popup:EdgePopup", "options": {"lr": 0.2}}},
        {"method": {"name": "edge_popup", "target": "methods.edge_popup:EdgePopup", "source_sha256": "a" * 64}},
        {"weights": "fp"},
        {"keep_ratio": 0.02},
        {"allocation": "global"},
        {"training": {"epochs": 401}},
        {"training": {"attack": {"batch_norm": "eval"}}},
        {"training": {"precision": "bf16-attack"}},
        {"seed": 1},
    ],
    ids=str,
)
def test_the_run_hash_depends_on_everything_else(make_experiment, changes):
    assert make_experiment(**changes).run_hash != make_experiment().run_hash
