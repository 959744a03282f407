"""The workflows: what they may do, and what the one for proposals decides on hostile branches.

Its steps run here as GitHub runs them, in a small repository: the checkouts by git, each `run` by bash, word for word.
The base has a program `benchmark` that writes down its arguments; every program of a proposal leaves a trace when run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from benchmark.__main__ import app
from benchmark.submission.proposal import Decision, Kind, commands

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = {path.name: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
NEEDED = [  # of the package, by the decision
    "benchmark/__init__.py",
    "benchmark/leaderboard/__init__.py",
    "benchmark/leaderboard/readme_markers.py",
    "benchmark/submission/__init__.py",
    "benchmark/submission/proposal.py",
]
BENCHMARK = """
import json, os, sys
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
print("::set-output name=kind::code")
sys.exit(int(os.environ["EXIT_CODE"]))
"""
MAKEFILE = ".venv/.installed:\n\tmkdir -p .venv/bin && ln -s $(PYTHON) .venv/bin/python && touch $@\n"
TRACE = "import os\nopen(os.environ['TRACE'], 'a').write(__file__)\n"
README = "About.\n<!-- begin table: leaderboards p -->\nrank 1: a\n<!-- end table -->\nMore.\n"
IDENTITY = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]


def load(name):
    return yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def git(folder, *arguments):
    command = ["git", "-C", str(folder), *IDENTITY, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@dataclass
class Repository:
    """A clone in which a proposal is made; `path` names its files."""

    folder: Path

    def write(self, path, text="new\n"):
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def add_entry(self, mode, path):
        """Add a link, an executable or a submodule without having one."""
        content = git(self.folder, "rev-parse", "HEAD" if mode == "160000" else "HEAD:README.md")
        git(self.folder, "update-index", "--add", "--cacheinfo", f"{mode},{content},{path}")

    def add_tree(self, name):
        """Commit a folder of any name below the submissions, also one that no file system takes."""
        blob = git(self.folder, "rev-parse", "HEAD:README.md")
        tree = f"100644 blob {blob}\trecord.json\0"
        for part in (name, "submissions", "leaderboards"):
            made = subprocess.run(
                ["git", "-C", str(self.folder), "mktree", "-z"],
                input=tree.encode(),
                stdout=subprocess.PIPE,
                check=True,
            )
            tree = f"040000 tree {made.stdout.decode().strip()}\t{part}\0"
        made = subprocess.run(
            ["git", "-C", str(self.folder), "mktree", "-z"], input=tree.encode(), stdout=subprocess.PIPE, check=True
        )
        commit = git(self.folder, "commit-tree", made.stdout.decode().strip(), "-p", "HEAD", "-m", "tree")
        git(self.folder, "update-ref", "HEAD", commit)


@dataclass
class Outcome:
    """What the workflow for proposals did: its colour, the commands of the base, and its log."""

    green: bool
    calls: list[list[str]]
    log: str


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Make the repository that proposals are made to: the real decision, and a program that writes down its calls."""
    repository = Repository(tmp_path_factory.mktemp("base"))
    git(repository.folder, "init", "-q", "-b", "main")
    for path in NEEDED:
        repository.write(path, (ROOT / path).read_text(encoding="utf-8"))
    repository.write("benchmark/__main__.py", BENCHMARK)
    repository.write("Makefile", MAKEFILE)
    repository.write(".gitignore", ".venv/\nproposed/\n")
    repository.write(".gitmodules", '[submodule "s"]\n\tpath = leaderboards/sub\n\turl = ./x\n\tignore = all\n')
    repository.write(".github/workflows/proposal.yml", "on: pull_request_target\n")
    repository.write("README.md", README)
    for path in ("records/p/a.json", "submissions/pending/record.json", "submissions/other/record.json", "p.md"):
        repository.write(f"leaderboards/{path}", "old\n")
    git(repository.folder, "add", "-A")
    git(repository.folder, "commit", "-q", "-m", "base")
    return repository


