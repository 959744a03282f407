"""What the workflow for proposals decides on honest and hostile branches.

Its steps run here as GitHub runs them, in a small repository: the checkouts by git, each `run` by bash, word for word.
The base has a program `benchmark` that writes down its arguments; every program of a proposal leaves a trace when run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from benchmark.__main__ import app
from benchmark.submission.proposal import Decision, Kind, Refused, commands, decide

ROOT = Path(__file__).resolve().parents[1]
NEEDED = [  # of the package, by the decision
    "benchmark/__init__.py",
    "benchmark/files/__init__.py",
    "benchmark/files/git_diff.py",
    "benchmark/leaderboard/__init__.py",
    "benchmark/leaderboard/pages/readme_markers.py",
    "benchmark/submission/__init__.py",
    "benchmark/submission/proposal.py",
]
README = "About.\n<!-- begin table: leaderboards p -->\nrank 1: a\n<!-- end table -->\nMore.\n"
BASE = {
    **{path: (ROOT / path).read_text(encoding="utf-8") for path in NEEDED},
    "benchmark/__main__.py": """
import json, os, sys
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
print("::set-output name=kind::code")
sys.exit(int(os.environ["EXIT_CODE"]))
""",
    "Makefile": ".PHONY: install\ninstall:\n\tmkdir -p .venv/bin && ln -sf $(PYTHON) .venv/bin/python\n",
    ".gitignore": ".venv/\nproposed/\n",
    ".gitmodules": '[submodule "s"]\n\tpath = leaderboards/sub\n\turl = ./x\n\tignore = all\n',
    "README.md": README,
    "leaderboards/p.md": "rank 1: a",
    "leaderboards/records/p/a.json": "a",
    "leaderboards/submissions/pending/record.json": "pending",
    "leaderboards/submissions/other/record.json": "other",
}

# Proposals: the text of each changed path; None deletes it. A mode in angle brackets makes an entry of that mode.
TRACE = "import os\nopen(os.environ['TRACE'], 'a').write(__file__)\n"
CODE = dict.fromkeys(["benchmark/__main__.py", "benchmark/submission/proposal.py", "sitecustomize.py"], TRACE)
WORKFLOW = {
    ".github/workflows/proposal.yml": "on: pull_request\n",
    "Makefile": ".PHONY: install\ninstall:\n\ttouch $(TRACE)\n",
}
NEW = {"leaderboards/submissions/new/record.json": "new"}
PENDING = {"leaderboards/submissions/pending/record.json": "changed"}
TAKEN = {"leaderboards/submissions/pending/record.json": None}
RECORD = {"leaderboards/records/p/mine.json": "mine"}
TABLE = {"README.md": README.replace("rank 1: a", "rank 1: mine")}
PROSE = {"README.md": README.replace("About", "All about")}
BOTH = {"README.md": TABLE["README.md"].replace("About", "All about")}
BESIDE = "a submission changes its own folder below leaderboards/submissions/ only, not "
OWN = "changes of leaderboards/ need a proposal of their own, not "
HIDDEN = "no hidden file belongs on a board, not "
FILES = "only plain files belong on a board, not "
NAME = "a submission's name is letters, digits and . _ + - only, not "

REFUSED = {
    "a submission and a workflow": (NEW | WORKFLOW, f"{BESIDE}'.github/workflows/proposal.yml', 'Makefile'"),
    "a submission and code": (NEW | CODE, f"{BESIDE}'benchmark/__main__.py'"),
    "a submission and the README's table": (NEW | TABLE, f"{BESIDE}'README.md'"),
    "a submission and a record": (NEW | RECORD, f"{BESIDE}'leaderboards/records/p/mine.json'"),
    "a submission and a page": (NEW | {"leaderboards/p.md": "mine"}, f"{BESIDE}'leaderboards/p.md'"),
    "a submission and another taken away": (NEW | TAKEN, f"{BESIDE}'leaderboards/submissions/pending/record.json'"),
    "checks and code": (
        {"leaderboards/checks/p/a.json": "checks"} | CODE,
        f"{OWN}'benchmark/__main__.py'",
    ),
    "a record and code": (RECORD | CODE, f"{OWN}'benchmark/__main__.py'"),
    "a pending one taken away and code": (TAKEN | CODE, f"{OWN}'benchmark/__main__.py'"),
    "the README's table and its prose": (BOTH, f"{OWN}'README.md'"),
    "a space": ({"leaderboards/submissions/a b/record.json": ""}, f"{NAME}'leaderboards/submissions/a b/record.json'"),
    "lines that are commands": (
        {"leaderboards/submissions/a\n::set-output name=kind::code\n##[error]/x": ""},
        rf"{NAME}'leaderboards/submissions/a\n::set-output name=kind::code\n##[error]/x'",
    ),
    "an option": ({"leaderboards/submissions/--accept/record.json": ""}, NAME),
    "dots": ({"leaderboards/submissions/..a/record.json": ""}, f"{HIDDEN}'leaderboards/submissions/..a/record.json'"),
    "attributes": (
        RECORD | {"leaderboards/records/.gitattributes": "*.json ident"},
        f"{HIDDEN}'leaderboards/records/.gitattributes'",
    ),
    "capitals": ({"Leaderboards/submissions/new/x": ""}, "boards are in leaderboards/, spelled so, not 'Leaderboards/"),
    "a link": ({"leaderboards/records/p/b.json": "<120000>"}, f"{FILES}'leaderboards/records/p/b.json'"),
    "an executable": (NEW | {"leaderboards/submissions/new/x": "<100755>"}, f"{FILES}'leaderboards/submissions/new/x'"),
    "a submodule that .gitmodules hides": ({"leaderboards/sub": "<160000>"}, f"{FILES}'leaderboards/sub'"),
    "a link for all boards": (
        {path: None for path in BASE if path.startswith("leaderboards/")} | {"leaderboards": "<120000>"},
        f"{FILES}'leaderboards'",
    ),
}
AUDITED = {
    "a record": RECORD,
    "a record, and a pending one taken away": RECORD | TAKEN,
    "checks of a row": {"leaderboards/checks/p/a.json": "checks"},
    "a pending one taken away": TAKEN,
    "what a maintainer changes to accept a row": RECORD | TAKEN | TABLE | {"leaderboards/p.md": "mine"},
    "the README's table": TABLE,
    "a file beside the submissions": {"leaderboards/submissions/a\n--out=x": ""},
}


def git(folder, *arguments, **options):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout.strip()


def commit(folder, files):
    """Commit files by their paths; see REFUSED."""
    entries = ""
    for path, text in files.items():
        if text is None:
            (folder / path).unlink()
        elif mode := re.fullmatch(r"<(\d+)>", text):
            content = git(folder, "rev-parse", "HEAD" if mode[1] == "160000" else "HEAD:README.md")
            entries += f"{mode[1]} {content}\t{path}\0"
        else:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
    git(folder, "add", "-A")
    git(folder, "update-index", "--add", "-z", "--index-info", input=entries)
    git(folder, "commit", "-q", "-m", "change")


@dataclass
class Outcome:
    """What the workflow did: its colour, the commands of the base that ran, and its log."""

    green: bool
    calls: list[list[str]]
    log: str


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Make the repository that proposals are made to: the real decision, and a program that writes down its calls."""
    folder = tmp_path_factory.mktemp("base")
    git(folder, "init", "-q", "-b", "main")
    commit(folder, BASE)
    return folder


