"""What every folder below has from here: a record's numbers that agree with its verdicts, and the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmark.__main__ import main
from benchmark.evaluation.health.attack_checks import black_box_of
from benchmark.evaluation.opponent.checks import hard_label_of, leaky_bpda_of
from benchmark.evaluation.probes import PROBE_IMAGES
from benchmark.results.evaluation import CASCADE, OPPONENT, VERDICTS
from benchmark.results.verdicts import unpack_verdicts

Agree = Callable[[dict[str, Any]], None]


def agree_with_verdicts(evaluation: dict[str, Any]) -> None:
    """Make the accuracies and checks of an evaluation's fields follow from its verdicts.

    What the opponent's attacks broke is counted as found by RayS, the last of them.
    """
    n = evaluation["n_images"]
    right = {name: unpack_verdicts(bits, n) for name, bits in evaluation["verdicts"].items()}
    shares = {name: int(bits.sum()) / n for name, bits in right.items()}
    evaluation["clean_accuracy"], evaluation["pgd"]["accuracy"] = shares["clean"], shares["pgd"]
    evaluation["autoattack"] |= {
        "attacks": {name: shares[name] for name in CASCADE},
        "accuracy": shares[CASCADE[-1]],
    }
    evaluation["best_known_accuracy"] = int(np.logical_and.reduce(list(right.values())).sum()) / n
    white = right["clean"] & right["pgd"] & right["fab-t"]
    checks = [black_box_of(int((white & ~right["square"]).sum()), int(white.sum()))]
    if OPPONENT in right:
        survivors = np.logical_and.reduce([right[name] for name in VERDICTS])
        met, broken = min(PROBE_IMAGES, int(survivors.sum())), int((~right[OPPONENT]).sum())
        checks += [leaky_bpda_of(0, met), hard_label_of(broken, met)]
    stated = {check["name"]: check for check in evaluation["health"]}
    for check in checks:
        stated[check.name] |= vars(check)


@pytest.fixture
def agree() -> Agree:
    """Return what makes an evaluation's accuracies and checks follow from its verdicts."""
    return agree_with_verdicts


@pytest.fixture
def command_here(monkeypatch, capsys):
    """Return a function that runs the command line in this process and returns exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["python -m benchmark", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def command(tmp_path, monkeypatch, command_here):
    """Return the same with a folder of the test's own as the current one.

    A command that starts workers needs a server of its own there, see KeptServers.
    """
    monkeypatch.chdir(tmp_path)
    return command_here
