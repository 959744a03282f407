"""What a proposal (a pull request) changes, and which check of the base decides it: `proposal.yml` runs this.

The proposal is data. Its files are compared by git's plumbing, which runs no hook, filter, text conversion or driver,
and read by `verify` and `audit` of the base; nothing of it is imported or executed. Standard library only: it runs
before anything is installed.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from benchmark.files.git_diff import RawChange, parse_raw_diff
from benchmark.leaderboard.pages.readme_markers import split_tables

BOARD = "leaderboards"
README = "README.md"
_SUBMISSIONS = f"{BOARD}/submissions/"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_SHOWN = 10  # paths at most in a refusal


class Refused(Exception):
    """Why a proposal is refused, in one sentence."""


class Kind(StrEnum):
    """What decides a proposal."""

    CODE = "code"  # people
    SUBMISSIONS = "submissions"  # `verify` of each folder
    BOARD = "board"  # `audit --since`


@dataclass(frozen=True)
class Decision:
    """What decides, since which commit, and for which folders of `leaderboards/submissions`."""

    kind: Kind
    since: str
    submissions: tuple[str, ...] = ()


def decide(repository: Path, base: str) -> Decision:
    """Return what decides the commit that is checked out in `repository`, a proposal to the commit `base`.

    Raises:
        Refused: if links, executables, submodules or hidden files are added to the boards, if a submission comes with
            anything else, if any other change of the boards comes with changes elsewhere, or if there is not exactly
            one commit to compare with.
    """
    since = _merge_base(repository, base)
    changes = _changes(repository, since)
    board = [change for change in changes if _is_board(change.path)]
    others = [change for change in changes if not _is_board(change.path)]
    tables, others = _without_tables(repository, others)
    if not board and not tables:
        return Decision(Kind.CODE, since)
    _refuse("only plain files belong on a board", (c for c in board if not (c.plain or c.gone)))
    # A .gitattributes file could make git check out contents other than those that would be merged.
    _refuse("no hidden file belongs on a board", (c for c in board if "/." in c.path))
    _refuse(f"boards are in {BOARD}/, spelled so", (c for c in board if not c.path.startswith(f"{BOARD}/")))
    present = _folders(repository)
    names = {name for change in board if (name := _submission(change.path)) in present and name is not None}
    if names:
        beside = [c for c in board if _submission(c.path) not in names] + tables + others
        _refuse(f"a submission changes its own folder below {_SUBMISSIONS} only", beside)
        _refuse("a submission's name is letters, digits and . _ + - only", (c for c in board if not _is_plain(c.path)))
        return Decision(Kind.SUBMISSIONS, since, tuple(sorted(names)))
    _refuse(f"changes of {BOARD}/ need a proposal of their own", others)
    return Decision(Kind.BOARD, since)


def commands(decision: Decision, repository: Path) -> list[list[str]]:
    """Return the arguments of `python -m benchmark` that decide a proposal checked out in `repository`."""
    if decision.kind is Kind.SUBMISSIONS:
        return [["verify", str(repository / _SUBMISSIONS / name)] for name in decision.submissions]
    if decision.kind is Kind.BOARD:
        board = str(repository / BOARD)
        # The second also compares the README's tables, which are outside the board.
        return [["audit", "--out", board, "--since", decision.since], ["leaderboard", "--check", "--out", board]]
    return []


def _git(repository: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(repository), *arguments], check=True, stdout=subprocess.PIPE).stdout


def _merge_base(repository: Path, base: str) -> str:
    ancestors = subprocess.run(
        ["git", "-C", str(repository), "merge-base", "--all", base, "HEAD"], stdout=subprocess.PIPE, text=True
    ).stdout.split()
    if len(ancestors) != 1:  # with several, a change could hide behind the choice
        raise Refused(f"the proposal and its base have {len(ancestors)} last common commits; rebase it onto the base")
    return ancestors[0]


def _changes(repository: Path, since: str) -> list[RawChange]:
    # Without the last option, a .gitmodules file of the proposal could hide submodules.
    options = ("-r", "-z", "--raw", "--no-renames", "--ignore-submodules=none")
    return parse_raw_diff(_git(repository, "diff-tree", *options, since, "HEAD"))


def _is_board(path: str) -> bool:
    """Return whether a path is on the board, also on file systems that ignore case."""
    return path.partition("/")[0].casefold() == BOARD


def _without_tables(repository: Path, changes: Sequence[RawChange]) -> tuple[list[RawChange], list[RawChange]]:
    """Return the README if its tables of the boards change, and the changes without it if nothing else in it does."""
    for change in changes:
        if change.path == README and change.plain and not change.new:
            before, after = (
                split_tables(os.fsdecode(_git(repository, "cat-file", "blob", blob)), BOARD)
                for blob in (change.before, change.after)
            )
            rest = [other for other in changes if other is not change or before[0] != after[0]]
            return ([change] if before[1] != after[1] else []), rest
    return [], list(changes)


def _folders(repository: Path) -> set[str]:
    """Return the names of the submissions that the proposal leaves in place."""
    listed = _git(repository, "ls-tree", "-z", "-d", "--name-only", "HEAD", _SUBMISSIONS)
    return {path.removeprefix(_SUBMISSIONS) for path in os.fsdecode(listed).split("\0")}


def _submission(path: str) -> str | None:
    name, inside, _ = path.removeprefix(_SUBMISSIONS).partition("/")
    return name if path.startswith(_SUBMISSIONS) and inside else None


def _is_plain(path: str) -> bool:
    return _PLAIN_NAME.fullmatch(_submission(path) or "") is not None


def _refuse(reason: str, changes: Iterable[RawChange]) -> None:
    """Refuse a proposal with these changes, if any; every name is a stranger's text, shown as ASCII."""
    paths = [ascii(change.path) for change in changes]
    if paths:
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        raise Refused(f"{reason}, not {', '.join(paths[:_SHOWN])}{more}")


def _check(decision: Decision, repository: Path) -> int:
    """Run what decides, and return the exit code: 1 unless every command ends with 0."""
    passed = True
    for command in commands(decision, repository):
        print(f"\nthe base's {shlex.join(command)}", flush=True)
        code = subprocess.run([sys.executable, "-m", "benchmark", *command]).returncode
        if code:
            print(f"red: {command[0]} ended with exit code {code}; if a data set is missing here, a maintainer runs it")
        passed = passed and code == 0
    return 0 if passed else 1


def main(arguments: Sequence[str]) -> int:
    """Run `decide` or `check` on a folder with a proposal and the commit it is proposed to; return the exit code."""
    action, folder, base = arguments
    repository = Path(folder)
    token = secrets.token_hex(16)
    print(f"::stop-commands::{token}", flush=True)  # no line of a stranger's text is a command to the runner
    try:
        decision = decide(repository, base)
        if action == "check":
            return _check(decision, repository)
    except Refused as refusal:
        print(f"refused: {refusal}")
        return 1
    finally:
        print(f"::{token}::", flush=True)
    if decision.kind is not Kind.CODE:
        print(f"to be checked: {decision.kind}")
    else:
        print(f"nothing in {BOARD}/ changes: this check is about boards only and says nothing about code or workflows")
    if output := os.environ.get("GITHUB_OUTPUT"):
        with open(output, "a", encoding="utf-8") as file:
            file.write(f"kind={decision.kind}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
