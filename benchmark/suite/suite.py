"""YAML suites: read, override, validate, and expand to experiments."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from benchmark.data.catalog import DATASETS
from benchmark.errors import UserError, suggestion
from benchmark.files.mistakes import first_mistake
from benchmark.files.yaml_file import read_mapping
from benchmark.results.fields import Granularity
from benchmark.suite.allocation import Strategy
from benchmark.suite.experiment import ArtifactSpec, Experiment, NetworkSpec, TrainingSpec
from benchmark.suite.first_phase import with_first_phase
from benchmark.suite.objectives import Objective
from benchmark.suite.overrides import apply_override
from benchmark.suite.presets import PresetName, apply_preset
from benchmark.suite.registry import ResolvedMethod, resolve
from benchmark.suite.settings import EvaluationSpec, ExactFraction, Strict

T = TypeVar("T")
OneOrMany = Annotated[
    list[T], Field(min_length=1), BeforeValidator(lambda value: value if isinstance(value, list) else [value])
]


def _text(value: Any) -> Any:
    if isinstance(value, float):  # YAML has dropped digits: 1.10 would become 1.1
        raise ValueError("this must be text; put it in quotes")
    return value


Text = Annotated[str, BeforeValidator(_text)]
WeightForm = Literal["fp", "binary"]
KeepRatio = Annotated[float, Field(gt=0, le=1)]
ObjectiveName = Literal["own", Objective]  # own: the method's paper's


class Axes(Strict):
    """The axes of the grid, each a value or a list. An axis of a method entry replaces the suite's."""

    weights: OneOrMany[WeightForm] | None = None
    keep_ratio: OneOrMany[KeepRatio] | None = None
    allocation: OneOrMany[Strategy] | None = None
    granularity: OneOrMany[Granularity] | None = None
    last_norm: OneOrMany[bool] | None = None
    objective: OneOrMany[ObjectiveName] | None = None


class MethodEntry(Axes):
    """One method and its part of the grid."""

    method: Text
    options: dict[str, Any] = {}  # fields of the method; a list is another axis
    training: dict[str, Any] = {}  # overrides the suite's training settings
    architecture: NetworkSpec = NetworkSpec()  # the fields set here override the suite's architecture
    first_phase: Text | None = None  # method of this suite whose matching run replaces the first phase


class Suite(Strict):
    """A grid of experiments on one data set."""

    name: Text
    about: Text = ""
    preset: Literal["paper", "own"] = "own"  # own: the schedule is the suite's, not the paper's
    dataset: Text
    train_images: int | None = Field(default=None, ge=2)
    epsilon: ExactFraction | None = None  # None means the data set's default
    architecture: NetworkSpec = NetworkSpec()
    grid: Axes = Axes()
    methods: list[MethodEntry] = Field(min_length=1)
    training: TrainingSpec = TrainingSpec()
    artifact: ArtifactSpec = ArtifactSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    seeds: OneOrMany[Annotated[int, Field(ge=0)]] = [0]


GRID_DEFAULTS: dict[str, list[Any]] = {
    "weights": ["fp", "binary"],
    "keep_ratio": [0.01],
    "allocation": [0.1],
    "granularity": ["weight"],
    "last_norm": [True],
    "objective": ["own"],
}


def load_suite(path: Path, overrides: Sequence[str] = ()) -> Suite:
    """Read a YAML suite and apply `key.subkey=value` overrides.

    An override of `training` or `architecture` also overrides the settings of single methods there.

    Raises:
        UserError: if the file is missing, is not YAML, or does not describe a suite.
    """
    try:
        document = read_mapping(path, "name, dataset and methods")
    except FileNotFoundError:
        raise UserError(f"there is no suite {path}; `python -m benchmark list` shows the bundled suites") from None
    for override in overrides:
        apply_override(document, override)
    if any(_changes_training(override) for override in overrides) and document.get("preset") == "paper":
        document["preset"] = "own"  # a changed schedule is no longer the paper's
    return validated(Suite, document, " ".join([str(path), *(f"--set {override}" for override in overrides)]))


def _changes_training(override: str) -> bool:
    return override.split("=")[0].split(".")[0].strip() not in ("name", "about", "preset", "seeds", "evaluation")


