"""`python -m benchmark`: turns a user's mistake into one sentence on stderr and exit code 2, Ctrl-C into exit code 130.

Two things happen before the imports, which take a while. Ctrl-C ends the process immediately, until a command handles
it (see `cli.main.stoppable`). And `benchmark` and `methods` are bound to the packages beside this file, even if the
current folder contains others of these names.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn


def _stop(*_: object) -> NoReturn:
    """Exit immediately: during the import of a library, an exception could be replaced or swallowed."""
    os.write(2, b"stopped\n")
    os._exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, _stop)

# ruff: noqa: E402
import importlib.util
from pathlib import Path

PACKAGES = Path(__file__).resolve().parents[1]


def _pin(name: str) -> None:
    """Make `import name` load the package beside this file."""
    file = PACKAGES / name / "__init__.py"
    present = getattr(sys.modules.get(name), "__file__", None)
    if present is None or not file.samefile(present):
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None, f"{file} cannot be imported"
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


_pin("benchmark")
_pin("methods")

import typer

from benchmark.cli import bench as bench  # each of these registers its commands
from benchmark.cli import boards as boards
from benchmark.cli import clusters as clusters
from benchmark.cli import figures as figures
from benchmark.cli import hub as hub
from benchmark.cli import importing as importing
from benchmark.cli import review as review
from benchmark.cli import submission as submission
from benchmark.cli.echo import echo_line
from benchmark.cli.main import app
from benchmark.errors import UserError
from benchmark.files.text import terminal_line
from benchmark.files.writing import REMEDIES

# The base class of all mistakes in how a command is called; Typer exports only a subclass.
_UsageError: Any = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line."""
    # Waiting threads that spin occupy cores: beside other busy processes, a step with two threads takes five times as
    # long. OpenMP reads this once, when torch is loaded, which has not happened yet.
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
    except OSError as error:  # from a folder that cannot be read, or from the output, which has no name
        remedy = REMEDIES.get(error.errno or 0)
        echo_line(
            f"error: {error.filename or 'standard output'}: {error.strerror or error}{f'; {remedy}' if remedy else ''}",
            err=True,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
