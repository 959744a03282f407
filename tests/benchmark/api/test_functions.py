"""The functions return what the commands print, without typer, and print nothing by themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import benchmark
from benchmark.__main__ import main
from benchmark.errors import UserError
from benchmark.files.places import LEADERBOARDS, ROOT
from benchmark.results.store import load_records

SUITE = """
name: small
dataset: digits
train_images: 96
epsilon: 200/255
architecture: {name: resnet6, width: 0.125}
grid: {weights: fp, objective: pgd}
methods: [{method: at}]
training: {epochs: 1, batch_size: 32, attack: {num_steps: 1}, selection_steps: 1}
evaluation: {images: 4, pgd: {steps: 2}}
"""
PAIR = ("1b4b03", "4e0c80")


@pytest.fixture
def command(monkeypatch, capfd):
    """Return a function that runs the command line in this process and returns exit code and stdout."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["python -m benchmark", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, capfd.readouterr().out

    return run


def test_a_notebook_user_needs_no_typer():
    code = (
        "import sys, benchmark\n"
        "for name in benchmark.__all__: getattr(benchmark, name)\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('typer', 'click')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT)})


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, benchmark; print([n for n in ('torch', 'pandas', 'pydantic', 'numpy') if n in sys.modules])"
    finished = subprocess.run(
        [sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert finished.stdout == "[]\n"


def test_run_returns_what_the_command_prints(tmp_path, monkeypatch, command, capfd):
    monkeypatch.chdir(tmp_path)
    suite = tmp_path / "small.yaml"
    suite.write_text(SUITE, encoding="utf-8")
    settings = {"training.epochs": 2, "epsilon": "100/255"}
    planned = benchmark.plan(suite, settings=settings, out="out")
    lines = []
    result = benchmark.run(suite, settings=settings, out="out", jobs=1, device="cpu", report=lines.append)
    assert capfd.readouterr() == ("", "")
    typed = (suite, "--set", "training.epochs=2", "--set", "epsilon=100/255", "--out", "out")
    code, printed = command("run", *typed, "--jobs", 1, "--device", "cpu")

    assert result.ok and not result.failed and not result.refused and code == 0
    (record,) = result.records
    assert load_records(tmp_path / "out") == [record]
    assert [item.state for item in planned.experiments] == ["todo"]
    assert [record.run] == planned.frame()["run"].tolist() and record.training.epochs == 2
    assert any(line.startswith(f"done   {record.run}") for line in lines)
    # The command resumes: there is nothing left to do, and the boards are those that the function returned.
    assert printed == f"1 experiment: 1 done, 0 to run, 1 in parallel on cpu\n{result.text}\n"
    assert str(result) == result.text and result.boards.keys() == {record.protocol}
    done = benchmark.plan(suite, settings=settings, out="out")
    assert [item.state for item in done.experiments] == ["done"]
    assert command("plan", *typed) == (0, f"{done}\n")


def test_lists_dictionaries_and_numbers_ask_for_what_the_command_line_asks_for(tmp_path, command):
    options = {"methods": ["at", "edge_popup"], "seeds": [0, 1], "settings": {"training.attack.num_steps": 2}}
    planned = benchmark.plan("quickstart", **options, out=tmp_path)
    typed = ("--methods", "at,edge_popup", "--seeds", "0,1", "--set", "training.attack.num_steps=2")

    assert command("plan", "quickstart", *typed, "--out", tmp_path) == (0, f"{planned.text}\n")
    frame = planned.frame()
    assert set(frame["method"]) == {"at", "edge_popup"} and set(frame["seed"]) == {0, 1}
    assert (frame["flops"] > 0).all() and frame["seconds"].isna().all()


@pytest.mark.parametrize("value", [5, 0.1, 1e-5, True, None, "8/255", "012", [0.1, "global"], {"steps": 5}])
def test_a_setting_reaches_the_suite_as_the_value_it_is(value):
    from benchmark.api.requests import request_of
    from benchmark.suite.overrides import apply_override

    request = request_of(None, None, None, None, None, {"a.b": value}, None, "out")
    document: dict = {}
    apply_override(document, request.overrides[0])
    assert document == {"a": {"b": value}} and type(document["a"]["b"]) is type(value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"settings": "training.epochs=5"}, "settings must be a dictionary"),
        ({"settings": {"training.epochs": torch.nn}}, "settings: 'training.epochs' must be a dotted name"),
        ({"settings": {"trainig.epochs": 5}}, "trainig"),
        ({"seeds": 0.5}, "seeds must be a whole number"),
        ({"seeds": [True]}, "seeds must be a whole number"),
        ({"methods": 3}, "methods must be 'all'"),
        ({"dataset": 3}, "dataset must be a name as text"),
        ({"preset": "papr"}, "unknown preset 'papr'. Did you mean paper?"),
        ({"out": ""}, "out must be a path"),
        ({"data_dir": 3}, "data_dir must be a path"),
        ({"gpus": 0}, "gpus must be a whole number of at least 1; got 0"),
        ({"shards": None}, "shards must be a whole number of at least 1; got None"),
    ],
)
def test_a_mistake_in_a_request_ends_in_one_sentence(tmp_path, options, reason):
    with pytest.raises(UserError) as caught:
        benchmark.plan("quickstart", **{"out": tmp_path} | options)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"jobs": 0}, {"jobs": "2"}, {"report": "print"}, {"device": "tpu"}])
