"""`benchmark.run`: runs the experiments of a suite and returns their records and boards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from benchmark.api.places import optional_path
from benchmark.api.requests import Methods, Seeds, Settings, request_of
from benchmark.errors import UserError
from benchmark.evaluation.arguments import checked_report
from benchmark.launch.remeasured import is_measured
from benchmark.leaderboard.board.loading import load_results
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.render import to_terminal
from benchmark.results.record import Record
from benchmark.results.store import load_records
from benchmark.running import LaunchOptions, run_suite


@dataclass(frozen=True)
class RunResult:
    """What a run left behind; `print` shows the boards as the command does.

    Attributes:
        out: the output folder.
        records: of the experiments asked for, those done before included, in the order of the plan.
        failed: names of the runs that failed; work/<run>/failed.txt below `out` has the traceback.
        left: names of the runs that are not finished, as the time was up or a stop was requested.
        refused: why the other experiments were not run, by the name of the run.
        other_data: names of those among them that have a record made from other data.
        boards: by protocol, those that show one of the runs. `benchmark.board(protocol, out)` is one as a DataFrame.
    """

    out: Path
    records: tuple[Record, ...] = field(repr=False)
    failed: tuple[str, ...]
    left: tuple[str, ...]
    refused: Mapping[str, str]
    other_data: tuple[str, ...]
    boards: Mapping[str, Board] = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether nothing failed and no record is of other data."""
        return not self.failed and not self.other_data

    @property
    def text(self) -> str:
        """The boards, as the command prints them."""
        return "\n".join(
            f"\n{to_terminal(board).rstrip()}\n"
            f"pages: {self.out / f'{protocol}.md'} and, to sort and search, {self.out / 'site' / f'{protocol}.html'}"
            for protocol, board in self.boards.items()
        )

    def __str__(self) -> str:
        return self.text


def run(
    suite: str | PathLike[str] | None = None,
    *,
    methods: Methods | None = None,
    dataset: str | None = None,
    preset: str | None = None,
    seeds: Seeds | None = None,
    settings: Settings | None = None,
    data_dir: str | PathLike[str] | None = None,
    out: str | PathLike[str] = "runs",
    device: str = "auto",
    jobs: int | None = None,
    launcher: str = "local",
    launcher_config: str | PathLike[str] | None = None,
    shards: int = 1,
    time_limit: str | None = None,
    track: str | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> RunResult:
    """Train, compress and attack every experiment of a suite that is not done yet, and write the boards' pages.

    An interrupted run resumes when it is called again.

    Args:
        suite: see `benchmark.plan`, also for the next seven.
        methods: which methods.
        dataset: data set.
        preset: scale.
        seeds: training seeds, as numbers or as text such as "0,1" or "0..359".
        settings: values that override the suite.
        data_dir: folder with the data set's files.
        out: folder for records, artifacts, pages and work in progress.
        device: "auto", "cpu" or "cuda".
        jobs: experiments in parallel; None for one per two cores, at least two, or one per GPU.
        launcher: "local", "slurm", "ray" or "commands", which prints commands and runs nothing.
        launcher_config: YAML file with the launcher's settings; None for its defaults.
        shards: slices of the test images that AutoAttack attacks as jobs of their own. Its random draws depend on it.
        time_limit: such as "8m", "90s", "2h" or "1:30:00". What cannot end in time is not started, and what runs then
            is left where another call continues.
        track: "tensorboard", "wandb" or "trackio", to which the history of each training is sent, too; None for none.
        report: receives progress lines, such as `print`.

    Raises:
        UserError: for any mistake in these or in the data, before anything runs, and if every experiment is refused.
    """
    request = request_of(suite, methods, dataset, preset, seeds, settings, data_dir, out)
    if jobs is not None and (not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1):
        raise UserError(f"jobs must be a whole number from 1, or None; got {jobs!r}")
    if not isinstance(shards, int) or isinstance(shards, bool):
        raise UserError(f"shards must be a whole number from 1; got {shards!r}")
    if time_limit is not None and not isinstance(time_limit, str):
        raise UserError(f"time_limit must be a text such as '8m', or None; got {time_limit!r}")
    if track is not None and not isinstance(track, str):
        raise UserError(f"track must be the name of a tracker, or None; got {track!r}")
    config = optional_path(launcher_config, "launcher_config")
    options = LaunchOptions(device, jobs, launcher, config, shards, time_limit, track)
    outcome = run_suite(request, options, checked_report(report))
    stored = load_records(request.out)
    records = [
        record
        for item in outcome.planned
        for record in stored
        if record.run == item.experiment.run and is_measured(record, item.experiment)
    ]
    runs = {item.experiment.run for item in outcome.planned}
    return RunResult(
        out=request.out,
        records=tuple(records),
        failed=outcome.failed,
        left=outcome.left,
        refused={item.experiment.run: item.reason for item in outcome.planned if item.state == "refused"},
        other_data=tuple(item.experiment.run for item in outcome.planned if item.other_data),
        boards={
            protocol: board
            for protocol, board in load_results(request.out).boards.items()
            if any(runs.intersection(row.runs) for row in (*board.rows, *board.refused))
        },
    )
