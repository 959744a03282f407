"""The target of an experiment, as a method receives it."""

from __future__ import annotations

from benchmark.suite.experiment import Experiment
from methods.base import Target


def target_of(experiment: Experiment) -> Target:
    """Return the point of the grid that an experiment compresses to.

    Raises:
        ValueError: if a value is out of its range.
    """
    return Target(experiment.keep_ratio, experiment.weights, experiment.allocation, experiment.granularity)
