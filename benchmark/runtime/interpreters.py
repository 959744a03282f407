"""How a module of this package is run in a new interpreter, whatever the current folder holds."""

from __future__ import annotations

import os
import sys

from benchmark.files.places import ROOT


def module_command(module: str) -> list[str]:
    """Return the command that runs a module; it needs `module_environment`."""
    return [sys.executable, "-P", "-m", module]  # -P: the current folder is not searched first


def module_environment() -> dict[str, str]:
    """Return the environment in which `benchmark` and `methods` are these ones.

    A folder `methods` or `benchmark` in the current folder would otherwise hide them. The current folder is searched
    behind them: it may hold a method.
    """
    inherited = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *inherited, os.getcwd()])}
