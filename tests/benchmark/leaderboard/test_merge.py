"""Two branches that each add a record merge without a conflict in the records, and `leaderboard` updates the pages."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmark.leaderboard.render import check_pages, pages, write_pages
from benchmark.results.store import load_records, save_record

PROTOCOL = "cifar10-linf-8_255-aa-standard-100"
ATTRIBUTES = (
    (Path(__file__).parents[3] / ".gitattributes").read_text(encoding="utf-8").replace("leaderboards/", "board/")
)
README = f"# Boards\n\n<!-- begin table: board {PROTOCOL} -->\n<!-- end table -->\n\nBy hand.\n"


@pytest.fixture
def git(tmp_path, monkeypatch):
    """Return a caller of git inside a new repository, apart from the user's settings."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")

    def git(*arguments, fails=False):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout

    git("init", "-q", "-b", "main")
    (tmp_path / ".gitattributes").write_text(ATTRIBUTES, encoding="utf-8")
    return git


@pytest.fixture
def add(make_record, tmp_path, git):
    """Return a function that adds a record with its pages on a branch of its own."""

    def add(branch, method, robust):
        if branch != "main":
            git("checkout", "-q", "-b", branch, "main")
        number = sum(method.encode())
        run_hash = f"{number:06x}{number:06x}"
        run = f"cifar10/{method}/seed0-{run_hash[:6]}"
        save_record(make_record(method=method, run=run, run_hash=run_hash, right=(80, 60, robust)), tmp_path / "board")
        write_pages(tmp_path / "board")
        git("add", "-A")
        git("commit", "-q", "-m", method)

    return add


def test_two_branches_merge_without_conflict_and_the_command_updates_the_pages(git, add, tmp_path):
    folder = tmp_path / "board"
    add("main", "at", 40)
    add("one", "hydra", 50)
    add("two", "atmc", 45)
    written = [(folder / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1]]
    git("checkout", "-q", "one")
    written.append((folder / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1])

    git("merge", "-q", "two", "-m", "both")

    assert git("status", "--porcelain") == ""
    assert [record.method.name for record in load_records(folder)] == ["at", "atmc", "hydra"]
    problems = check_pages(folder)
    assert any(problem.startswith("CHANGELOG.md has no entry for ") for problem in problems)
    assert any(problem.startswith(f"{PROTOCOL}.json differs") for problem in problems)
    write_pages(folder)
    assert check_pages(folder) == [] and write_pages(folder) == []
    entries = (folder / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1:]
    assert len(entries) == 4
    assert sorted(entry.strip() for entry in entries[1:3]) == sorted(entry.strip() for entry in written), "both, whole"
    at, atmc, hydra = (f"{sum(method.encode()):06x}" for method in ("at", "atmc", "hydra"))
    assert entries[0].splitlines()[1:] == [
        f"- Moved because {hydra} now ranks above: {atmc} rank 1 to 2.",
        f"- Moved because two branches were merged: {at} rank 2 to 3.",
    ]
    assert "Added" not in entries[0], "each branch has the entry of its own row"
    fresh = tmp_path / "fresh"
    for record in load_records(folder):
        save_record(record, fresh)
    assert {name: text for name, text in pages(fresh).items() if name != "CHANGELOG.md"} == {
        name: text for name, text in pages(folder).items() if name != "CHANGELOG.md"
    }


def test_the_list_of_figures_stays_one_sides_and_the_pages_can_be_updated(git, add, tmp_path):
    """Lines of both sides would be no JSON, and `leaderboard` would read nothing."""
    folder = tmp_path / "board"
    figures = folder / "site" / "figures" / "figures.json"
    figures.parent.mkdir(parents=True)
    figures.write_text('{\n"figures": [],\n"schema_version": 1\n}\n', encoding="utf-8")
    add("main", "at", 40)
    for branch, method in (("one", "hydra"), ("two", "atmc")):
        git("checkout", "-q", "main")
        names = {name: method for name in ("name", "title", "caption")}
        files = {"png": f"{method}.png", "svg": f"{method}.svg"}
        hashes = dict.fromkeys(("png_sha256", "svg_sha256", "source"), "a" * 64)
        entry = names | files | hashes | {"protocol": None, "run": None, "numbers": []}
        figures.write_text(json.dumps({"figures": [entry], "schema_version": 1}, indent=1), encoding="utf-8")
        add(branch, method, 45)

    git("merge", "-q", "one", "-m", "both", fails=True)

    assert git("diff", "--name-only", "--diff-filter=U").split() == ["board/site/figures/figures.json"]
    write_pages(folder)
    assert {problem.rpartition("run ")[2] for problem in check_pages(folder)} == {"`python -m benchmark figures`"}


def test_conflicts_that_git_leaves_in_pages_and_readme_are_resolved_too(git, add, tmp_path):
    """Without the attributes, and in the README, which is written by hand but for its tables."""
    folder = tmp_path / "board"
    (tmp_path / ".gitattributes").unlink()
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    add("main", "at", 40)
    add("one", "hydra", 50)
    add("two", "atmc", 45)

    git("merge", "-q", "one", "-m", "both", fails=True)

    unmerged = set(git("diff", "--name-only", "--diff-filter=U").split())
    assert "README.md" in unmerged and not any("records/" in name for name in unmerged)
    assert "<<<<<<<" in (folder / "CHANGELOG.md").read_text(encoding="utf-8")
    write_pages(folder)
    assert check_pages(folder) == []
    for path in [tmp_path / "README.md", *folder.glob("*.*")]:
        text = path.read_text(encoding="utf-8")
        assert not any(mark in text for mark in ("<<<<<<<", ">>>>>>>", "\n=======\n")), path
    assert (tmp_path / "README.md").read_text(encoding="utf-8").endswith("<!-- end table -->\n\nBy hand.\n")
