"""A network that stands under one protocol is measured under another one without being trained again."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.results.store import artifact_path, load_records, save_record

SUITE = """
name: tiny
dataset: digits
train_images: 48
epsilon: 200/255
architecture: {name: resnet10, width: 0.0625}
grid: {weights: fp}
methods:
  - {method: at, options: {lr: 0.2}}
training: {epochs: 3, batch_size: 16, attack: {num_steps: 2}, selection_steps: 2}
evaluation: {images: 8, pgd: {steps: 5}}
"""
MORE = ("--set", "evaluation.images=12")


def command(*words):
    """Return exit code and output of a command."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return path


@pytest.fixture
def out(suite, tmp_path):
    """Return the folder of a run on eight images, without what lies in its work folders."""
    folder = tmp_path / "out"
    code, output = command("run", suite, "--out", folder)
    assert code == 0, output
    (folder / "work").rename(tmp_path / "gone")
    return folder


def by_images(folder):
    return {record.evaluation.n_images: record for record in load_records(folder)}


def test_the_file_is_measured_as_a_training_anew_would_have_been(suite, out, tmp_path):
    first = by_images(out)[8]
    path = artifact_path(out, first.run)
    before = (path.read_bytes(), path.stat().st_mtime_ns)

    code, output = command("run", suite, *MORE, "--out", out)
    command("run", suite, *MORE, "--out", tmp_path / "anew")

    assert code == 0, output
    assert f"train      not again: this network stands on {first.protocol}" in output
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    again, anew = by_images(out)[12], by_images(tmp_path / "anew")[12]
    assert by_images(out)[8] == first
    assert again.training == first.training
    assert (again.run, again.artifact, again.weights_sha256) == (first.run, first.artifact, first.weights_sha256)
    for name in ("protocol", "suite", "dataset", "artifact", "compression", "weights_sha256"):
        assert getattr(again, name) == getattr(anew, name)
    assert again.evaluation.verdicts == anew.evaluation.verdicts
    assert again.evaluation.health == anew.evaluation.health
    assert again.provenance.trained_commit == first.provenance.git_commit
    assert anew.provenance.trained_commit is None


def test_pgd_on_further_images_is_added_without_attacking_the_others_again(suite, out, tmp_path):
    first = by_images(out)[8]
    wide = ("--set", "evaluation.pgd.images=20")
    planned = " ".join(command("plan", suite, *wide, "--out", out)[1].split())

    code, output = command("run", suite, *wide, "--out", out)
    command("run", suite, *wide, "--out", tmp_path / "anew")

    assert code == 0, output
    assert f"only PGD on further images is measured: all else stands on {first.protocol}" in planned
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
    assert "1 experiments: 1 done" in command("run", suite, *wide, "--out", out)[1]
    assert "1 experiments: 1 done" in command("run", suite, "--out", out)[1]


def test_other_test_images_are_one_sentence(suite, out):
    record = by_images(out)[8]
    dataset = record.dataset.model_copy(update={"test_sha256": "0" * 64})
    save_record(record.model_copy(update={"dataset": dataset}), out)

    code, output = command("run", suite, "--set", "evaluation.pgd.images=20", "--out", out)

    assert code == 1
    assert "was attacked on other images of digits than those of --data-dir" in " ".join(output.split())


def test_it_is_done_then_and_can_be_measured_a_third_time(suite, out):
    command("run", suite, *MORE, "--out", out)

    assert "1 experiments: 1 done" in command("run", suite, *MORE, "--out", out)[1]
    code, output = command("run", suite, "--set", "evaluation.images=10", "--out", out)
    assert code == 0, output
    assert "not again" in output
    commits = {record.provenance.trained_commit or record.provenance.git_commit for record in load_records(out)}
    assert len(commits) == 1


def test_plan_says_so_and_counts_no_training(suite, out):
    _, output = command("plan", suite, *MORE, "--out", out)
    words = " ".join(output.split())

    assert f"its network is measured and not trained: it stands on {by_images(out)[8].protocol}" in words
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

    code, output = command("run", suite, *MORE, "--out", out)

    assert code == 1
    assert "was trained on other images of digits than those of --data-dir; give the folder" in " ".join(output.split())
    assert len(load_records(out)) == 1


def test_a_run_that_another_method_begins_with_is_trained(suite, out):
    suite.write_text(
        SUITE.replace("training:", "  - {method: hydra, keep_ratio: 0.5, first_phase: at}\ntraining:"), encoding="utf-8"
    )

    code, output = command("run", suite, *MORE, "--out", out)

    assert code == 0, output
    assert "not again" not in output
    assert sorted(record.method.name for record in load_records(out)) == ["at", "at", "hydra"]


def test_the_row_page_names_the_commit_that_trained(suite, out):
    command("run", suite, *MORE, "--out", out)
    record = by_images(out)[12]
    commit = "1234567890" * 4
    provenance = record.provenance.model_copy(update={"trained_commit": commit})
    save_record(record.model_copy(update={"provenance": provenance}), out)

    assert command("leaderboard", "--out", out)[0] == 0
    pages = [page.read_text(encoding="utf-8") for page in (out / "site" / "rows" / record.protocol).glob("*.html")]
    assert [commit in page for page in pages] == [True]
