"""A network with a record under one protocol is measured under another one without being trained again."""

from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.data.load import load_test, load_training
from benchmark.errors import UserError
from benchmark.launch.remeasured import measured_artifact, recorded_evaluation
from benchmark.results.store import artifact_path, load_records, save_record
from benchmark.suite.experiment import Experiment

SUITE = """
name: tiny
dataset: digits
train_images: 48
epsilon: 200/255
architecture: {name: resnet6, width: 0.0625}
grid: {weights: fp}
methods:
  - {method: at, options: {lr: 0.2}}
training: {epochs: 3, batch_size: 16, attack: {num_steps: 1}, selection_steps: 1}
evaluation: {images: 8, pgd: {steps: 5}}
"""
HYDRA = SUITE.replace("training:", "  - {method: hydra, keep_ratio: 0.5, first_phase: at}\ntraining:")
MORE = ("--set", "evaluation.images=12")
WIDE = ("--set", "evaluation.pgd.images=20")


def command(*words):
    """Return exit code and output of a command."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


def refusal(*words):
    """Return the sentence by which a command is refused."""
    error = CliRunner().invoke(app, [str(word) for word in words]).exception
    assert isinstance(error, UserError)
    return str(error)


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return path


def run_of(text):
    """Return what fills a folder with a suite and what it leaves, without its work folders."""

    def run(place):
        (place / "tiny.yaml").write_text(text, encoding="utf-8")
        code, output = command("run", place / "tiny.yaml", "--out", place / "out")
        assert code == 0, output
        shutil.rmtree(place / "out" / "work")

    return run


@pytest.fixture(scope="module")
def run_once(made_once):
    """Return the folder of a run on eight images."""
    return made_once("measured_again", run_of(SUITE)) / "out"


@pytest.fixture(scope="module")
def run_of_both(made_once):
    """Return the folder of a run and of one that begins with it."""
    return made_once("both_measured_again", run_of(HYDRA)) / "out"


@pytest.fixture
def out(run_once, tmp_path):
    """Return a copy of that folder."""
    return shutil.copytree(run_once, tmp_path / "out")


def by_images(folder):
    return {record.evaluation.n_images: record for record in load_records(folder)}


def test_the_file_is_measured_as_a_new_training_would_have_been(suite, out, tmp_path):
    first = by_images(out)[8]
    path = artifact_path(out, first.run)
    before = (path.read_bytes(), path.stat().st_mtime_ns)

    code, output = command("run", suite, *MORE, "--out", out)
    command("run", suite, *MORE, "--out", tmp_path / "anew")

    assert code == 0, output
    assert f"train      not again: this network already has a record on {first.protocol}" in output
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    again, anew = by_images(out)[12], by_images(tmp_path / "anew")[12]
    assert by_images(out)[8] == first
    assert again.training == first.training
    assert (again.run, again.artifact, again.weights_sha256) == (first.run, first.artifact, first.weights_sha256)
    for name in ("protocol", "suite", "dataset", "artifact", "compression", "weights_sha256"):
        assert getattr(again, name) == getattr(anew, name)
    assert again.evaluation.verdicts == anew.evaluation.verdicts
    assert again.evaluation.health == anew.evaluation.health
    assert again.provenance.trained == first.provenance.training
    assert anew.provenance.trained is None


def test_pgd_on_further_images_is_added_without_attacking_the_others_again(suite, out, tmp_path):
    first = by_images(out)[8]
    wide = ("--set", "evaluation.pgd.images=20")
    planned = " ".join(command("plan", suite, *wide, "--out", out)[1].split())

    code, output = command("run", suite, *wide, "--out", out)
    command("run", suite, *wide, "--out", tmp_path / "anew")

    assert code == 0, output
    assert f"only PGD on further images is measured: everything else is in its record on {first.protocol}" in planned
    assert "evaluate   not again, only PGD on further images" in output
    (record,), (anew,) = load_records(out), load_records(tmp_path / "anew")
    assert record.evaluation.wide == anew.evaluation.wide
    assert record.evaluation.wide.n_images == 20
    parts = {"wide": None, "notes": []}
    assert record.evaluation.model_copy(update=parts) == first.evaluation
    (note,) = record.evaluation.notes
    assert note.startswith(f"PGD on further images was added to this record on {anew.provenance.started[:10]}")
    assert record.cost == first.cost
    assert record.provenance.model_copy(update={"config": first.provenance.config}) == first.provenance
    assert "1 experiment: 1 done" in command("run", suite, *wide, "--out", out)[1]
    assert "1 experiment: 1 done" in command("run", suite, "--out", out)[1]


def test_other_test_images_are_one_sentence(suite, out):
    record = by_images(out)[8]
    dataset = record.dataset.model_copy(update={"test_sha256": "0" * 64})
    save_record(record.model_copy(update={"dataset": dataset}), out)

    assert "was made from other test images or labels of digits" in refusal("run", suite, *WIDE, "--out", out)
    experiment = Experiment.model_validate(record.provenance.config)
    with pytest.raises(UserError, match="was attacked on other images of digits than those of --data-dir"):
        recorded_evaluation(by_images(out)[8], experiment, load_test("digits", None))


def test_it_is_done_then_and_can_be_measured_a_third_time(suite, out):
    command("run", suite, *MORE, "--out", out)

    assert "1 experiment: 1 done" in command("run", suite, *MORE, "--out", out)[1]
    code, output = command("run", suite, "--set", "evaluation.images=10", "--out", out)
    assert code == 0, output
    assert "not again" in output
    assert len({record.provenance.training.started for record in load_records(out)}) == 1


def test_plan_says_so_and_counts_no_training(suite, out):
    _, output = command("plan", suite, *MORE, "--out", out)
    words = " ".join(output.split())

    assert f"its network is measured and not trained: it already has a record on {by_images(out)[8].protocol}" in words
    assert "3 epochs 0 passes 0.00e0 FLOPs" in words


@pytest.mark.parametrize("harm", ["gone", "edited"])
def test_without_the_very_file_it_is_trained(suite, out, harm):
    path = artifact_path(out, by_images(out)[8].run)
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"?")

    assert "measured and not trained" not in command("plan", suite, *MORE, "--out", out)[1]


def test_other_training_images_are_one_sentence(suite, out):
    record = by_images(out)[8]
    dataset = record.dataset.model_copy(update={"train_sha256": "0" * 64})
    save_record(record.model_copy(update={"dataset": dataset}), out)

    assert "was made from other training images or labels of digits" in refusal("run", suite, *MORE, "--out", out)
    assert len(load_records(out)) == 1
    with pytest.raises(UserError, match="was trained on other images of digits than those of --data-dir"):
        measured_artifact(out, by_images(out)[8], load_training("digits", None))


def test_a_run_that_another_method_begins_with_is_trained(suite, out):
    suite.write_text(HYDRA, encoding="utf-8")

    code, output = command("run", suite, *MORE, "--out", out)

    assert code == 0, output
    assert "not again" not in output
    assert sorted(record.method.name for record in load_records(out)) == ["at", "at", "hydra"]


@pytest.mark.parametrize("methods", ["at,hydra", "hydra"])
def test_a_first_phase_is_not_needed_where_the_network_is_only_measured(suite, run_of_both, tmp_path, methods):
    suite.write_text(HYDRA, encoding="utf-8")
    out = shutil.copytree(run_of_both, tmp_path / "both")

    code, output = command("run", suite, *MORE, "--methods", methods, "--out", out)

    assert code == 0, output
    assert output.count("train      not again") == len(methods.split(","))
    assert len(load_records(out)) == 2 + len(methods.split(","))


def test_a_suite_of_another_name_leaves_a_record_that_agrees_with_itself(suite, out):
    suite.write_text(SUITE.replace("name: tiny", "name: other"), encoding="utf-8")

    assert command("run", suite, "--set", "evaluation.pgd.images=20", "--out", out)[0] == 0
    assert command("run", suite, *MORE, "--out", out)[0] == 0

    suites = {n: (record.suite, record.provenance.config["suite"]) for n, record in by_images(out).items()}
    assert suites == {8: ("tiny", "tiny"), 12: ("other", "other")}


def test_where_the_network_was_trained_is_recorded_whatever_measures_it(suite, out):
    record = by_images(out)[8]
    elsewhere = {"git_commit": None, "git_dirty": True, "device": "another", "threads": 3, "torch": "2.0"}
    save_record(record.model_copy(update={"provenance": record.provenance.model_copy(update=elsewhere)}), out)

    for images in (12, 10):
        assert command("run", suite, "--set", f"evaluation.images={images}", "--out", out)[0] == 0

    for images in (12, 10):
        provenance = by_images(out)[images].provenance
        assert provenance.trained.model_dump() == provenance.training.model_dump()
        assert provenance.trained.model_dump().items() >= elsewhere.items()
        assert provenance.device == record.provenance.device


def test_a_record_of_a_trained_network_is_written_as_before_there_were_others(out):
    assert "trained" not in by_images(out)[8].model_dump(mode="json")["provenance"]


def test_the_note_is_about_the_further_images_that_are_there(suite, out):
    for images in (16, 20, 18):
        assert command("run", suite, "--set", f"evaluation.pgd.images={images}", "--out", out)[0] == 0

    (record,) = load_records(out)
    assert record.evaluation.wide.n_images == 20
    assert len(record.evaluation.notes) == 1


def test_a_method_s_file_may_have_been_renamed(tmp_path, suite):
    folder = tmp_path / "out"
    suite.write_text(SUITE.replace("[{method: at", "[{method: METHOD").replace(", options: {lr: 0.2}", ""))
    code = "from methods.at import AT\n\n\nclass Own(AT):\n    name = 'own'\n"
    for name, images in (("one.py", 8), ("other.py", 12)):
        (tmp_path / name).write_text(code, encoding="utf-8")
        where = ("--methods", f"{tmp_path / name}:Own", "--set", f"evaluation.images={images}", "--out", folder)
        code_, output = command("run", suite, *where)
        assert code_ == 0, output

    record = by_images(folder)[12]
    assert (record.method.target, record.provenance.config["method"]["target"]) == ("other.py:Own", "other.py:Own")


def test_the_row_page_shows_where_the_network_was_trained(suite, out):
    command("run", suite, *MORE, "--out", out)
    record = by_images(out)[12]
    commit = "1234567890" * 4
    trained = record.provenance.trained.model_copy(update={"git_commit": commit, "git_dirty": True})
    provenance = record.provenance.model_copy(update={"trained": trained})
    save_record(record.model_copy(update={"provenance": provenance}), out)

    assert command("leaderboard", "--out", out)[0] == 0
    (page,) = (out / "site" / "rows" / record.protocol).glob("*.html")
    assert f"{commit}</code>, with uncommitted changes, torch" in page.read_text(encoding="utf-8")