@pytest.fixture(scope="module")
def workspace(base, tmp_path_factory):
    """Check out the base, as the first step of the workflow does."""
    folder = tmp_path_factory.mktemp("runner") / "workspace"
    git(base, "clone", "-q", str(base), str(folder))
    return folder


@pytest.fixture
def propose(base, workspace, tmp_path):
    """Return a function that makes a proposal and runs the workflow for it."""

    def run(files, exit_code=0):
        git(tmp_path, "clone", "-q", str(base), "work")
        commit(tmp_path / "work", files)
        return run_workflow(workspace, tmp_path / "work", exit_code)

    yield run
    shutil.rmtree(workspace / "proposed", ignore_errors=True)


def run_workflow(workspace, work, exit_code=0):
    """Run the job for the proposal that is checked out in `work`, up to the first step that fails."""
    (job,) = yaml.safe_load((ROOT / ".github/workflows/proposal.yml").read_text(encoding="utf-8"))["jobs"].values()
    base, proposed, *steps = job["steps"]
    assert base["with"]["ref"] == job["env"]["BASE"] == "${{ github.sha }}"
    assert proposed["with"]["ref"] == "${{ github.event.pull_request.head.sha }}"
    checkout = ["git", "clone", "-q", str(work), str(workspace / proposed["with"]["path"])]
    trace, calls, output = (work.parent / name for name in ("trace", "calls", "output"))
    calls.touch()
    output.touch()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"BASE": git(workspace, "rev-parse", "HEAD"), "GITHUB_OUTPUT": str(output)}
    environment |= {"TRACE": str(trace), "CALLS": str(calls), "EXIT_CODE": str(exit_code), "PYTHON": sys.executable}
    log = ""
    for step in [{"run": shlex.join(checkout)}, *steps]:
        assert step.get("if") in (None, "steps.change.outputs.kind != 'code'")
        if "run" not in step or ("if" in step and output.read_text() == "kind=code\n"):
            continue
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        result = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True)
        log += result.stdout + result.stderr
        if result.returncode:
            break
    assert not trace.exists(), "code of the proposal was run"
    return Outcome(result.returncode == 0, [json.loads(line) for line in calls.read_text().splitlines()], log)


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_proposal_is_refused_before_anything_is_installed(propose, name):
    files, reason = REFUSED[name]

    outcome = propose(files)

    assert not outcome.green
    assert f"refused: {reason}" in outcome.log
    assert outcome.calls == []