@pytest.fixture
def propose(base, tmp_path):
    """Return a function that makes a proposal and runs the workflow for it."""

    def run(change, exit_code=0):
        work = Repository(tmp_path / "work")
        git(tmp_path, "clone", "-q", str(base.folder), "work")
        for path in ("benchmark/__main__.py", "benchmark/submission/proposal.py", "sitecustomize.py"):
            if change.__name__ in CODE:
                work.write(path, TRACE)
        change(work)
        git(work.folder, "add", "-A", "--", ".")
        if git(work.folder, "diff", "--cached", "--raw", "--ignore-submodules=none"):
            git(work.folder, "commit", "-q", "-m", "proposal")
        return run_workflow(base.folder, work.folder, tmp_path, exit_code)

    return run


def run_workflow(base, work, folder, exit_code):
    """Run the job for proposals from its first step to the first that fails."""
    (job,) = load("proposal.yml")["jobs"].values()
    workspace, log, outputs = folder / "workspace", "", {}
    files = {name: folder / name.lower() for name in ("CALLS", "TRACE", "GITHUB_OUTPUT")}
    files["CALLS"].touch()
    files["GITHUB_OUTPUT"].touch()
    github = {"github.sha": git(base, "rev-parse", "main"), "head": git(work, "rev-parse", "HEAD")}
    github["github.event.pull_request.head.sha"] = github["head"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {name: str(path) for name, path in files.items()}
    environment |= {name: filled(value, github) for name, value in job["env"].items()}
    environment |= {"EXIT_CODE": str(exit_code), "PYTHON": sys.executable}
    green = True
    for step in job["steps"]:
        assert step.get("if") in (None, "steps.change.outputs.kind != 'code'")
        if "if" in step and outputs["kind"] == "code":
            continue
        if "run" in step:
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        elif step["uses"].startswith("actions/checkout@"):
            place = workspace / step["with"].get("path", "")
            git(folder, "clone", "-q", "--no-checkout", str(work if "path" in step["with"] else base), str(place))
            command = ["git", "-C", str(place), "checkout", "-q", "--detach", filled(step["with"]["ref"], github)]
        else:
            continue
        result = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True)
        log += result.stdout + result.stderr
        outputs = dict(line.split("=") for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        if result.returncode:
            green = False
            break
    assert not files["TRACE"].exists(), "code of the proposal was run"
    return Outcome(green, [json.loads(line) for line in files["CALLS"].read_text().splitlines()], log)


def filled(text, values):
    return re.sub(r"\$\{\{ (\S+) \}\}", lambda match: values[match[1]], text)


def submission(work):
    work.write("leaderboards/submissions/new/record.json")


def two_submissions(work):
    work.write("leaderboards/submissions/new/record.json")
    work.write("leaderboards/submissions/pending/record.json")


def code(work):
    work.write("methods/new.py")


def workflow(work):
    work.write(".github/workflows/proposal.yml", "on: pull_request\n")
    work.write("Makefile", ".venv/.installed:\n\ttouch $(TRACE)\n")


def prose(work):
    work.write("README.md", README.replace("About", "All about"))


def submission_with_workflow(work):
    submission(work)
    workflow(work)


def submission_with_code(work):
    submission(work)
    work.write("benchmark/attacks.py")


def submission_with_table(work):
    submission(work)
    work.write("README.md", README.replace("rank 1: a", "rank 1: mine"))


def submission_with_record(work):
    submission(work)
    work.write("leaderboards/records/p/mine.json")


def submission_with_page(work):
    submission(work)
    work.write("leaderboards/p.md", "mine is first\n")


def submission_without_another(work):
    submission(work)
    shutil.rmtree(work.folder / "leaderboards/submissions/other")


def record_with_code(work):
    work.write("leaderboards/records/p/a.json")
    code(work)


def table_with_prose(work):
    work.write("README.md", README.replace("a\n<!-- end", "mine\n<!-- end").replace("More", "Less"))


def name_with_space(work):
    work.write("leaderboards/submissions/a b/record.json")


def name_with_lines(work):
    work.write("leaderboards/submissions/a\n::set-output name=kind::code\n##[error]/record.json")


def name_with_dash(work):
    work.write("leaderboards/submissions/--accept/record.json")


def name_with_dots(work):
    work.write("leaderboards/submissions/..a/record.json")


def name_that_leaves_the_folder(work):
    work.add_tree("..")


def name_in_capitals(work):
    work.write("Leaderboards/submissions/new/record.json")


def link(work):
    work.add_entry("120000", "leaderboards/submissions/new/record.json")
    os.symlink("/etc/passwd", work.folder / "leaderboards/submissions/new.json")


def executable(work):
    submission(work)
    (work.folder / "leaderboards/submissions/new/record.json").chmod(0o755)


def submodule(work):
    work.add_entry("160000", "leaderboards/sub")  # whose changes the base's .gitmodules asks git to ignore
    work.folder.joinpath("leaderboards/sub").mkdir()


def boards_as_link(work):
    shutil.rmtree(work.folder / "leaderboards")
    os.symlink("benchmark", work.folder / "leaderboards")


def history_of_its_own(work):
    git(work.folder, "checkout", "-q", "--orphan", "another")
    submission(work)


def record(work):
    work.write("leaderboards/records/p/a.json")


def record_and_pending(work):
    shutil.rmtree(work.folder / "leaderboards/submissions/pending")
    work.write("leaderboards/records/p/mine.json")


def pending_deleted(work):
    shutil.rmtree(work.folder / "leaderboards/submissions/pending")


def accepted(work):
    record_and_pending(work)
    work.write("README.md", README.replace("rank 1: a", "rank 1: mine"))


def table_alone(work):
    work.write("README.md", README.replace("rank 1: a", "rank 1: mine"))


def stray_file(work):
    work.write("leaderboards/submissions/a\n--out=x")


CODE = {"code", "workflow", "submission_with_code", "submission_with_workflow", "record_with_code"}
REFUSED = [
    (submission_with_workflow, "a submission changes its own folder"),
    (submission_with_code, "a submission changes its own folder"),
    (submission_with_table, "not 'README.md'"),
    (submission_with_record, "not 'leaderboards/records/p/mine.json'"),
    (submission_with_page, "not 'leaderboards/p.md'"),
    (submission_without_another, "not 'leaderboards/submissions/other/record.json'"),
    (record_with_code, "changes of leaderboards/ belong into a proposal of their own"),
    (table_with_prose, "changes of leaderboards/ belong into a proposal of their own"),
    (name_with_space, "not 'leaderboards/submissions/a b/record.json'"),
    (name_with_lines, r"not 'leaderboards/submissions/a\n::set-output name=kind::code\n##[error]/record.json'"),
    (name_with_dash, "a submission's name is letters"),
    (name_with_dots, "a submission's name is letters"),
    (name_that_leaves_the_folder, "invalid path"),
    (name_in_capitals, "boards lie in leaderboards/, spelled so"),
    (link, "only plain files belong on a board"),
    (executable, "only plain files belong on a board"),
    (submodule, "only plain files belong on a board, not 'leaderboards/sub'"),
    (boards_as_link, "only plain files belong on a board, not 'leaderboards'"),
    (history_of_its_own, "0 last common commits"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_hostile_proposal_is_refused_before_anything_is_installed(propose, change, reason):
    outcome = propose(change)

    assert not outcome.green
    assert reason in outcome.log
    assert outcome.calls == []


@pytest.mark.parametrize("change", [code, workflow, prose], ids=lambda change: change.__name__)
def test_a_proposal_without_boards_is_green_at_once_and_is_said_to_prove_nothing(propose, change):
    outcome = propose(change)

    assert outcome.green
    assert "this check is about boards only" in outcome.log
    assert outcome.calls == []


@pytest.mark.parametrize(
    ("change", "names"), [(submission, ["new"]), (two_submissions, ["new", "pending"])], ids=["one", "two"]
)
def test_submissions_are_verified_and_verify_decides(propose, tmp_path, change, names):
    outcome = propose(change)

    assert outcome.green
    assert outcome.calls == [["verify", f"proposed/leaderboards/submissions/{name}"] for name in names]


@pytest.mark.parametrize("exit_code", [1, 2])
def test_a_submission_that_verify_does_not_accept_is_red(propose, exit_code):
    outcome = propose(submission, exit_code)

    assert not outcome.green
    assert f"red: verify ended with exit code {exit_code}" in outcome.log


@pytest.mark.parametrize("exit_code", [0, 1, 2])
@pytest.mark.parametrize(
    "change",
    [record, record_and_pending, pending_deleted, accepted, table_alone, stray_file],
    ids=lambda change: change.__name__,
)
def test_any_other_change_of_the_boards_is_audited_and_audit_decides(propose, base, change, exit_code):
    outcome = propose(change, exit_code)

    assert outcome.green == (exit_code == 0)
    assert outcome.calls == [
        ["audit", "--out", "proposed/leaderboards", "--since", git(base.folder, "rev-parse", "main")]
    ]


def test_no_line_of_a_checked_file_is_a_command_to_the_runner(propose):
    log = propose(submission).log

    (token,) = set(re.findall(r"^::stop-commands::(\w+)$", log, flags=re.MULTILINE)[-1:])
    assert log.index(f"::stop-commands::{token}") < log.index("::set-output") < log.index(f"\n::{token}::")


def test_two_last_common_commits_are_refused(base, tmp_path):
    git(tmp_path, "clone", "-q", str(base.folder), "work")
    work, path = Repository(tmp_path / "work"), "leaderboards/submissions/new/record.json"
    start = git(work.folder, "rev-parse", "HEAD")
    for branch in ("left", "right"):
        git(work.folder, "checkout", "-q", "-b", branch, start)
        work.write(path if branch == "left" else "right")
        git(work.folder, "add", "-A")
        git(work.folder, "commit", "-q", "-m", branch)
    git(work.folder, "merge", "-q", "--no-edit", "left")
    git(work.folder, "checkout", "-q", "-b", "base", "left")
    git(work.folder, "merge", "-q", "--no-edit", "right~1" if False else git(work.folder, "rev-parse", "right^1"))
    git(work.folder, "checkout", "-q", "right")

    command = [sys.executable, "-m", "benchmark.submission.proposal", "decide", str(work.folder), "base"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert result.returncode == 1
    assert "2 last common commits; rebase it onto the base" in result.stdout


def test_the_command_line_has_the_options_that_decide():
    (command,) = commands(Decision(Kind.SUBMISSIONS, "abc", ("new",)), Path("proposed"))

    assert command[0] in get_command(app).commands


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commit_with_their_version(name):
    lines = [line for line in WORKFLOWS[name].read_text(encoding="utf-8").splitlines() if "uses:" in line]

    assert lines
    assert [line for line in lines if not re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_script_of_a_workflow_holds_a_text_of_the_proposal(name):
    held = [
        expression for step in steps(load(name)) for expression in re.findall(r"\$\{\{(.*?)\}\}", step.get("run", ""))
    ]

    assert [expression for expression in held if not expression.strip().startswith("matrix.")] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_checkout_leaves_a_token_behind_and_no_workflow_has_a_secret(name):
    checkouts = [step["with"] for step in steps(load(name)) if step.get("uses", "").startswith("actions/checkout@")]

    assert all(given["persist-credentials"] is False for given in checkouts)
    assert "secrets" not in WORKFLOWS[name].read_text(encoding="utf-8").replace("No secrets", "")


def test_the_workflow_for_proposals_is_the_bases_reads_only_and_runs_for_every_proposal():
    proposal = load("proposal.yml")

    assert proposal[True] == {"pull_request_target": {"branches": ["main"]}}  # YAML reads `on` as true
    assert proposal["permissions"] == {"contents": "read"}
    assert list(proposal["jobs"]) == ["boards"]
    (job,) = proposal["jobs"].values()
    assert "permissions" not in job and "if" not in job
    assert not any("cache" in key for step in steps(proposal) for key in step.get("with", {}))
    assert not any("cache@" in step.get("uses", "") for step in steps(proposal))


def test_no_other_workflow_runs_with_the_bases_rights_on_a_proposal():
    triggers = {name: set(load(name)[True]) for name in WORKFLOWS}

    assert {name for name, of in triggers.items() if of & {"pull_request_target", "workflow_run", "issue_comment"}} == {
        "proposal.yml"
    }


def test_a_job_that_may_write_installs_nothing_and_runs_no_code_of_the_project():
    writing = {}
    for name in WORKFLOWS:
        given = load(name)
        for job in given["jobs"].values():
            if "write" in job.get("permissions", given["permissions"]).values():
                writing[name] = [step.get("uses", "run").partition("@")[0] for step in job["steps"]]

    assert writing == {"pages.yml": ["actions/deploy-pages"]}
