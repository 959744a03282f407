"""`python -m benchmark`: turns a user's mistake into one sentence on stderr and exit code 2, Ctrl-C into exit code 130.

Two precautions come before the imports, which take a while. Ctrl-C ends the process at once, until a command has begun
something that it puts in order itself, see `cli.stoppable`. And `benchmark` and `methods` are the packages of this
folder, also where the current folder holds others of these names.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn


def _stop(*_: object) -> NoReturn:
    """End at once: an exception would leave the import of a library in many ways, or not at all."""
    os.write(2, b"stopped\n")
    os._exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, _stop)

# ruff: noqa: E402
import importlib.util
from pathlib import Path

PACKAGES = Path(__file__).resolve().parents[1]


def _pin(name: str) -> None:
    """Make an import of `name` find the package beside this file."""
    file = PACKAGES / name / "__init__.py"
    present = getattr(sys.modules.get(name), "__file__", None)
    if present is None or not file.samefile(present):
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None, "a package has a file"
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


_pin("benchmark")
_pin("methods")

import typer

from benchmark.cli import bench as bench  # registers its command
from benchmark.cli import figures as figures  # registers its command
from benchmark.cli import review as review  # registers its commands
from benchmark.cli import submission as submission  # registers its commands
from benchmark.cli.echo import echo_line
from benchmark.cli.main import app
from benchmark.errors import UserError
from benchmark.files.text import terminal_line
from benchmark.files.writing import REMEDIES

# Of all mistakes in how a command is called; Typer gives out its subclass only.
_UsageError: Any = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line."""
    # Threads that wait by spinning hold the cores they wait for: beside other busy processes that makes a step with two
    # threads five times as long. OpenMP reads this once, when torch is loaded, which no command has done yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        sys.exit(app(prog_name="python -m benchmark", standalone_mode=False) or 0)
    except _UsageError as error:
        error.message = terminal_line(error.message)
        error.show()
        sys.exit(error.exit_code)
    except UserError as error:
        echo_line(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:  # of a folder that cannot be read, or of the output, which has no name
        remedy = REMEDIES.get(error.errno or 0)
        echo_line(
            f"error: {error.filename or 'standard output'}: {error.strerror or error}{f'; {remedy}' if remedy else ''}",
            err=True,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
