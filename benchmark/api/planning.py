"""`benchmark.plan`: the experiments of a suite with state, cost and reported number."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING

from benchmark.api.requests import Methods, Seeds, Settings, request_of
from benchmark.files.text import terminal_line
from benchmark.planning.measured import Measurement, load_measurement
from benchmark.planning.states import Planned
from benchmark.planning.text import plan_lines, predicted
from benchmark.session import plan_suite

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Plan:
    """The experiments of a suite; `print` shows what the command shows.

    Attributes:
        experiments: in the order in which they would run.
        measurement: what `bench` measured on this machine; None if it has not, so that no times are predicted.
    """

    experiments: tuple[Planned, ...] = field(repr=False)
    measurement: Measurement | None = field(repr=False)

    @property
    def text(self) -> str:
        """Every experiment and the totals, as the command prints them."""
        return "\n".join(map(terminal_line, plan_lines(self.experiments, self.measurement)))

    def frame(self) -> DataFrame:
        """Return the experiments as a pandas DataFrame, one a line.

        Columns `run`, `state` ("todo", "done", "failed" or "refused"), `reason`, `warning`, `method`, `weights`,
        `keep_ratio`, `allocation`, `granularity`, `objective`, `seed`, `epochs`, `passes_per_image`, `flops` (of
        training), `seconds` (predicted), `reported_robust` and `reported_clean` (the paper's, as fractions); None or
        NaN is what is unknown.
        """
        from pandas import DataFrame

        return DataFrame([self._line(item) for item in self.experiments])

    def _line(self, item: Planned) -> dict[str, object]:
        experiment, reported = item.experiment, item.reported
        time = predicted(item, self.measurement)
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
) -> Plan:
    """Return the experiments of a suite with their states and costs; trains nothing.

    A method that is given or named in the suite by file or module is imported, which runs its code.

    Args:
        suite: a file of configs/ by name, or a path; None for the suite of the data set, or "quickstart".
        methods: "all", names, path/to/file.py:Class or package.module:Class; None for those of the suite.
        dataset: data set; None for that of the suite.
        preset: "paper", "short" or "smoke"; None for the suite as it is written.
        seeds: training seeds; None for those of the suite.
        settings: values by dotted name that override the suite, such as `{"training.epochs": 5}`.
        data_dir: folder with the data set's files; None for `data` in the current folder.
        out: folder with records and work in progress.

    Raises:
        UserError: for any mistake in these.
    """
    request = request_of(suite, methods, dataset, preset, seeds, settings, data_dir, out)
    return Plan(tuple(plan_suite(request)), load_measurement(request.out))