M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], document: Any, where: str) -> M:
    """Validate settings, turning the first problem into one sentence.

    Raises:
        UserError: naming the setting, the problem and the value.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{where}: {first_mistake(error)}") from None


def expand(
    suite: Suite,
    entries: Sequence[tuple[MethodEntry, ResolvedMethod]],
    *,
    seeds: Sequence[int],
    preset: PresetName | None,
) -> list[Experiment]:
    """Expand the grid to experiments, in the order of the entries, without duplicates.

    Raises:
        UserError: if a method's options are wrong, or if neither the suite nor the data set has an epsilon.
    """
    experiments: dict[str, Experiment] = {}
    for number, (entry, method) in enumerate(entries):
        where = f"{suite.name}: methods[{number}] ({entry.method})"
        dense = _dense_runs(suite, entry.first_phase, seeds=seeds, preset=preset) if entry.first_phase else {}
        for cell in _cells(suite, entry, method):
            # Validated once, which takes longer than all else: where the largest seed passes, the others do.
            validated_one = _experiment(suite, entry, method, cell, max(seeds), where)
            if preset is not None:
                validated_one = apply_preset(validated_one, preset)
            for seed in seeds:
                experiment = validated_one.model_copy(update={"seed": seed})
                if entry.first_phase is not None:
                    experiment = with_first_phase(dense[seed], entry.first_phase, experiment, method, where)
                experiments.setdefault(experiment.run, experiment)
    return list(experiments.values())


def _dense_runs(
    suite: Suite, name: str, *, seeds: Sequence[int], preset: PresetName | None
) -> dict[int, list[Experiment]]:
    """Return the suite's runs of a method that other methods begin with, by seed."""
    method = resolve(name)
    entries = [
        (other.model_copy(update={"first_phase": None}), method)  # it must train all its phases itself
        for other in suite.methods
        if other.method == name
    ]
    runs: dict[int, list[Experiment]] = {seed: [] for seed in seeds}
    for experiment in expand(suite, entries, seeds=seeds, preset=preset):
        runs[experiment.seed].append(experiment)
    return runs


def _cells(suite: Suite, entry: MethodEntry, method: ResolvedMethod) -> Iterator[dict[str, Any]]:
    """Yield every combination of the axes and the method's options, by name."""
    axes: dict[str, list[Any]] = {}
    for name, default in GRID_DEFAULTS.items():
        own = [method.cls.own_axes[name]] if name in method.cls.own_axes else None
        axes[name] = getattr(entry, name) or own or getattr(suite.grid, name) or default
    axes["objective"] = list(
        dict.fromkeys(method.cls.objective if name == "own" else name for name in axes["objective"])
    )
    options = {
        f"options.{name}": value if isinstance(value, list) else [value] for name, value in entry.options.items()
    }
    if empty := [name for name, values in options.items() if not values]:
        raise UserError(f"{suite.name}: {entry.method}: {empty[0]} is an empty list; give at least one value")
    names = [*axes, *options]
    for values in itertools.product(*axes.values(), *options.values()):
        yield dict(zip(names, values, strict=True))


def _experiment(
    suite: Suite, entry: MethodEntry, method: ResolvedMethod, cell: dict[str, Any], seed: int, where: str
) -> Experiment:
    options = {name.removeprefix("options."): value for name, value in cell.items() if name.startswith("options.")}
    epsilon = suite.epsilon or (DATASETS[suite.dataset].epsilon if suite.dataset in DATASETS else None)
    if epsilon is None:
        raise UserError(
            f"{suite.dataset!r} is not a known data set and has no default epsilon."
            f"{suggestion(suite.dataset, DATASETS)} For your own data set, give --data-dir and --set epsilon=8/255"
        )
    dense = cell["keep_ratio"] == 1  # all its allocations and granularities are the same
    settings = {
        "suite": suite.name,
        "preset": suite.preset,
        "dataset": suite.dataset,
        "train_images": suite.train_images,
        "epsilon": epsilon,
        "architecture": {
            **suite.architecture.model_dump(exclude_unset=True),
            **entry.architecture.model_dump(exclude_unset=True),
            "last_norm": cell["last_norm"],
        },
        "method": method.spec(options, where).model_dump(),
        "weights": cell["weights"],
        "keep_ratio": cell["keep_ratio"],
        "allocation": 1.0 if dense or cell["granularity"] == "2:4" else cell["allocation"],  # 2:4 halves every layer
        "granularity": "weight" if dense else cell["granularity"],
        "objective": cell["objective"],
        "training": _merged(suite.training.model_dump(exclude_unset=True), entry.training),
        "artifact": suite.artifact.model_dump(exclude_unset=True),
        "evaluation": suite.evaluation.model_dump(exclude_unset=True),
        "seed": seed,
    }
    return validated(Experiment, settings, where)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` updated recursively with `changes`."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