def test_a_folder_that_leads_outside_does_not_come_out_of_git(base, workspace, propose, tmp_path):
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", str(base), "work")
    entry = f"100644 blob {git(work, 'rev-parse', 'HEAD:README.md')}\trecord.json\n"
    for folder in ("..", "submissions", "leaderboards"):
        tree = git(work, "mktree", input=entry)
        entry = f"040000 tree {tree}\t{folder}\n"
    git(work, "update-ref", "HEAD", git(work, "commit-tree", tree, "-p", "HEAD", "-m", "folder"))

    outcome = run_workflow(workspace, work)

    assert not outcome.green
    assert "invalid path" in outcome.log


def test_a_history_with_two_last_common_commits_is_refused(base, tmp_path):
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", str(base), "work")
    left, right = (git(work, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", name) for name in ("left", "right"))
    head, target = (
        git(work, "commit-tree", "HEAD^{tree}", "-p", left, "-p", right, "-m", name) for name in ("head", "target")
    )
    git(work, "reset", "-q", head)

    with pytest.raises(Refused, match="2 last common commits; rebase it onto the base"):
        decide(work, target)


@pytest.mark.parametrize("files", [CODE, WORKFLOW, PROSE], ids=["code", "workflow", "prose"])
def test_a_proposal_without_boards_is_green_at_once_and_is_said_to_prove_nothing(propose, files):
    outcome = propose(files)

    assert outcome.green
    assert "this check is about boards only and says nothing about code or workflows" in outcome.log
    assert outcome.calls == []


def test_submissions_are_verified_and_no_line_of_theirs_is_a_command_to_the_runner(propose):
    outcome = propose(NEW | PENDING)

    assert outcome.green
    assert outcome.calls == [["verify", f"proposed/leaderboards/submissions/{name}"] for name in ("new", "pending")]
    token = re.findall(r"^::stop-commands::(\w+)$", outcome.log, flags=re.MULTILINE)[-1]
    assert outcome.log.index(token) < outcome.log.index("::set-output") < outcome.log.index(f"\n::{token}::")


@pytest.mark.parametrize("exit_code", [1, 2])
def test_a_submission_that_verify_does_not_accept_is_red(propose, exit_code):
    outcome = propose(NEW, exit_code)

    assert not outcome.green
    assert f"red: verify ended with exit code {exit_code}" in outcome.log


@pytest.mark.parametrize("name", AUDITED)
def test_any_other_change_of_the_boards_is_audited_and_red_if_the_audit_is(propose, base, name):
    outcome = propose(AUDITED[name], exit_code=1)

    since = git(base, "rev-parse", "main")
    assert outcome.calls == [
        ["audit", "--out", "proposed/leaderboards", "--since", since],
        ["leaderboard", "--check", "--out", "proposed/leaderboards"],
    ]
    assert not outcome.green
    assert "red: audit ended with exit code 1; if a data set is missing here, a maintainer runs it" in outcome.log


def test_a_change_that_passes_the_audit_is_green(propose):
    assert propose(RECORD).green


def test_the_command_line_has_the_commands_that_decide():
    wanted = [each for kind in Kind for each in commands(Decision(kind, "abc", ("new",)), Path("proposed"))]

    assert {command[0] for command in wanted} <= set(get_command(app).commands)
