"""`plan` and `run`, from the user's request to finished records."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmark.data.hashes import LocalData
from benchmark.errors import UserError, suggestion
from benchmark.files.places import CONFIGS
from benchmark.launch.forking import ForkServer
from benchmark.launch.local import run_local
from benchmark.launch.order import WorkOrder, started_threads
from benchmark.planning.states import Planned, plan
from benchmark.planning.text import remarks
from benchmark.results.bounds import MAX_TEXT
from benchmark.results.store import make_folders
from benchmark.runtime.devices import choose_device, jobs_and_threads
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


@dataclass(frozen=True)
class Outcome:
    """What `run_suite` did."""

    planned: tuple[Planned, ...]  # with the states from before the run
    failed: tuple[str, ...]  # runs


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


def run_suite(request: Request, *, device: str, jobs: int | None, say: Callable[[str], None]) -> Outcome:
    """Run what is missing and write the pages.

    Raises:
        UserError: for any mistake in the request or the data, before anything runs, and if every experiment is refused.
    """
    from benchmark.leaderboard.render import check_place, write_pages  # which `plan` has no need to load

    command = _command(request, device, jobs)
    if len(command) > MAX_TEXT:
        raise UserError(
            f"the command has {len(command):,} characters, but a record holds at most {MAX_TEXT:,}; move the settings "
            "into a suite"
        )
    local = LocalData(request.data_dir)
    planned = _acceptable(plan_suite(request, local))
    check_place(request.out)
    resolved_device = choose_device(device)
    todo = [item for item in planned if item.state in ("todo", "failed")]
    failed: Sequence[WorkOrder] = []
    # The server imports libraries for the workers while the data are checked.
    with ForkServer(resolved_device) if todo else nullcontext() as server:
        if todo:
            _check_data(todo[0].experiment, local)
            make_folders(request.out, "work", "records", "artifacts")
        if todo and any(item.unchecked for item in planned):  # the data have been downloaded or unpacked by now
            planned = _acceptable(plan_suite(request, local))
            todo = [item for item in planned if item.state in ("todo", "failed")]
        for line in remarks(planned):
            say(line)
        done = sum(item.state == "done" for item in planned)
        jobs, threads = jobs_and_threads(resolved_device, jobs)
        say(f"{len(planned)} experiments: {done} done, {len(todo)} to run, {jobs} in parallel on {resolved_device}")
        if server is not None:
            orders = [
                WorkOrder(
                    experiment=item.experiment,
                    out=request.out,
                    data_dir=request.data_dir,
                    device=resolved_device,
                    threads=started_threads(request.out, item.experiment) or threads,
                    command=command,
                    trained_for=item.remeasured.protocol if item.remeasured else None,
                )
                for item in todo
            ]
            failed = run_local(orders, server, jobs=jobs, say=say)
    write_pages(request.out)
    return Outcome(tuple(planned), tuple(order.experiment.run for order in failed))


def _acceptable(planned: list[Planned]) -> list[Planned]:
    """Return the plan; raises UserError if every experiment in it is refused."""
    if planned and all(item.state == "refused" for item in planned):
        first, count = planned[0], len(planned)
        subject = "the experiment is" if count == 1 else f"all {count} experiments are"
        raise UserError(f"{subject} refused, {first.experiment.cell} because: {first.reason}")
    return planned


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


def _check_data(experiment: Experiment, local: LocalData) -> None:
    """Check the data before anything starts, so that a mistake in them is reported once."""
    experiment.evaluation.wide_images(local.check(experiment.dataset))


def _command(request: Request, device: str, jobs: int | None) -> str:
    """Return the command line of a request, without options that have their default."""
    options = {
        "--methods": request.methods,
        "--dataset": request.dataset,
        "--preset": request.preset,
        "--seeds": request.seeds,
        "--data-dir": request.data_dir,
        "--out": None if request.out == Path("runs") else request.out,
        "--device": None if device == "auto" else device,
        "--jobs": jobs,
    }
    words = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    settings = [word for override in request.overrides for word in ("--set", override)]
    suite = [] if request.suite is None else [request.suite]
    return shlex.join(["python", "-m", "benchmark", "run", *suite, *words, *settings])
