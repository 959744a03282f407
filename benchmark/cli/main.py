"""The command line. Thin: it parses, calls, prints. Imports torch only inside the commands that need it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from benchmark.cli.echo import echo_line, echo_text
from benchmark.cli.paths import PATH

app = typer.Typer(
    name="benchmark",
    help="Trains, compresses, attacks and ranks neural networks that must be small and adversarially robust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

SuiteArgument = Annotated[
    str | None,
    typer.Argument(
        help="A suite in configs/ by name, or a path to a YAML file. Default: quickstart, or the suite for --dataset. "
        "A method that the YAML file gives as a file or module is imported, which runs its code.",
        show_default=False,
    ),
]
MethodsOption = Annotated[
    str | None,
    typer.Option(
        help="'all' (built-in and plug-ins), or names, path/to/file.py:Class and package.module:Class, by commas. "
        "Default: the suite's. A file or module named here is imported, which runs its code.",
        show_default=False,
    ),
]
DatasetOption = Annotated[str | None, typer.Option(help="Data set. Default: the suite's.", show_default=False)]
PresetOption = Annotated[
    str | None, typer.Option(help="Scale the schedule: paper, short or smoke.", show_default=False)
]
SeedsOption = Annotated[
    str | None,
    typer.Option("--seeds", "--seed", help="Training seeds, separated by commas.", show_default=False),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting, as in --set training.epochs=5. May be repeated."),
]
DataDirOption = Annotated[
    Path | None, typer.Option(help="Folder with the data set's files. Default: data", show_default=False, **PATH)
]
OutOption = Annotated[
    Path, typer.Option(help="Output folder: records, board pages, and work/ for what is under way.", **PATH)
]


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
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Experiments side by side. Default: one per two cores, at least two; one on a GPU."),
    ] = None,
) -> None:
    """Train, compress and attack every experiment that is not done yet, then print the boards."""
    from benchmark.session import Request, run_suite

    request = Request(suite, methods, dataset, preset, seeds, tuple(overrides or ()), data_dir, out)
    with stoppable():
        failed = run_suite(request, device=device, jobs=jobs, say=echo_line)
    if failed:
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
) -> None:
    """Print every experiment of a suite with state, cost and the reported number it reproduces; train nothing.

    A file or module with one of its methods is imported, which runs its code.
    """
    from benchmark.planning.measured import load_measurement
    from benchmark.planning.text import plan_lines
    from benchmark.session import Request, plan_suite

    request = Request(suite, methods, dataset, preset, seeds, tuple(overrides or ()), data_dir, out)
    for line in plan_lines(plan_suite(request), load_measurement(out)):
        echo_line(line)


@app.command()
def check(
    method: Annotated[
        str,
        typer.Argument(
            help="A registered name, path/to/file.py:Class, or package.module:Class. The file or module is imported, "
            "which runs its code.",
            show_default=False,
        ),
    ],
) -> None:
    """Check that a method keeps the contract: every rule, on tiny networks, in under two minutes on a CPU."""
    from benchmark.conformance.check import check_method, summary
    from benchmark.suite.registry import resolve

    found = resolve(method)
    verdicts = []
    for verdict in check_method(found):
        verdicts.append(verdict)
        echo_line(str(verdict))
    echo_line(summary(verdicts, found.cls.name))
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


@app.command(name="list")
def list_() -> None:
    """Show methods, data sets, architectures, presets, suites and boards."""
    from benchmark.suite.catalogue import catalogue

    for title, lines in catalogue().items():
        echo_line(f"{title}")
        width = max((len(name) for name, _ in lines), default=0)
        for name, about in lines:
            echo_line(f"  {name:<{width}}  {about}".rstrip())
        echo_line()


@app.command()
def leaderboard(
    out: Annotated[Path, typer.Option(help="Folder with records/; the pages are written next to it.", **PATH)] = Path(
        "leaderboards"
    ),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a page differs.")] = False,
) -> None:
    """Render the records: one board per protocol in every format, the site, the changelog, the README's table."""
    from benchmark.leaderboard.render import check_pages, write_pages
    from benchmark.results.store import check_folder

    def note(text: str) -> None:
        echo_line(text, err=True)

    check_folder(out)
    if check:
        problems = check_pages(out, note)
        for problem in problems:
            echo_line(problem, err=True)
        if problems:
            raise typer.Exit(1)
        echo_line(f"{out}: all pages agree with their records")
    else:
        changed = write_pages(out, note)
        for path in changed:
            if out / "site" not in path.parents:  # which has a page for every row
                echo_line(f"{'wrote' if path.exists() else 'removed'} {path}")
        echo_line(f"{out}: {len(changed)} pages changed")


@app.command()
def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A row: a run, four or more digits of its hash, or a part of its cell's name; "
            "several hashes, joined by commas, for the seeds of one row.",
            show_default=False,
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Another row of the same protocol.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder with records/.", **PATH)] = Path("leaderboards"),
    protocol: Annotated[
        str | None, typer.Option(help="Protocol id. Default: the one that has both rows.", show_default=False)
    ] = None,
) -> None:
    """Compare two rows image by image: intervals, an exact paired test, what it says in one sentence."""
    from benchmark.leaderboard.board.compare import compare_text
    from benchmark.leaderboard.board.find import find_pair
    from benchmark.results.challenges import best_known_records
    from benchmark.results.store import check_folder

    check_folder(out)
    echo_text(compare_text(*find_pair(best_known_records(out), a, b, protocol=protocol)))


@contextmanager
def stoppable(note: str = "the same command goes on where it was") -> Iterator[None]:
    """End the command with exit code 130 on Ctrl-C, after what it has begun is put in order; once more ends it at once.

    Libraries that are imported meanwhile may turn the interruption into an error of their own, which is none.
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
