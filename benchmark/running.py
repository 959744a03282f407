"""`run`, from the user's request to finished records and pages."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from benchmark.data.hashes import LocalData
from benchmark.errors import UserError
from benchmark.files.text import counted
from benchmark.launch.config import ElsewhereConfig, LauncherConfig, load_config
from benchmark.launch.engine import LaunchContext, make_engine
from benchmark.launch.job import Job, job_graph
from benchmark.launch.order import WorkOrder, has_begun, started_threads, work_folder
from benchmark.launch.time_limit import TimeLimit, parse_duration
from benchmark.launch.trackers import check_tracker
from benchmark.leaderboard.render import check_place, write_pages
from benchmark.planning.machine import is_here
from benchmark.planning.measured import load_measurement
from benchmark.planning.states import Planned
from benchmark.planning.text import remarks
from benchmark.planning.times import predictions, seconds_of_jobs
from benchmark.planning.workers import check_shards
from benchmark.results.bounds import MAX_TEXT
from benchmark.results.store import make_folders
from benchmark.runtime.devices import choose_device, jobs_and_threads
from benchmark.session import Request, plan_suite
from benchmark.suite.experiment import Experiment
from benchmark.training.history import read


@dataclass(frozen=True)
class LaunchOptions:
    """How the experiments are run, as typed; nothing of it enters the hash of a run.

    Attributes:
        device: "auto", "cpu" or "cuda".
        jobs: processes side by side on this machine; None for the default.
        launcher: name of an engine.
        config: YAML file with the launcher's settings; None for the defaults.
        shards: jobs of each AutoAttack.
        time_limit: such as "8m", see `parse_duration`; None for none.
        track: name of a tracker; None for none.
    """

    device: str = "auto"
    jobs: int | None = None
    launcher: str = "local"
    config: Path | None = None
    shards: int = 1
    time_limit: str | None = None
    track: str | None = None


@dataclass(frozen=True)
class Ran:
    """What `run_suite` did."""

    planned: tuple[Planned, ...]  # with the states from before the run
    failed: tuple[str, ...]  # runs
    left: tuple[str, ...]  # runs that were not finished, as the time was up or a stop was requested


def run_suite(request: Request, options: LaunchOptions, say: Callable[[str], None]) -> Ran:
    """Run what is missing and write the pages.

    Raises:
        UserError: for any mistake in the request or the data, before anything runs, and if every experiment is refused.
        Stopped: if a stop was requested before or after the experiments were run.
    """
    config = load_config(options.launcher, options.config)
    limit = TimeLimit(None if options.time_limit is None else parse_duration(options.time_limit, "--time-limit"))
    if options.track is not None:
        check_tracker(options.track, here=_runs_here(config))
    command = _command(request, options)
    local = LocalData(request.data_dir)
    planned = _checked(plan_suite(request, local), options)
    check_place(request.out)
    context = _context(request, options, config)
    todo = _todo(planned)
    failed, left = tuple[str, ...](), tuple[str, ...]()
    with ExitStack() as started:
        # The engine imports libraries for the workers while the data are checked.
        engine = started.enter_context(make_engine(config, context)) if todo else None
        if todo:
            _check_data(todo[0].experiment, local)
            make_folders(request.out, "work", "records", "artifacts")
        if todo and any(item.unchecked for item in planned):  # the data have been downloaded or unpacked by now
            planned = _checked(plan_suite(request, local), options)
            todo = _todo(planned)
        for line in remarks(planned):
            say(line)
        done = sum(item.state == "done" for item in planned)
        where = f"{context.jobs} in parallel on {context.device}" if _runs_here(config) else f"by {config.launcher}"
        say(f"{counted(len(planned), 'experiment')}: {done} done, {len(todo)} to run, {where}")
        if engine is not None:
            jobs = job_graph([_order(item, request, options, config, context, command) for item in todo])
            if options.time_limit is not None and _runs_here(config):
                limit.predict(_predicted(jobs, todo, request.out))
            outcome = engine.run(jobs, limit=limit, say=say)
            failed, left = outcome.failed, outcome.left
    write_pages(request.out)
    return Ran(tuple(planned), failed, left)


def _todo(planned: Sequence[Planned]) -> list[Planned]:
    return [item for item in planned if item.state in ("todo", "failed")]


def _checked(planned: list[Planned], options: LaunchOptions) -> list[Planned]:
    """Return the plan; raises UserError if all of it is refused, or has fewer images than shards."""
    if planned and all(item.state == "refused" for item in planned):
        first, count = planned[0], len(planned)
        subject = "the experiment is" if count == 1 else f"all {count} experiments are"
        raise UserError(f"{subject} refused, {first.experiment.cell} because: {first.reason}")
    if options.shards < 1:
        raise UserError(f"--shards takes a whole number from 1; got {options.shards}")
    check_shards(planned, options.shards)
    return planned


def _runs_here(config: LauncherConfig) -> bool:
    return not isinstance(config, ElsewhereConfig)


def _context(request: Request, options: LaunchOptions, config: LauncherConfig) -> LaunchContext:
    """Return what the engine gets; where jobs run elsewhere, each decides there what "auto" is."""
    if isinstance(config, ElsewhereConfig):
        if options.jobs is not None:
            raise UserError(f"--jobs is for workers on this machine; leave it out with --launcher {config.launcher}")
        devices: dict[str, Literal["auto", "cpu", "cuda"]] = {"auto": "auto", "cpu": "cpu", "cuda": "cuda"}
        if options.device not in devices:
            raise UserError(f"--device takes auto, cpu or cuda; got {options.device!r}")
        context = LaunchContext(request.out.absolute(), devices[options.device], 1, config.cpus_per_job)
    else:
        device = choose_device(options.device)
        jobs, threads = jobs_and_threads(device, options.jobs, gpus_per_job=config.gpus_per_job)
        context = LaunchContext(request.out, device, jobs, threads)
    if context.device == "cpu" and config.gpus_per_job > 1:
        raise UserError(
            f"gpus_per_job is {config.gpus_per_job}, but this run computes on CPUs; remove it from --launcher-config, "
            "or use --device cuda"
        )
    return context


def _order(
    item: Planned,
    request: Request,
    options: LaunchOptions,
    config: LauncherConfig,
    context: LaunchContext,
    command: str,
) -> WorkOrder:
    data_dir = request.data_dir
    return WorkOrder(
        experiment=item.experiment,
        out=context.out,
        data_dir=data_dir if data_dir is None or _runs_here(config) else data_dir.absolute(),
        device=context.device,
        threads=started_threads(context.out, item.experiment) or context.threads,
        command=command,
        trained_for=item.remeasured.protocol if item.remeasured else None,
        shards=options.shards,
        processes=config.gpus_per_job,
        lease_seconds=config.lease_seconds,
        track=None if options.track is None else check_tracker(options.track, here=_runs_here(config)),
    )


def _predicted(jobs: Sequence[Job], todo: Sequence[Planned], out: Path) -> dict[str, float]:
    """Return the seconds of jobs by name, from what `bench` measured on this machine."""
    measured = load_measurement(out)
    if measured is None or not is_here(measured.machine):
        return {}
    times = {}
    for item, time in zip(todo, predictions(todo, measured), strict=True):
        if time is not None:
            share = _share_left(item.experiment, out)
            times[item.experiment.run] = replace(
                time, training=time.training * share, validation=time.validation * share
            )
    return seconds_of_jobs(jobs, times)


def _share_left(experiment: Experiment, out: Path) -> float:
    """Return the share of the training, in [0, 1], that a run which has begun still has to do."""
    folder = work_folder(out, experiment.run)
    epochs = read(folder / "history.jsonl") if has_begun(folder) and (folder / "history.jsonl").exists() else ()
    left = experiment.training.epochs - epochs[-1].epoch if epochs else 1
    return left / (left + len(epochs))


def _check_data(experiment: Experiment, local: LocalData) -> None:
    """Check the data before anything starts, so that a mistake in them is reported once."""
    experiment.evaluation.wide_images(local.check(experiment.dataset))


def _command(request: Request, launch: LaunchOptions) -> str:
    """Return the command line of a request, without options that have their default or change no result.

    Raises:
        UserError: if it is longer than a record allows.
    """
    options = {
        "--methods": request.methods,
        "--dataset": request.dataset,
        "--preset": request.preset,
        "--seeds": request.seeds,
        "--data-dir": request.data_dir,
        "--out": None if request.out == Path("runs") else request.out,
        "--device": None if launch.device == "auto" else launch.device,
        "--jobs": launch.jobs,
        "--shards": None if launch.shards == 1 else launch.shards,
    }
    words = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    settings = [word for override in request.overrides for word in ("--set", override)]
    suite = [] if request.suite is None else [request.suite]
    command = shlex.join(["python", "-m", "benchmark", "run", *suite, *words, *settings])
    if len(command) > MAX_TEXT:
        raise UserError(
            f"the command has {len(command):,} characters, but a record holds at most {MAX_TEXT:,}; move the settings "
            "into a suite"
        )
    return command
