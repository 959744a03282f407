"""The command that runs a record's experiment again, made from its config; what a record says was typed is not shown.

A visitor copies it into a shell: every word of it is the suite's own, or quoted.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from benchmark.results.record import Record
from benchmark.suite.experiment import Experiment
from methods import BUILT_IN

_BASE = "default"  # a suite of which nothing is left: all that its experiments depend on is overridden
_PLAIN = re.compile(r"(?!true$|false$|null$)[A-Za-z_][A-Za-z0-9_./:-]*(?<!:)|[0-9]+/[0-9]+", re.IGNORECASE)
_SUITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Rerun:
    """A command, and whether it runs the record's experiment alone or the suite's other ones of the method too."""

    command: str
    alone: bool


def rerun(record: Record) -> Rerun | None:
    """Return the command that runs a record's experiment again; None if its config is not that of its run."""
    try:
        experiment = Experiment.model_validate(record.provenance.config)
    except ValidationError:
        return None
    if experiment.run != record.run or not _SUITE.fullmatch(experiment.suite):
        return None
    # Only a suite has the paper's schedule or scales it, and only a suite holds the run that a first phase comes from.
    alone = experiment.preset == "own" and experiment.first_phase is None
    words = _settings(experiment) if alone else _of_suite(experiment)
    command = shlex.join(["python", "-m", "benchmark", "run", *words])
    return Rerun(command, alone) if command.isascii() and command.isprintable() else None


def _of_suite(experiment: Experiment) -> list[str]:
    preset = [] if experiment.preset in ("own", "paper") else ["--preset", experiment.preset]
    return [experiment.suite, "--methods", _method(experiment), "--seeds", str(experiment.seed), *preset]


def _settings(experiment: Experiment) -> list[str]:
    chosen = experiment.model_dump(mode="json", exclude_defaults=True)
    options = {name: [value] if isinstance(value, list) else value for name, value in experiment.method.options.items()}
    entry = {
        "method": _method(experiment),
        "weights": experiment.weights,
        "keep_ratio": experiment.keep_ratio,
        "allocation": experiment.allocation,
        **({} if experiment.granularity == "weight" else {"granularity": experiment.granularity}),
        "last_norm": experiment.architecture.last_norm,
        "objective": experiment.objective,
        **({"options": options} if options else {}),
    }
    network = experiment.architecture
    settings = {
        "dataset": experiment.dataset,
        "train_images": experiment.train_images,
        "epsilon": experiment.epsilon,
        "architecture": {"name": network.name, "width": network.width},
        "methods": [entry],
        **{name: chosen.get(name, {}) for name in ("training", "artifact", "evaluation")},
    }
    words = [_BASE, "--seeds", str(experiment.seed)]
    for name, value in settings.items():
        if value not in (None, {}):
            words += ["--set", f"{name}={_yaml(value)}"]
    return words


def _method(experiment: Experiment) -> str:
    """Return what `--methods` takes: the name of a built-in method, or a file or module with a class."""
    name, target = experiment.method.name, experiment.method.target
    return name if BUILT_IN.get(name) == target else target


def _yaml(value: Any) -> str:
    """Write a setting on one line so that a suite's reader gets the same value."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_yaml(str(key))}: {_yaml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else json.dumps(value)
    text = json.dumps(value)
    return re.sub(r"^(-?\d+)e", r"\1.0e", text)  # 1e-05 would be text
