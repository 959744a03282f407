"""From the user's request to experiments, and to their plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.data.hashes import LocalData
from benchmark.errors import UserError, suggestion
from benchmark.files.places import CONFIGS
from benchmark.planning.states import Planned, plan
from benchmark.suite.catalogue import registered_methods
from benchmark.suite.experiment import Experiment
from benchmark.suite.presets import PRESETS, PresetName
from benchmark.suite.registry import ResolvedMethod, resolve
from benchmark.suite.seeds import parse_seeds
from benchmark.suite.suite import MethodEntry, Suite, expand, load_suite


@dataclass(frozen=True)
class Request:
    """The user's options, as typed."""

    suite: str | None
    methods: str | None
    dataset: str | None
    preset: str | None
    seeds: str | None
    overrides: tuple[str, ...]
    data_dir: Path | None
    out: Path


def resolve_request(request: Request) -> tuple[list[Experiment], dict[str, ResolvedMethod]]:
    """Return the experiments of a request, and their methods by target.

    Raises:
        UserError: for any mistake in the request.
    """
    suite = _suite(request)
    entries = _entries(suite, request.methods)
    seeds = suite.seeds if request.seeds is None else parse_seeds(request.seeds)
    experiments = expand(suite, entries, seeds=seeds, preset=_preset(request, suite))
    return experiments, {method.target: method for _, method in entries}


def plan_suite(request: Request, local: LocalData | None = None) -> list[Planned]:
    """Return the experiments of a request with their states.

    Args:
        request: the user's options.
        local: the data on disk, with the facts that were read before; None reads them again.

    Raises:
        UserError: for any mistake in the request.
    """
    experiments, methods = resolve_request(request)
    return plan(experiments, methods, request.out, local or LocalData(request.data_dir))


def _suite(request: Request) -> Suite:
    path = _suite_path(request)
    suite = load_suite(path, request.overrides)
    if request.dataset is None or request.dataset == suite.dataset:
        return suite
    # Epsilon and step sizes belong to the suite's own data set. Another one has its own epsilon, and steps of a quarter
    # of it, unless the user has set them.
    overridden = {override.partition("=")[0].strip() for override in request.overrides}
    training, pgd = suite.training, suite.evaluation.pgd
    if "training.attack.step_size" not in overridden:
        attack = training.attack.model_copy(update={"step_size": None})
        training = training.model_copy(update={"attack": attack})
    if "evaluation.pgd.step_size" not in overridden:
        pgd = pgd.model_copy(update={"step_size": None})
    return suite.model_copy(
        update={
            "dataset": request.dataset,
            "preset": "own",
            "epsilon": suite.epsilon if "epsilon" in overridden else None,
            "training": training,
            "evaluation": suite.evaluation.model_copy(update={"pgd": pgd}),
        }
    )


def _suite_path(request: Request) -> Path:
    suites = {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}
    if request.suite is None:
        if request.dataset in (None, "digits"):
            return suites["quickstart"]
        return suites.get(request.dataset, suites["default"])
    if request.suite in suites:
        return suites[request.suite]
    path = Path(request.suite).expanduser()
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    raise UserError(
        f"there is no suite {request.suite!r}.{suggestion(request.suite, suites)} Known: {', '.join(suites)}; "
        "or give the path of a YAML file"
    )


def _entries(suite: Suite, methods: str | None) -> list[tuple[MethodEntry, ResolvedMethod]]:
    """Return the suite's entries of the chosen methods; a method without an entry gets the suite's plain grid."""
    if methods is None:
        return [(entry, resolve(entry.method)) for entry in suite.methods]
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if not names:
        raise UserError("--methods is empty; give 'all' or names separated by commas")
    if "all" in names:
        own_classes = [entry.method for entry in suite.methods if ":" in entry.method]
        names = [*registered_methods(), *own_classes, *(name for name in names if name != "all")]
    chosen: list[tuple[MethodEntry, ResolvedMethod]] = []
    for name in dict.fromkeys(names):
        method = resolve(name)
        entries = [entry for entry in suite.methods if entry.method == name] or [MethodEntry(method=name)]
        chosen += [(entry, method) for entry in entries]
    return chosen


def _preset(request: Request, suite: Suite) -> PresetName | None:
    name = request.preset
    if name is None:
        return None
    for preset in PRESETS:
        if name == preset:
            if preset == "paper" and suite.preset != "paper":
                raise UserError(
                    f"--preset paper contradicts suite {suite.name}, whose schedule is not the paper's; "
                    "leave the option out, or use cifar10 or cifar100"
                )
            return preset
    raise UserError(f"unknown preset {name!r}.{suggestion(name, PRESETS)} Known: {', '.join(PRESETS)}")
