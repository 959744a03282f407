"""Lets an experiment begin with the network of a dense run, instead of training its first phase itself."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.errors import UserError
from benchmark.suite.experiment import Experiment, FirstPhaseSpec
from benchmark.suite.registry import ResolvedMethod
from methods.base import DenseTraining, Target


def begin_from(
    candidates: Sequence[Experiment], asked: str, experiment: Experiment, found: ResolvedMethod, where: str
) -> Experiment:
    """Return the experiment with the one candidate of the same data, network, precision and seed as its first phase.

    Of several candidates, those with the experiment's own objective are preferred.

    Args:
        candidates: the runs of method `asked` in the suite.
        asked: name of the method whose run is to stand in.
        experiment: what is to begin with it.
        found: the experiment's method.
        where: names the experiment's entry in messages.

    Raises:
        UserError: if the method cannot begin so, if no candidate fits, or more than one.
    """
    target = Target(experiment.keep_ratio, experiment.weights, experiment.allocation)
    wanted = found.create(experiment.method.options, where).first_phase(target)
    if wanted is None or wanted.method != asked:
        allowed = f"only by first_phase: {wanted.method}" if wanted else "not with another method's run"
        raise UserError(f"{where}: {found.cls.name} can begin {allowed}, got first_phase: {asked}; correct or drop it")
    fitting = [other for other in candidates if _fits(other, experiment, wanted)]
    fitting = [other for other in fitting if other.objective == experiment.objective] or fitting
    if len(fitting) != 1:
        got = ", ".join(other.run for other in fitting) or "none"
        raise UserError(
            f"{where}: first_phase needs one {wanted.weights} run of {asked} in the suite with the network and seed "
            f"of {experiment.run}, got {got}; add or narrow the entry of {asked}"
        )
    first_phase = FirstPhaseSpec(run=fitting[0].run, run_hash=fitting[0].run_hash)
    return experiment.model_copy(update={"first_phase": first_phase})


def _fits(other: Experiment, experiment: Experiment, wanted: DenseTraining) -> bool:
    """Tell whether two runs of a suite, hence with the same data, share network and seed, and the precision fits."""
    same = (other.architecture, other.seed) == (experiment.architecture, experiment.seed)
    return same and other.weights == wanted.weights and other.keep_ratio == 1.0
