"""`benchmark.status`: what runs where, below an output folder."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

from benchmark.api.places import checked_path
from benchmark.files.text import terminal_line
from benchmark.launch.status import Status, read_status
from benchmark.launch.status_text import status_lines
from benchmark.results.store import check_folder


@dataclass(frozen=True)
class FolderStatus(Status):
    """What runs below an output folder; `print` shows what the command shows."""

    @property
    def text(self) -> str:
        """Everything, as the command prints it."""
        return "\n".join(map(terminal_line, status_lines(self)))

    def __str__(self) -> str:
        return self.text


def status(out: str | PathLike[str] = "runs") -> FolderStatus:
    """Return what runs where, what failed and why, and what can be resumed; starts and changes nothing.

    Of finished runs only the names of their files are read.

    Args:
        out: folder with records and work in progress.

    Raises:
        UserError: if there is no such folder.
    """
    folder = checked_path(out, "out")
    check_folder(folder)
    read = read_status(folder)
    return FolderStatus(read.out, read.records, read.runs)
