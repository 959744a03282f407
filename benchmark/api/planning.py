"""`benchmark.plan`: the experiments of a suite with state, cost and reported number."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING

from benchmark.api.requests import Methods, Seeds, Settings, request_of
from benchmark.errors import UserError
from benchmark.files.text import terminal_line
from benchmark.planning.measured import Measurement, load_measurement
from benchmark.planning.predict import Prediction
from benchmark.planning.states import Planned
from benchmark.planning.text import plan_lines
from benchmark.planning.times import predictions
from benchmark.planning.workers import check_shards, schedule_of, worker_lines
from benchmark.session import plan_suite

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Plan:
    """The experiments of a suite; `print` shows what the command shows.

    Attributes:
        experiments: in the order in which they would run.
        measurement: what `bench` measured on this machine; None if it has not, so that no times are predicted.
        gpus: for which the time until the end is predicted, or CPU workers if `bench` measured a CPU; None: none.
        shards: jobs of each AutoAttack there.
    """

    experiments: tuple[Planned, ...] = field(repr=False)
    measurement: Measurement | None = field(repr=False)
    gpus: int | None = None
    shards: int = 1

    @property
    def text(self) -> str:
        """Every experiment and the totals, as the command prints them."""
        lines = list(plan_lines(self.experiments, self.measurement))
        if self.gpus is not None and self.measurement is not None:
            lines += worker_lines(self.experiments, self.measurement, workers=self.gpus, shards=self.shards)
        return "\n".join(map(terminal_line, lines))

    @property
    def seconds(self) -> float | None:
        """Predicted seconds until everything is done on `gpus`; None if these or measured times are missing."""
        if self.gpus is None or self.measurement is None:
            return None
        result = schedule_of(self.experiments, self.measurement, workers=self.gpus, shards=self.shards)
        return None if result is None else result.makespan

    def frame(self) -> DataFrame:
        """Return the experiments as a pandas DataFrame, one a line.

        Columns `run`, `state` ("todo", "done", "failed" or "refused"), `reason`, `warning`, `method`, `weights`,
        `keep_ratio`, `allocation`, `granularity`, `objective`, `seed`, `epochs`, `passes_per_image`, `flops` (of
        training), `seconds` (predicted), `reported_robust` and `reported_clean` (the paper's, as fractions); None or
        NaN is what is unknown.
        """
        from pandas import DataFrame

        times = predictions(self.experiments, self.measurement)
        return DataFrame([self._line(*pair) for pair in zip(self.experiments, times, strict=True)])

    def _line(self, item: Planned, time: Prediction | None) -> dict[str, object]:
        experiment, reported = item.experiment, item.reported
        return {
            "run": experiment.run,
            "state": item.state,
            "reason": item.reason,
            "warning": item.warning,
            "method": experiment.method.name,
            "weights": experiment.weights,
            "keep_ratio": experiment.keep_ratio,
            "allocation": experiment.allocation,
            "granularity": experiment.granularity,
            "objective": experiment.objective,
            "seed": experiment.seed,
            "epochs": experiment.training.epochs,
            "passes_per_image": item.passes_per_image,
            "flops": item.flops,
            "seconds": None if time is None else time.total,
            "reported_robust": None if reported is None else reported.robust,
            "reported_clean": None if reported is None else reported.clean,
        }

    def __str__(self) -> str:
        return self.text


def plan(
    suite: str | PathLike[str] | None = None,
    *,
    methods: Methods | None = None,
    dataset: str | None = None,
    preset: str | None = None,
    seeds: Seeds | None = None,
    settings: Settings | None = None,
    data_dir: str | PathLike[str] | None = None,
    out: str | PathLike[str] = "runs",
    gpus: int | None = None,
    shards: int = 1,
) -> Plan:
    """Return the experiments of a suite with their states and costs; trains nothing.

    A method that is given or named in the suite by file or module is imported, which runs its code.

    Args:
        suite: a file of configs/ by name, or a path; None for the suite of the data set, or "quickstart".
        methods: "all", names, path/to/file.py:Class or package.module:Class; None for those of the suite.
        dataset: data set; None for that of the suite.
        preset: "paper", "short" or "smoke"; None for the suite as it is written.
        seeds: training seeds, as numbers or as text such as "0,1" or "0..359"; None for those of the suite.
        settings: values by dotted name that override the suite, such as `{"training.epochs": 5}`.
        data_dir: folder with the data set's files; None for `data` in the current folder.
        out: folder with records and work in progress.
        gpus: predict how long what is left takes on so many GPUs like the one that `bench` measured, or on so many CPU
            workers if it measured a CPU; None: no prediction.
        shards: jobs that each AutoAttack is split into, as for `run`.

    Raises:
        UserError: for any mistake in these.
    """
    for name, number in (("gpus", gpus), ("shards", shards)):
        if not (isinstance(number, int) and number >= 1) and not (name == "gpus" and number is None):
            raise UserError(f"{name} must be a whole number of at least 1; got {number!r}")
    request = request_of(suite, methods, dataset, preset, seeds, settings, data_dir, out)
    planned = plan_suite(request)
    check_shards(planned, shards)
    return Plan(tuple(planned), load_measurement(request.out), gpus, shards)
