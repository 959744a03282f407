"""The command line: parses options, calls the library, prints. Only commands that need torch import it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from benchmark.cli.echo import echo_line, echo_text
from benchmark.cli.options import (
    DataDirOption,
    DatasetOption,
    DeviceOption,
    LauncherConfigOption,
    LauncherOption,
    MethodsOption,
    OutOption,
    PresetOption,
    SeedsOption,
    SetOption,
    ShardsOption,
    SuiteArgument,
    TimeLimitOption,
    TrackOption,
)
from benchmark.files.text import counted
from benchmark.runtime.stopping import SIGNALS, Stopped, stop_on_signals

app = typer.Typer(
    name="benchmark",
    help="Train, compress, attack and rank neural networks that are small and adversarially robust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def run(
    suite: SuiteArgument = None,
    methods: MethodsOption = None,
    dataset: DatasetOption = None,
    preset: PresetOption = None,
    seeds: SeedsOption = None,
    overrides: SetOption = None,
    data_dir: DataDirOption = None,
    out: OutOption = Path("runs"),
    device: DeviceOption = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Experiments in parallel. Default: one per two cores, at least two; one per GPU."),
    ] = None,
    launcher: LauncherOption = "local",
    launcher_config: LauncherConfigOption = None,
    shards: ShardsOption = 1,
    time_limit: TimeLimitOption = None,
    track: TrackOption = None,
) -> None:
    """Run the experiments of a suite and print the boards.

    Trains, compresses and attacks every experiment that is not done yet. If stopped, run the same
    command again to resume.
    """
    from benchmark.api.running import run

    err = launcher == "commands"  # which prints nothing but commands on standard output
    with stoppable(), _leaving_on_signals():
        result = run(
            suite,
            methods=methods,
            dataset=dataset,
            preset=preset,
            seeds=seeds,
            settings=overrides,
            data_dir=data_dir,
            out=out,
            device=device,
            jobs=jobs,
            launcher=launcher,
            launcher_config=launcher_config,
            shards=shards,
            time_limit=time_limit,
            track=track,
            report=partial(echo_line, err=err),
        )
    if result.text:
        echo_text(f"{result.text}\n", err=err)
    if result.left:
        names = "".join(f"\n  {run}" for run in result.left)
        count = counted(len(result.left), "experiment")
        echo_text(f"left: {count}; run the same command again to continue{names}\n", err=err)
    if not result.ok:
        raise typer.Exit(1)


@app.command()
def plan(
    suite: SuiteArgument = None,
    methods: MethodsOption = None,
    dataset: DatasetOption = None,
    preset: PresetOption = None,
    seeds: SeedsOption = None,
    overrides: SetOption = None,
    data_dir: DataDirOption = None,
    out: OutOption = Path("runs"),
    gpus: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Predict the time on so many GPUs like the one that `bench` measured, or CPU workers if it measured a "
            "CPU.",
            show_default=False,
        ),
    ] = None,
    shards: ShardsOption = 1,
) -> None:
    """Show the experiments of a suite; train nothing.

    Prints the state, the cost and the reported number of each experiment.
    """
    from benchmark.api.planning import plan

    planned = plan(
        suite,
        methods=methods,
        dataset=dataset,
        preset=preset,
        seeds=seeds,
        settings=overrides,
        data_dir=data_dir,
        out=out,
        gpus=gpus,
        shards=shards,
    )
    echo_text(f"{planned.text}\n")


@app.command()
def check(
    method: Annotated[
        str,
        typer.Argument(
            help="A method: a registered name, path/to/file.py:Class or package.module:Class. A file or module is "
            "imported, which runs its code.",
            show_default=False,
        ),
    ],
) -> None:
    """Check that a method satisfies the method contract.

    Checks every rule on tiny networks, in less than two minutes on a CPU.
    """
    from benchmark.conformance.check import check_method, summary
    from benchmark.suite.registry import resolve

    resolved_method = resolve(method)
    verdicts = []
    for verdict in check_method(resolved_method):
        verdicts.append(verdict)
        echo_line(str(verdict))
    echo_line(summary(verdicts, resolved_method.cls.name))
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


@app.command(name="list")
def list_() -> None:
    """List everything that the other commands accept.

    Methods, data sets, architectures, presets, suites and boards.
    """
    from benchmark.suite.catalogue import catalogue

    for title, lines in catalogue().items():
        echo_line(f"{title}")
        width = max((len(name) for name, _ in lines), default=0)
        for name, about in lines:
            echo_line(f"  {name:<{width}}  {about}".rstrip())
        echo_line()


@contextmanager
def _leaving_on_signals() -> Iterator[None]:
    """Let schedulers' signals stop the workers, each with what it has reached on disk; then exit with code 0."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    stop_on_signals()
    try:
        yield
    except Stopped as stopped:  # before or after the workers
        echo_line(f"stopped ({stopped}); run the same command again to continue", err=True)
        raise typer.Exit(0) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stoppable(note: str = "run the same command again to resume") -> Iterator[None]:
    """End the command cleanly with exit code 130 on Ctrl-C, and immediately on a second Ctrl-C.

    Any exception after Ctrl-C counts as the interruption, as libraries may replace KeyboardInterrupt during imports.
    """
    interrupted = False

    def interrupt(*_: object) -> NoReturn:
        nonlocal interrupted
        if interrupted:
            os._exit(130)
        interrupted = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except BaseException as error:
        if not interrupted and not isinstance(error, KeyboardInterrupt):
            raise
        echo_line(f"stopped; {note}", err=True)
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGINT, before)
