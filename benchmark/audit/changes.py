"""What changed below a board since a commit, read from git as data: nothing of the repository is run."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UserError
from benchmark.files.git_diff import file_name, parse_raw_diff

WORK = b"work/"  # below a board, of unfinished runs


@dataclass(frozen=True)
class Change:
    """One file that differs from the commit."""

    name: str  # from the board, parts separated by "/"
    gone: bool
    plain: bool  # neither a link, nor executable, nor another repository


@dataclass(frozen=True)
class History:
    """A board at a commit of its git repository.

    Raises:
        UserError: from its functions, if there is no such commit or repository.
    """

    board: Path
    commit: str  # its whole hash

    @classmethod
    def since(cls, board: Path, name: str) -> History:
        """Return a board at the commit with a name such as "main" or "HEAD~1"."""
        history = cls(board, "")
        ran = history._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        commit = ran.stdout.decode("ascii", "replace").strip()
        if ran.returncode != 0 or not re.fullmatch(r"[0-9a-f]{40,64}", commit):
            raise UserError(
                f"--since {name!a} is not a commit of the git repository around {board}; give its hash, or a name such "
                "as main or HEAD~1"
            )
        return cls(board, commit)

    def changes(self) -> list[Change]:
        """Return what differs between the commit and the present files, ordered by name."""
        if self.board.is_symlink():
            raise UserError(f"{self.board} is a link, which git does not compare; give --out the folder itself")
        changed: dict[str, Change] = {}
        options = ("--raw", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=none", "--relative")
        for raw in parse_raw_diff(self._git("diff", "-z", *options)):
            changed[raw.path] = Change(raw.path, raw.gone, plain=raw.gone or raw.plain)
        # Files that git ignores count as well: the board shows them too.
        for name in self._git("ls-files", "--others", "-z", commit=False).split(b"\0"):
            if name and not name.startswith(WORK):
                path = self.board / file_name(name)
                plain = path.is_file() and not path.is_symlink() and not path.stat().st_mode & 0o111
                changed[file_name(name)] = Change(file_name(name), gone=False, plain=plain)
        return [changed[name] for name in sorted(changed)]

    def content(self, name: str) -> bytes | None:
        """Return a file as it was at the commit; None if there was none."""
        ran = self._run("cat-file", "blob", f"{self.commit}:./{name}")
        return ran.stdout if ran.returncode == 0 else None

    def names(self) -> list[str]:
        """Return the names of all files at the commit."""
        return [file_name(name) for name in self._git("ls-tree", "-r", "-z", "--name-only").split(b"\0") if name]

    def _git(self, *arguments: str, commit: bool = True) -> bytes:
        ran = self._run(*arguments, *([self.commit, "--", "."] if commit else []))
        if ran.returncode != 0:
            last = (ran.stderr.decode("utf-8", "replace").strip().splitlines() or ["git failed"])[-1]
            raise UserError(
                f"--since {self.commit}: git cannot compare {self.board} with it ({last}); give a commit of "
                "the repository around the board"
            )
        return ran.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        # No hooks, no file system monitor, no programs from the user's configuration.
        safe = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")
        try:
            return subprocess.run(["git", "-C", str(self.board), *safe, *arguments], capture_output=True, timeout=600)
        except (OSError, subprocess.SubprocessError) as error:
            raise UserError(f"--since needs git ({error}); install it, or omit --since to audit everything") from None
