"""Runs a module of this package in a new interpreter, whatever the current folder contains."""

from __future__ import annotations

import os
import sys

from benchmark.files.places import ROOT


def module_command(module: str) -> list[str]:
    """Return the command that runs a module in `module_environment`."""
    return [sys.executable, "-P", "-m", module]  # -P: do not search the current folder first


def module_environment() -> dict[str, str]:
    """Return an environment in which `benchmark` and `methods` are this project's packages.

    Otherwise folders of these names in the current folder would hide them. The current folder comes last, as it may
    hold a user's method.
    """
    inherited = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *inherited, os.getcwd()])}
