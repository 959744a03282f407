"""Commands in a shell: paths with `~`, empty paths, Ctrl-C, other packages of the same names, full disks."""

from __future__ import annotations

import errno
import inspect
import os
import signal
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from benchmark.__main__ import app

ROOT = Path(__file__).resolve().parents[3]
SUITE = """
name: tiny
dataset: digits
train_images: 48
epsilon: 200/255
architecture: {name: resnet10, width: 0.0625}
grid: {weights: binary, keep_ratio: 0.3, allocation: 1e0}
methods: [{method: at}]
training: {epochs: 3, batch_size: 16, attack: {num_steps: 2}, selection_steps: 2}
evaluation: {images: 8, pgd: {steps: 5}}
"""


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return path


def start(*arguments, cwd, **environment):
    """Start a command as a shell does, in a process group of its own, to which Ctrl-C is sent."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmark", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def path_parameters():
    """Yield each parameter of a command that is a path, with its typer annotations."""
    for registered in app.registered_commands:
        hints = typing.get_type_hints(registered.callback, include_extras=True)
        for name in inspect.signature(registered.callback).parameters:
            kind, *extras = typing.get_args(hints[name]) or (hints[name],)
            if "Path" in str(kind):
                yield pytest.param(extras, id=f"{registered.name or registered.callback.__name__}-{name}")


@pytest.mark.parametrize("extras", list(path_parameters()))
def test_every_path_of_every_command_uses_the_same_parser(extras):
    assert extras and extras[0].parser is str and extras[0].callback.__module__ == "benchmark.cli.paths"


EMPTY = [
    (["run", "--out", ""], "--out"),
    (["run", "--out", "  "], "--out"),
    (["run", "--data-dir", ""], "--data-dir"),
    (["plan", "--out="], "--out"),
    (["evaluate", ""], "path"),
    (["merge", "a.json", ""], "files"),
    (["export", "a", "--onnx", ""], "--onnx"),
    (["reproduce", "at", "--out", ""], "--out"),
    (["challenge", "at", "", "--credit", "me"], "images"),
    (["submit", "at", "--to", "", "--credit", "me"], "--to"),
    (["submit", "at", "--to", "a", "--board", "", "--credit", "me"], "--board"),
    (["verify", ""], "folder"),
    (["leaderboard", "--out", ""], "--out"),
    (["figures", "--out", ""], "--out"),
    (["compare", "a", "b", "--out", ""], "--out"),
    (["bench", "--out", ""], "--out"),
]


@pytest.mark.parametrize(("arguments", "name"), EMPTY, ids=[" ".join(words) for words, _ in EMPTY])
def test_an_empty_path_is_refused_before_anything_is_done(tmp_path, command, arguments, name):
    code, out, err = command(*arguments)

    assert (code, out) == (2, "")
    assert err == f"error: {name}: the path is empty; leave the option out, or name a file or folder\n"
    assert list(tmp_path.iterdir()) == []


HOME = [
    ["plan", "~/tiny.yaml", "--methods", "~/mine.py:Mine", "--out", "~/out"],
    ["evaluate", "~/none"],
    ["merge", "~/none"],
    ["export", "~/none", "--onnx", "~/x.onnx"],
    ["reproduce", "at", "--out", "~/none"],
    ["challenge", "at", "x", "--credit", "me", "--out", "~/none"],
    ["submit", "at", "--to", "~/to", "--out", "~/none", "--credit", "me"],
    ["verify", "~/none"],
    ["leaderboard", "--out", "~/none"],
    ["figures", "--out", "~/none"],
    ["compare", "a", "b", "--out", "~/none"],
    ["check", "~/none.py:Mine"],
]


@pytest.mark.parametrize("arguments", HOME, ids=" ".join)
def test_a_tilde_is_the_home_folder(tmp_path, command, suite, monkeypatch, arguments):
    monkeypatch.setenv("HOME", str(suite.parent))

    code, _, err = command(*arguments)

    missing = "mine.py" if arguments[0] == "plan" else "none"
    assert code == 2 and str(suite.parent / missing) in err
    assert not [path for path in tmp_path.iterdir() if "~" in path.name]


def test_the_home_of_nobody_is_refused(tmp_path, command):
    code, _, err = command("run", "--out", "~no-such-user/out")

    assert (code, err.count("\n")) == (2, 1) and "there is no user of this name" in err
    assert list(tmp_path.iterdir()) == []


TAKEN = {
    "changelog": ("CHANGELOG.md", "is not the changelog of the boards"),
    "index": ("boards.md", "is not a page of the boards and would be overwritten"),
    "page of a site": ("site/index.html", "is not a page of the boards and would be overwritten"),
    "file called site": ("site", "is not a page of the boards and would be overwritten"),
    "file called artifacts": ("artifacts", "cannot write into"),
}


@pytest.mark.parametrize(("name", "sentence"), TAKEN.values(), ids=TAKEN)
def test_an_output_folder_with_other_files_is_refused_before_the_work(tmp_path, command, suite, name, sentence):
    path = tmp_path / "own" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine", encoding="utf-8")

    code, out, err = command("run", suite, "--out", "own")

    assert (code, out) == (2, "") and sentence in err and err.count("\n") == 1
    assert path.read_text(encoding="utf-8") == "mine"
    assert not list(tmp_path.rglob("history.jsonl"))


def test_a_file_in_place_of_the_folder_is_refused_before_the_work(command, suite):
    code, out, err = command("run", suite, "--out", suite)

    assert (code, out, err) == (2, "", f"error: {suite} is a file; give --out a folder\n")


def test_pages_never_replace_other_files(tmp_path, command):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "style.css").write_text("mine", encoding="utf-8")

    code, _, err = command("leaderboard", "--out", tmp_path)

    assert code == 2 and "style.css is not a page of the boards" in err
    assert [path.name for path in tmp_path.rglob("*")] == ["site", "style.css"]


def test_the_records_folder_itself_is_refused_with_its_parent_as_hint(tmp_path, command):
    (tmp_path / "own" / "records").mkdir(parents=True)

    code, _, err = command("compare", "a", "b", "--out", "own/records")

    assert code == 2 and err == "error: own/records holds no records/; give --out the folder that does, own\n"


@pytest.mark.parametrize("name", ["", "folder"])
def test_a_folder_is_not_a_suite(tmp_path, command, name):
    (tmp_path / "folder").mkdir()

    code, _, err = command("plan", name)

    assert code == 2 and f"there is no suite {name!r}" in err


def test_other_packages_of_the_same_names_do_not_break_a_run(tmp_path, suite):
    """With `python -m`, the current folder comes first on the path, for the command and its subprocesses."""
    for name in ("methods/__init__.py", "methods/base.py", "benchmark/data/__init__.py", "benchmark/launch/local.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('somebody else')", encoding="utf-8")

    process = start("run", suite, "--out", "out", "--set", "training.epochs=1", cwd=tmp_path)
    out, err = process.communicate()

    assert process.returncode == 0, out + err
    assert len(list((tmp_path / "out").rglob("*.json"))) >= 1


@pytest.mark.parametrize("name", ["methods.py", "methods/mine.py", "benchmark/notes.txt"])
def test_a_file_or_a_plain_folder_of_these_names_does_not_break_a_command(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raise SystemExit('somebody else')", encoding="utf-8")

    process = start("list", cwd=tmp_path)
    out, err = process.communicate()

    assert process.returncode == 0, err
    assert "edge_popup" in out


def test_evaluate_in_python_reports_that_another_package_hides_the_benchmarks(tmp_path):
    (tmp_path / "methods.py").touch()

    finished = subprocess.run(
        [sys.executable, "-c", "import benchmark; benchmark.evaluate"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )

    last = finished.stderr.strip().splitlines()[-1]
    assert f"the name `methods` leads to {tmp_path}" in last and "rename the other one" in last


INTERRUPTED = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except BaseException:
    raise ImportError("a library may raise this instead")
"""


