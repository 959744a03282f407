"""Reads git's raw diffs (`--raw -z`): paths, modes and blob ids, as data. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

_PLAIN, _ABSENT = "100644", "000000"  # git modes; others are executables, links and submodules


@dataclass(frozen=True)
class RawChange:
    """A changed path with its mode after the change and the blob ids before and after."""

    path: str  # parts separated by "/"
    mode: str
    before: str
    after: str

    @property
    def gone(self) -> bool:
        """Whether the path no longer exists."""
        return self.mode == _ABSENT

    @property
    def plain(self) -> bool:
        """Whether it is now a regular file: not a link, an executable or another repository."""
        return self.mode == _PLAIN

    @property
    def new(self) -> bool:
        """Whether the path did not exist before."""
        return set(self.before) == {"0"}


def parse_raw_diff(output: bytes) -> list[RawChange]:
    """Return the changes that `git diff --raw -z` or `git diff-tree --raw -z` printed, without renames."""
    fields = output.split(b"\0")[:-1]
    changes = []
    for about, path in zip(fields[::2], fields[1::2], strict=True):
        _, mode, before, after, _ = about.decode("ascii").split(" ")
        changes.append(RawChange(file_name(path), mode, before, after))
    return changes


def file_name(name: bytes) -> str:
    """Return a file's name as text; bytes that are not UTF-8 become surrogates, as in Python's own functions."""
    return name.decode("utf-8", "surrogateescape")
