"""A method's first phase may be a finished AT run: the right one, named in the record, and continued exactly."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmark.__main__ import main
from benchmark.data.load import load_training
from benchmark.errors import UserError
from benchmark.networks.resnet import network_plan
from benchmark.runtime.hashing import tensors_sha256
from benchmark.suite.experiment import FirstPhaseSpec
from benchmark.suite.registry import resolve
from benchmark.suite.suite import expand, load_suite
from benchmark.training.first_phase import load_first_phase, take_over, trained_path
from benchmark.training.loop import train
from benchmark.training.state import TrainingFailed
from methods.at import AT
from methods.base import Target
from methods.hydra import Hydra
from methods.prune_finetune import MagnitudePruning

CPU = torch.device("cpu")
SUITE = """
name: small
dataset: digits
train_images: 48
epsilon: 200/255
architecture: {name: resnet10, width: 0.0625}
grid: {weights: binary, keep_ratio: 0.3, allocation: 1.0}
training: {epochs: 3, batch_size: 16, attack: {num_steps: 1}, selection_steps: 1}
evaluation: {images: 8, pgd: {steps: 5}}
methods:
  - {method: hydra, objective: pgd, first_phase: at}
  - {method: at}
"""


@pytest.fixture
def expanded(tmp_path):
    """Return a function that expands the text of a suite."""

    def make(text):
        path = tmp_path / "suite.yaml"
        path.write_text(text, encoding="utf-8")
        suite = load_suite(path)
        return expand(
            suite, [(entry, resolve(entry.method)) for entry in suite.methods], seeds=suite.seeds, preset=None
        )

    return make


def test_each_experiment_starts_from_the_run_of_its_own_weights_norm_objective_and_seed(expanded):
    experiments = expanded(
        SUITE.replace("weights: binary", "weights: [fp, binary], last_norm: [true, false], objective: [pgd, fast]")
        .replace("objective: pgd, ", "")
        .replace("methods:", "seeds: [3, 4]\nmethods:")
    )

    by_run = {experiment.run: experiment for experiment in experiments}
    children = [experiment for experiment in experiments if experiment.method.name == "hydra"]
    assert len(children) == 16
    for child in children:
        parent = by_run[child.first_phase.run]
        assert parent.run_hash == child.first_phase.run_hash
        for name in ("weights", "architecture", "objective", "seed", "dataset", "train_images"):
            assert getattr(parent, name) == getattr(child, name)
    assert len({child.first_phase.run for child in children}) == 16


def test_reuse_is_part_of_what_identifies_a_run(expanded):
    alone = expanded(SUITE.replace(", first_phase: at", ""))[0]
    reusing, parent = expanded(SUITE)
    other_parent = expanded(SUITE.replace("{method: at}", "{method: at, options: {binary_lr: 0.1}}"))[0]

    assert len({alone.run_hash, reusing.run_hash, other_parent.run_hash}) == 3
    assert parent.first_phase is None


def test_full_precision_pretraining_of_a_binary_network_starts_from_a_full_precision_run(expanded):
    text = SUITE.replace("first_phase: at}", "first_phase: at, options: {binary_phases: finetune}}")

    assert "/fp-keep1" in expanded(text.replace("{method: at}", "{method: at, weights: fp}"))[0].first_phase.run
    with pytest.raises(UserError, match=r"first_phase needs one fp run of at in the suite .* got none; add or narrow"):
        expanded(text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hydra, objective: pgd, first_phase: at", "hydra, first_phase: lwm", "accepts only first_phase: at, got"),
        ("hydra, objective: pgd", "edge_popup", "edge_popup accepts no first_phase, got first_phase"),
        ("  - {method: at}\n", "", "needs one binary run of at in the suite .*, got none; add or narrow the entry"),
        ("{method: at}", "{method: at, objective: [fast, clean]}", "of at .* got .*/at/.*fast.*, .*/at/.*clean"),
        ("{method: at}", "{method: at, last_norm: false}", "with the network and seed of .*, got none; add"),
        ("first_phase: at", "first_phase: att", "unknown method 'att'. Did you mean at?"),
        ("first_phase: at", "first_phase: hydra", "accepts only first_phase: at, got first_phase: hydra"),
        ("{method: at}", "{method: at, keep_ratio: 0.5}", "needs one binary run of at in the suite .*, got none"),
    ],
)
def test_an_invalid_first_phase_is_refused_in_one_sentence(expanded, old, new, message):
    assert old in SUITE
    with pytest.raises(UserError, match=message):
        expanded(SUITE.replace(old, new))


@pytest.mark.parametrize("weights", ["fp", "binary"])
def test_pruning_continues_exactly_where_the_dense_run_ended_and_survives_a_kill(tmp_path, expanded, weights):
    child, parent = expanded(SUITE.replace("binary", weights).replace("hydra, objective: pgd", "lwm"))
    data = load_training("digits", None, limit=48)
    folders = {name: tmp_path / name for name in ("parent", "child", "killed")}
    for folder in folders.values():
        folder.mkdir()
    dense = train(parent, AT(), data, folders["parent"], device=CPU, report=str)
    first_phase = load_first_phase(folders["parent"], child.first_phase, data.sha256)
    seen = {}

    class Watched(MagnitudePruning):
        def begin_phase(self, model, phase):
            if phase.name == "finetune":
                seen.update({name: value.clone() for name, value in model.state_dict().items() if "extra" not in name})
            super().begin_phase(model, phase)

    trained = train(child, Watched(), data, folders["child"], device=CPU, report=str, first_phase=first_phase)

    class Killed(Exception):
        pass

    def kill(line):
        if "loss" in line:
            raise Killed

    with pytest.raises(Killed):
        train(child, MagnitudePruning(), data, folders["killed"], device=CPU, report=kill, first_phase=first_phase)
    resumed = train(child, MagnitudePruning(), data, folders["killed"], device=CPU, report=str, first_phase=first_phase)

    for name, value in first_phase.tensors.items():
        assert torch.equal(seen[name], value), name
    if weights == "binary":
        assert seen["conv1.weight"].unique().numel() > 2  # latent weights, whose magnitudes differ
    assert trained.passes == dense.passes + round(len(data.train) * 1 * child.passes_per_image)
    assert tensors_sha256(resumed.network.state_dict()) == tensors_sha256(trained.network.state_dict())
    history = [json.loads(line) for line in (folders["killed"] / "history.jsonl").read_text().splitlines()]
    assert [(line["phase"], line["epoch"]) for line in history] == [("finetune", 3)]


def test_a_dense_run_whose_last_network_is_missing_is_trained_again_to_the_same_bits(tmp_path, expanded):
    child, parent = expanded(SUITE)
    data = load_training("digits", None, limit=48)
    train(parent, AT(), data, tmp_path, device=CPU, report=str)
    before = load_first_phase(tmp_path, child.first_phase, data.sha256)
    trained_path(tmp_path).unlink()

    train(parent, AT(), data, tmp_path, device=CPU, report=str)

    after = load_first_phase(tmp_path, child.first_phase, data.sha256)
    assert (after.weights_sha256, after.passes) == (before.weights_sha256, before.passes)


def test_a_run_that_started_from_other_weights_of_the_dense_run_is_set_aside(tmp_path, expanded):
    child, parent = expanded(SUITE.replace("hydra, objective: pgd", "lwm"))
    data = load_training("digits", None, limit=48)
    train(parent, AT(), data, tmp_path, device=CPU, report=str)
    first_phase = load_first_phase(tmp_path, child.first_phase, data.sha256)
    (tmp_path / "child").mkdir()
    lines = []

    def continue_from(dense):
        method, folder = MagnitudePruning(), tmp_path / "child"
        return train(child, method, data, folder, device=CPU, report=lines.append, first_phase=dense)

    continue_from(first_phase)
    before = (tmp_path / "child" / "network.safetensors").read_bytes()
    lines.clear()
    again = continue_from(replace(first_phase, weights_sha256="0" * 64))

    assert "set aside: " in lines[0] and "has other weights than those that" in lines[0]
    assert (tmp_path / "child" / "set-aside-1" / "network.safetensors").read_bytes() == before
    assert again.first_phase.weights_sha256 == "0" * 64


def test_a_network_that_does_not_fit_is_refused(tmp_path, expanded):
    _, parent = expanded(SUITE)
    data = load_training("digits", None, limit=48)
    train(parent, AT(), data, tmp_path, device=CPU, report=str)
    spec = FirstPhaseSpec(run=parent.run, run_hash=parent.run_hash)
    first_phase = load_first_phase(tmp_path, spec, data.sha256)

    def build(**changes):
        plan = network_plan(parent.architecture.model_copy(update=changes), data.info)
        return Hydra().build(plan, Target(0.3, "binary", 1.0))

    with pytest.raises(TrainingFailed, match="does not fit"):
        take_over(build(width=1 / 8), first_phase)
    with pytest.raises(TrainingFailed, match="differs from this method's in"):
        take_over(build(name="resnet18"), first_phase)
    with pytest.raises(UserError, match=r"belongs to run .*, not 0123; run that method again"):
        load_first_phase(tmp_path, spec.model_copy(update={"run_hash": "0123"}), data.sha256)
    with pytest.raises(UserError, match=r"was trained on other images or labels .*; run that method again"):
        load_first_phase(tmp_path, spec, "0" * 64)
    trained_path(tmp_path).unlink()
    with pytest.raises(UserError, match="is missing; run it first"):
        load_first_phase(tmp_path, spec, data.sha256)


def test_the_command_trains_the_first_phase_first_and_the_record_names_it(tmp_path, monkeypatch, capsys):
    path, out = tmp_path / "suite.yaml", tmp_path / "out"
    path.write_text(SUITE, encoding="utf-8")

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["python -m benchmark", *map(str, arguments), "--out", str(out)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    code, _, mistake = command("run", path, "--methods", "hydra")
    assert code == 2
    assert "its first phase is that of" in mistake and len(mistake.strip().splitlines()) == 1

    code, lines, mistake = command("run", path)
    assert code == 0, lines + mistake
    records = {
        record["method"]["name"]: record
        for record in map(json.loads, map(Path.read_text, out.rglob("records/*/*.json")))
    }
    named, parent = records["hydra"]["training"]["first_phase"], records["at"]
    assert (named["run"], named["run_hash"]) == (parent["run"], parent["run_hash"])
    assert parent["training"]["first_phase"] is None
    assert records["hydra"]["training"]["passes"] > parent["training"]["passes"]
    assert command("leaderboard", "--check")[0] == 0