@pytest.mark.parametrize("module", ["typer", "pydantic", "yaml", "torch"])
def test_ctrl_c_while_a_library_is_imported_ends_in_one_line(tmp_path, module):
    (tmp_path / f"{module}.py").write_text(INTERRUPTED, encoding="utf-8")

    process = start("plan", "quickstart", cwd=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    out, err = process.communicate()

    assert (process.returncode, out, err) == (130, "", "stopped\n")


@pytest.mark.parametrize("word", ["in parallel", "start "])
def test_ctrl_c_while_workers_are_started_ends_in_one_line(tmp_path, suite, word):
    process = start("run", suite, "--out", "out", "--set", "training.epochs=2000", cwd=tmp_path)
    for line in process.stdout:
        if word in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()

    assert (process.returncode, err) == (130, "stopped; run the same command again to resume\n")


def test_a_reader_that_closes_the_pipe_ends_the_command_silently(tmp_path):
    process = start("list", cwd=tmp_path)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()

    assert process.wait() in (1, -signal.SIGPIPE) and err == ""


@pytest.mark.parametrize(
    ("number", "name", "sentence"),
    [
        (errno.ENOSPC, "/disk/file", "/disk/file: No space left on device; free some space there"),
        (errno.ENOSPC, None, "error: standard output: No space left on device; free some space there"),
        (errno.EDQUOT, "/disk/file", "free some of your quota there"),
        (errno.EROFS, "/disk/file", "/disk/file: Read-only file system; name a writable folder"),
        (errno.EACCES, "/disk/file", "/disk/file: Permission denied; make it writable or name another folder"),
    ],
)
def test_a_system_error_is_one_sentence_with_path_and_remedy(command, monkeypatch, number, name, sentence):
    def refuse():
        raise OSError(number, os.strerror(number), name)

    monkeypatch.setattr("benchmark.suite.catalogue.catalogue", refuse)

    code, _, err = command("list")

    assert code == 2 and sentence in err and err.count("\n") == 1
