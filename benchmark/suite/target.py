"""What an experiment says to its method: the target, and whether its random weights are those of a seed."""

from __future__ import annotations

from benchmark.suite.experiment import Experiment
from methods.base import Target
from methods.counted import Drawn, drawn_from


def target_of(experiment: Experiment) -> Target:
    """Return the point of the grid that an experiment compresses to.

    Raises:
        ValueError: if a value is out of its range.
    """
    return Target(experiment.keep_ratio, experiment.weights, experiment.allocation, experiment.granularity)


def drawn_of(experiment: Experiment) -> Drawn | None:
    """Return how the weights of an experiment's network follow from its seed; None if they are stored."""
    return None if experiment.artifact.weights == "stored" else drawn_from(experiment.weights, experiment.seed)
