"""Lets an experiment start from the network of a dense run instead of training its first phase."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.errors import UserError
from benchmark.suite.experiment import Experiment, FirstPhaseSpec
from benchmark.suite.registry import ResolvedMethod
from benchmark.suite.target import target_of
from methods.base import DenseTraining


def with_first_phase(
    candidates: Sequence[Experiment], dense_method: str, experiment: Experiment, method: ResolvedMethod, where: str
) -> Experiment:
    """Return the experiment with the matching dense run as its first phase.

    A run matches if data, network, precision and seed are the same. Of several, those with the experiment's own
    objective are preferred.

    Args:
        candidates: the runs of `dense_method` in the suite.
        dense_method: name of the method whose run replaces the first phase.
        experiment: the experiment that starts from it.
        method: the experiment's method.
        where: the experiment's entry in the suite, for messages.

    Raises:
        UserError: if the method has no such first phase, or if not exactly one candidate matches.
    """
    target = target_of(experiment)
    wanted = method.create(experiment.method.options, where).first_phase(target)
    if wanted is None or wanted.method != dense_method:
        allowed = f"only first_phase: {wanted.method}" if wanted else "no first_phase"
        raise UserError(
            f"{where}: {method.cls.name} accepts {allowed}, got first_phase: {dense_method}; correct or remove it"
        )
    matches = [other for other in candidates if _matches(other, experiment, wanted)]
    matches = [other for other in matches if other.objective == experiment.objective] or matches
    if len(matches) != 1:
        got = ", ".join(other.run for other in matches) or "none"
        raise UserError(
            f"{where}: first_phase needs one {wanted.weights} run of {dense_method} in the suite with the network and "
            f"seed of {experiment.run}, got {got}; add or narrow the entry of {dense_method}"
        )
    first_phase = FirstPhaseSpec(run=matches[0].run, run_hash=matches[0].run_hash)
    return experiment.model_copy(update={"first_phase": first_phase})


def _matches(other: Experiment, experiment: Experiment, wanted: DenseTraining) -> bool:
    """Return whether another run of the suite has the same network and seed, and the wanted precision."""
    same = (other.architecture, other.seed) == (experiment.architecture, experiment.seed)
    return same and other.weights == wanted.weights and other.keep_ratio == 1.0
