"""Invalid configurations on the command line: one helpful sentence, exit code 2, nothing written.

`test_mistakes.py` has mistakes on the command line itself.
"""

from __future__ import annotations

import pytest

SUITE = """
name: small
dataset: digits
architecture: {name: resnet10, width: 0.25}
grid: {keep_ratio: 0.2, allocation: 1.0}
methods:
  - {method: edge_popup}
"""


REFUSED = {
    "dense target of a pruning method": ("{method: hydra, keep_ratio: 1}", "hydra prunes: keep_ratio must be below 1"),
    "sparse target of a dense method": (
        "{method: at, keep_ratio: 0.5}",
        "at trains dense networks: keep_ratio must be 1, got 0.5",
    ),
    "budget below one weight per layer": (
        "{method: edge_popup, keep_ratio: 0.0001}",
        "with none at p=1; raise keep_ratio or lower p",
    ),
    "budget below one weight of the network": (
        "{method: edge_popup, keep_ratio: 0.0000001, allocation: global}",
        "keeps none; raise it",
    ),
    "budget below the smallest network": (
        "{method: small_dense, keep_ratio: 0.0001}",
        "is less than one channel per stage of resnet10",
    ),
    "allocation against the method's own": (
        "{method: rst, allocation: 0.1}",
        "rst keeps the same ratio in every layer: allocation must be 1, got 0.1",
    ),
    "too few epochs for HYDRA's phases": (
        "{method: hydra, training: {epochs: 2}}",
        "hydra has three phases and needs at least 3 epochs, got 2",
    ),
    "too few epochs for ATMC's phases": (
        "{method: atmc, weights: binary, training: {epochs: 2}}",
        "atmc has 3 phases here and needs at least 3 epochs, got 2",
    ),
}


@pytest.mark.parametrize(("entry", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_run_with_only_refused_experiments_is_a_mistake(tmp_path, command, entry, reason):
    (tmp_path / "suite.yaml").write_text(SUITE.replace("{method: edge_popup}", entry), encoding="utf-8")

    code, out, err = command("run", "suite.yaml")

    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert " refused, digits/resnet10" in err and reason in err
    assert [path.name for path in tmp_path.iterdir()] == ["suite.yaml"]


def test_the_refusal_counts_the_experiments_and_plan_lists_them(tmp_path, command):
    entry = "{method: edge_popup, keep_ratio: 1, last_norm: [true, false]}"
    (tmp_path / "suite.yaml").write_text(SUITE.replace("{method: edge_popup}", entry), encoding="utf-8")

    refused, planned = command("run", "suite.yaml"), command("plan", "suite.yaml")

    assert "error: all 4 experiments are refused, digits/" in refused[2]
    assert planned[0] == 0 and planned[1].count("refused digits/") == 4


WRONG = {
    "missing data set": ({"dataset: digits\n": ""}, "suite.yaml: dataset: Field required"),
    "data set without files": ({"digits": "my-images\nepsilon: 8/255"}, "'my-images'", "--data-dir"),
    "preset that a suite cannot have": (
        {"name: small": "name: small\npreset: smoke"},
        "suite.yaml: preset: Input should be 'paper' or 'own', got 'smoke'",
    ),
    "binary with an unknown loss": (
        {"grid: {": "grid: {weights: binary, objective: hinge, "},
        "'trades', 'half_clean' or 'clean', got 'hinge'",
    ),
    "negative TRADES beta": (
        {"grid:": "training: {trades_beta: -1}\ngrid:"},
        "training.trades_beta: Input should be greater than or equal to 0, got -1",
    ),
    "attack without a step": (
        {"grid:": "training: {attack: {num_steps: 0}}\ngrid:"},
        "training.attack.num_steps: Input should be greater than or equal to 1, got 0",
    ),
    "attack step beyond the ball": (
        {"grid:": "training: {attack: {step_size: 100/255}}\ngrid:"},
        "step_size 100/255 leaves the epsilon ball of 32/255 at every step",
    ),
    "TRADES beta that is no number": (
        {"grid:": "training: {trades_beta: .inf}\ngrid:"},
        "training.trades_beta: Input should be a finite number, got inf",
    ),
    "ADMM interval of no steps": (
        {"{method: edge_popup}": "{method: atmc, options: {interval: 0}}"},
        "interval must be at least 1 step, got 0",
    ),
    "negative ADMM penalty": (
        {"{method: edge_popup}": "{method: atmc, options: {rho: -1.0}}"},
        "rho must be positive, got -1",
    ),
    "ATMC phases longer than the run": (
        {"{method: edge_popup}": "{method: atmc, options: {dense_share: 2.0}}"},
        "above 0 and together below 1, got 2 and 0.36",
    ),
    "HYDRA phases longer than the run": (
        {"{method: edge_popup}": "{method: hydra, options: {pretrain_share: 0.99}}"},
        "above 0 and together below 1, got 0.99 and 0.09",
    ),
    "fine-tuning of no epochs": (
        {"{method: edge_popup}": "{method: lwm, options: {pretrain_share: 1.0}}"},
        "between 0 and 1, got 1",
    ),
    "option that is no number": (
        {"{method: edge_popup}": "{method: edge_popup, options: {score_scale: .nan}}"},
        "options.score_scale must be a finite number, got nan",
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_reported_in_one_sentence(tmp_path, command, wrong):
    changes, *sentences = wrong
    text = SUITE
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "suite.yaml").write_text(text, encoding="utf-8")

    code, out, err = command("run", "suite.yaml")

    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    for sentence in sentences:
        assert sentence in err
    assert [path.name for path in tmp_path.iterdir()] == ["suite.yaml"]
