"""Which experiments make sense: the network an experiment builds and the epochs it trains, or why it cannot be run."""

from __future__ import annotations

from benchmark.planning.target_warning import full_network, layer_shapes, layer_sizes
from benchmark.results.bounds import check_chosen
from benchmark.suite.experiment import Experiment
from benchmark.suite.registry import ResolvedMethod
from benchmark.suite.target import target_of
from methods.allocation import weight_budget
from methods.base import Architecture
from methods.counted import seed_refusal
from methods.granularity import layer_budgets, refusal


class Refused(ValueError):
    """An experiment cannot be run; the message says why."""


def network_and_epochs(experiment: Experiment, resolved_method: ResolvedMethod) -> tuple[Architecture, int]:
    """Return the network that an experiment builds, after the method's `resize`, and the epochs it trains itself.

    Raises:
        Refused: if the experiment makes no sense, or a hook of the method fails.
    """
    try:
        return _network_and_epochs(experiment, resolved_method)
    except ValueError as error:
        raise Refused(str(error)) from error
    except Exception as error:  # a plug-in's hooks may raise anything
        name = resolved_method.cls.name
        raise Refused(f"{name} fails in `refusal`, `resize` or `phases`: {type(error).__name__}: {error}") from error


def _network_and_epochs(experiment: Experiment, resolved_method: ResolvedMethod) -> tuple[Architecture, int]:
    target = target_of(experiment)
    method = resolved_method.create(experiment.method.options, experiment.run)
    if reason := refusal(method, target):
        raise ValueError(reason)
    if experiment.artifact.weights == "seed" and (reason := seed_refusal(method, target)):
        raise ValueError(reason)
    network = full_network(experiment)
    architecture = method.resize(network, target)
    if architecture == network:  # a method that builds a smaller one needs no masks
        if target.allocation != "global":
            layer_budgets(list(layer_shapes(network).values()), target)
        elif weight_budget(total := sum(layer_sizes(network).values()), target.keep_ratio) < 1:
            raise ValueError(f"keep_ratio {target.keep_ratio:g} of {total:,} weights keeps none; raise it")
    phases = method.phases(experiment.training.epochs, target)
    check_chosen(experiment.model_dump(mode="json"), resolved_method.deviations(), phases)
    reused = phases[0].epochs if experiment.first_phase is not None else 0
    return architecture, experiment.training.epochs - reused
