"""Commands of a SLURM that runs nothing: it notes what it is asked for, and answers what a test has set."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

COMMANDS = {
    "sbatch": """
        if [ -e refusal ]; then cat refusal >&2; exit 1; fi
        number=$(cat next); echo $((number + 1)) >next
        cat "$1" >"sbatch-$number.sh"; echo "Submitted batch job $number"
    """,
    "squeue": """
        if [ -e down ]; then echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; fi
        for word in "$@"; do
            case $word in --jobs=*) sed -n "s/^${word#--jobs=}|\\([^|]*\\).*/\\1/p" squeue; exit ;; esac
        done
        cat squeue
    """,
    "scancel": 'shift; echo "$@" >>cancelled',
    "scontrol": 'if [ "$1" = show ]; then echo "MaxArraySize = 1001"; else echo "$@" >>requeued; fi',
    "sinfo": "cat gres",
    "srun": "",
}


class FakeSlurm:
    """The commands, first in PATH.

    Args:
        folder: an empty one.
        patch: undoes it.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        (folder / "next").write_text("10")
        (folder / "gres").write_text("(null)\n")
        self.queue({})
        for name, script in COMMANDS.items():
            path = folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f'#!/bin/sh\ncd "{folder}"\n{script}\n')
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        patch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")

    def queue(self, states: Mapping[str, str]) -> None:
        """Set what squeue answers: states by id, with a reason or without, as in "PENDING|Priority"."""
        (self.folder / "squeue").write_text("".join(f"{number}|{state}\n" for number, state in states.items()))

    def scripts(self) -> list[str]:
        """Return what was given to sbatch, in this order."""
        return [path.read_text() for path in sorted(self.folder.glob("sbatch-*.sh"))]

    def said(self, name: str) -> list[str]:
        """Return the arguments of the calls of "cancelled" or "requeued"."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []
