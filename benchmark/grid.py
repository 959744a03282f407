"""Plans a suite: which experiments there are, what each costs, and which still have to be run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmark.data.catalog import KNOWN
from benchmark.experiment import Experiment
from benchmark.launch.order import work_folder
from benchmark.models import NetworkPlan, prunable_sizes
from benchmark.registry import ResolvedMethod
from benchmark.results.record import Record
from benchmark.results.store import load_records
from methods.allocation import allocate
from methods.base import Target

State = Literal["todo", "done", "failed", "refused"]
NEARLY_EMPTY = 16  # weights; a layer with fewer can hardly pass anything on


@dataclass(frozen=True)
class Planned:
    """One experiment and what is known of it before it runs."""

    experiment: Experiment
    state: State
    reason: str  # why it is refused or failed; empty otherwise
    passes_per_image: int  # forward-and-backward passes over each training image, all epochs
    warning: str  # what to know about the target; empty if nothing


def plan(experiments: Sequence[Experiment], methods: dict[str, ResolvedMethod], out: Path) -> list[Planned]:
    """Find the state of every experiment from the records and work folders below `out`; runs nothing.

    Args:
        experiments: as `suite.expand` returns them.
        methods: resolved methods by their target.
        out: the output folder.

    Raises:
        UserError: if a record below `out` is broken.
    """
    finished: dict[str, list[Record]] = {}
    for record in load_records(out):
        finished.setdefault(record.run, []).append(record)
    return [_planned(experiment, methods, out, finished.get(experiment.run, [])) for experiment in experiments]


def is_measured(record: Record, experiment: Experiment) -> bool:
    """Tell whether a record of the same training run was evaluated the way the experiment asks for."""
    return record.provenance.config.get("evaluation") == experiment.evaluation.model_dump(mode="json")


def _planned(experiment: Experiment, methods: dict[str, ResolvedMethod], out: Path, records: list[Record]) -> Planned:
    passes = experiment.training.epochs * (experiment.training.attack.num_steps + 1)
    state: State = "todo"
    reason = _refusal(experiment, methods[experiment.method.target])
    warning = ""
    if reason:
        state = "refused"
    else:
        warning = target_warning(experiment)
        if any(is_measured(record, experiment) for record in records):
            state = "done"
        elif (failure := work_folder(out, experiment) / "failed.txt").exists():
            state, reason = "failed", _last_line(failure)
    return Planned(experiment, state, reason, passes, warning)


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else f"{path} is empty"


def _refusal(experiment: Experiment, found: ResolvedMethod) -> str:
    """Return why an experiment makes no sense, or an empty string."""
    try:
        target = Target(experiment.keep_ratio, experiment.weights, experiment.allocation)
        method = found.create(experiment.method.options, experiment.run)
        if reason := method.refusal(target):
            return reason
        if target.allocation != "global":
            allocate(list(_sizes(experiment).values()), target.keep_ratio, target.allocation)
        method.phases(experiment.training.epochs, target)
    except ValueError as error:
        return str(error)
    except Exception as error:  # a plug-in's hooks may raise anything
        return f"{experiment.method.name} fails in its `refusal` or `phases`: {type(error).__name__}: {error}"
    return ""


def target_warning(experiment: Experiment) -> str:
    """Warn when a target leaves layers whole, with nothing to choose, or nearly empty."""
    if experiment.keep_ratio == 1.0 or experiment.allocation == "global":
        return ""
    sizes = _sizes(experiment)
    kept = allocate(list(sizes.values()), experiment.keep_ratio, experiment.allocation)
    whole = [name for (name, size), count in zip(sizes.items(), kept, strict=True) if count == size]
    starved = [name for (name, size), count in zip(sizes.items(), kept, strict=True) if count < min(NEARLY_EMPTY, size)]
    parts = []
    if whole:
        parts.append(f"keeps {_some(whole)} whole, nothing to choose there; a larger p takes from small layers")
    if starved:
        parts.append(
            f"keeps fewer than {NEARLY_EMPTY} weights of {_some(starved)}; a smaller p gives small layers more"
        )
    return "; ".join(parts)


def _sizes(experiment: Experiment) -> dict[str, int]:
    """Return weights per convolution; a data set yet unseen counts as ten classes of colour images."""
    known = KNOWN.get(experiment.dataset, KNOWN["cifar10"])
    spec = experiment.architecture
    return prunable_sizes(NetworkPlan(spec.name, known.num_classes, known.mean, known.std, spec.width, spec.last_norm))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more layers"