def test_a_mistake_in_a_run_starts_nothing(tmp_path, options):
    with pytest.raises(UserError, match="|".join(options)):
        benchmark.run("quickstart", out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_compare_returns_what_the_command_prints(command, tmp_path, monkeypatch):
    comparison = benchmark.compare(*PAIR)
    assert command("compare", *PAIR, "--out", LEADERBOARDS) == (0, comparison.text)
    monkeypatch.chdir(tmp_path)
    assert benchmark.compare(*PAIR, board=LEADERBOARDS).text == str(comparison)

    a, b = (each[0].evaluation for each in (comparison.a, comparison.b))
    frame = comparison.frame()
    assert frame.loc["clean", ["a", "b"]].tolist() == [a.clean_accuracy, b.clean_accuracy]
    assert frame.loc["robust", ["a", "b"]].tolist() == [a.best_known_accuracy, b.best_known_accuracy]
    robust = comparison.measures["robust"].test
    assert (len(comparison.only_a), len(comparison.only_b)) == (robust.only_a, robust.only_b)
    assert " ".join(comparison.text.split()).endswith(comparison.conclusion)
    assert comparison.better is None and robust.p_value > 0.05
    assert benchmark.compare("f5ac9c", "1b4b03").better == "a" and benchmark.compare("1b4b03", "f5ac9c").better == "b"


@pytest.mark.parametrize(
    ("rows", "options", "reason"),
    [
        ((3, "1b4b03"), {}, "a must be the name of a row"),
        (("1b4b03", None), {}, "b must be the name of a row"),
        (PAIR, {"board": "lacking"}, "there is no folder lacking; give board"),
        (PAIR, {"protocol": "x"}, "there is no protocol 'x'"),
    ],
)
def test_a_mistake_in_a_comparison_ends_in_one_sentence(rows, options, reason):
    with pytest.raises(UserError, match=reason):
        benchmark.compare(*rows, **options)


def test_reproduce_returns_what_the_command_prints(demo, tmp_path, monkeypatch, command, capfd):
    """AutoAttack itself is the work of tests of `evaluate`; what it would have found is what the record says."""
    from benchmark.review import reproducing

    monkeypatch.chdir(tmp_path)
    record = next(record for record in load_records(demo) if record.method.name == "at")
    monkeypatch.setattr(reproducing, "evaluate", lambda *args, **options: record.evaluation)
    threads = torch.get_num_threads()
    reproduction = benchmark.reproduce("at/fp", board=demo)

    assert capfd.readouterr() == ("", "") and torch.get_num_threads() == threads
    assert reproduction.consistent and reproduction.n == 24 and reproduction.record == record
    assert {each.name: each.lost + each.gained for each in reproduction.agreements} == dict.fromkeys(
        ("clean", "pgd", "autoattack"), 0
    )
    code, printed = command("reproduce", "at/fp", "--out", demo)
    before = printed.removesuffix(f"\n{reproduction.text}\n")
    assert code == 0 and before != printed
    assert not before or (before.startswith("note ") and before.count("\n") == 1)  # of other kernels, if there are any
    assert str(reproduction) == reproduction.text
