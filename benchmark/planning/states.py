"""Plans a suite: which experiments there are, what each costs, and which still have to be run."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Literal

from benchmark.data.hashes import LocalData
from benchmark.files.ends import last_line
from benchmark.files.places import LEADERBOARDS
from benchmark.launch.order import FAILURE, work_folder
from benchmark.launch.remeasured import is_attacked, is_measured, other_data_reason, other_data_warning
from benchmark.leaderboard.board.reference import ReportedRow, load_reported
from benchmark.planning.cells import Cells
from benchmark.planning.work import Work
from benchmark.results.protocol import Protocol
from benchmark.results.record import Record
from benchmark.results.store import artifact_path, artifact_problem, load_records
from benchmark.suite.experiment import Experiment
from benchmark.suite.registry import ResolvedMethod
from benchmark.training.checkpoint import TrainingKey
from benchmark.training.first_phase import is_handed_over, trained_path
from methods.base import Architecture

State = Literal["todo", "done", "failed", "refused"]
# The comparison first: where an ablation shares its cell, it has the accuracy on clean images too.
REPORTED = tuple(LEADERBOARDS / "reference" / f"reported_{name}.csv" for name in ("tables", "ablations"))


@dataclass(frozen=True)
class Planned:
    """One experiment and everything that can be said about it before it runs."""

    experiment: Experiment
    state: State
    reason: str  # why it is refused or failed; empty otherwise
    remeasured: Record | None  # whose artifact is measured again; None: the network is trained
    passes_per_image: float  # forward-and-backward passes over each training image, all epochs the run trains itself
    flops: int | None  # of training, as `cost` counts them; None if refused or not known before the data are read
    reported: ReportedRow | None  # the published number of this very cell
    warning: str  # what to know about the target; empty if nothing
    architecture: Architecture | None  # that is built; None if refused
    work: Work | None  # what its time is predicted from; None where `flops` is, or for a method's own architecture
    robust_share: float | None  # of the test images, in records of this data set and epsilon; None without one
    other_data: bool = False  # whether it is refused, as a record of its run was made from other data
    closest_p: float | None = None  # whose layer budgets are closest to an automatic allocation's; None for others
    unchecked: bool = False  # whether the data are not here, so that no result of the run could be compared with them

    @property
    def is_trained(self) -> bool:
        """Whether the network will be trained, and not only measured."""
        return self.state in ("todo", "failed") and self.remeasured is None


def plan(
    experiments: Sequence[Experiment],
    methods: Mapping[str, ResolvedMethod],
    out: Path,
    local: LocalData,
) -> list[Planned]:
    """Determine the state of every experiment from the records and work folders below `out`; runs nothing.

    Args:
        experiments: as `suite.expand` returns them.
        methods: resolved methods by their target.
        out: the output folder.
        local: the data on disk; decoded only where there are results to compare with.

    Raises:
        UserError: if a record below `out` or the data are broken.
    """
    planner = _Planner(methods, out, local)
    planned = [planner.plan(experiment) for experiment in experiments]
    # A method that begins with a run needs what its training leaves, which is more than the artifact.
    first_phases = {
        item.experiment.first_phase.run
        for item in planned
        if item.is_trained and item.experiment.first_phase and not planner.first_phase_is_here(item.experiment)
    }
    planned = [
        planner.plan(item.experiment, remeasure=False)
        if item.remeasured is not None and item.experiment.run in first_phases
        else item
        for item in planned
    ]
    trained = {item.experiment.run for item in planned if item.is_trained}
    return [planner.with_first_phase(item, trained) for item in planned]


class _Planner:
    """The results below an output folder and the data on disk, read once for all experiments of a plan."""

    def __init__(self, methods: Mapping[str, ResolvedMethod], out: Path, local: LocalData) -> None:
        self.out = out
        self.hashes, self.is_here = cache(local.hashes), cache(local.is_here)
        self.begun = cache(self._begun)
        self.records_of_run: dict[str, list[Record]] = defaultdict(list)
        self.records_of_dataset: dict[str, list[Record]] = defaultdict(list)
        robust: dict[tuple[str, str], list[float]] = defaultdict(list)
        for record in load_records(out):
            self.records_of_run[record.run].append(record)
            self.records_of_dataset[record.dataset.name].append(record)
            protocol = Protocol.parse(record.protocol)
            robust[protocol.dataset, protocol.epsilon].append(record.evaluation.autoattack.accuracy)
        self.robust_shares = {key: fmean(accuracies) for key, accuracies in robust.items()}
        self.cells = Cells(methods, [row for path in REPORTED if path.exists() for row in load_reported(path)])

    def plan(self, experiment: Experiment, *, remeasure: bool = True) -> Planned:
        """Plan one experiment, without a look at the others.

        Args:
            experiment: what is to be run.
            remeasure: whether an artifact of the same training may be measured; otherwise the network is trained.
        """
        cell = self.cells.of(experiment)
        records = self.records_of_run.get(experiment.run, [])
        beside = self.records_of_dataset.get(experiment.dataset, [])
        hashes = self.hashes(experiment.dataset) if beside else None
        other_data = "" if hashes is None else other_data_reason(self.out, records, hashes)
        planned = Planned(
            experiment=experiment,
            state="todo",
            reason="",
            remeasured=None,
            passes_per_image=experiment.training.epochs * experiment.passes_per_image,
            flops=None,
            reported=cell.reported,
            warning="",
            architecture=None,
            work=None,
            robust_share=self.robust_shares.get((experiment.dataset, experiment.epsilon)),
            other_data=bool(other_data),
            unchecked=not self.is_here(experiment.dataset),
        )
        if cell.refusal:
            return replace(planned, state="refused", reason=cell.refusal)
        if other_data:
            planned = replace(planned, state="refused", reason=other_data)
        else:
            planned = self._with_state(planned, records, remeasure=remeasure)
        warnings = [cell.warning]
        if hashes is not None and planned.state in ("todo", "failed"):
            warnings.append(other_data_warning(beside, hashes))
        epochs = cell.epochs if planned.remeasured is None else 0
        flops, work = cell.cost(experiment, epochs)
        if work is not None and planned.remeasured is not None and is_attacked(planned.remeasured, experiment):
            work = replace(work, test_images=0)  # only the further images are left to do
        return replace(
            planned,
            passes_per_image=epochs * experiment.passes_per_image,
            flops=flops,
            warning="; ".join(warning for warning in warnings if warning),
            architecture=cell.architecture,
            work=work,
            closest_p=cell.closest_p,
        )

    def _with_state(self, planned: Planned, records: Sequence[Record], *, remeasure: bool) -> Planned:
        """Add what the records of the same training run and its work folder say."""
        experiment = planned.experiment
        if any(is_measured(record, experiment) for record in records):
            return replace(planned, state="done")
        cell, _, seed = experiment.run.rpartition("/")
        if seed in self.begun(cell) and (failure := work_folder(self.out, experiment.run) / FAILURE).exists():
            planned = replace(planned, state="failed", reason=last_line(failure) or f"{failure} is empty")
        return replace(planned, remeasured=self._with_artifact(experiment, records)) if remeasure else planned

    def _begun(self, cell: str) -> Set[str]:
        """Return the names of the work folders of a cell's seeds, as most runs of a large plan have none yet."""
        folder = work_folder(self.out, cell)
        return set(os.listdir(folder)) if folder.is_dir() else frozenset()

    def _with_artifact(self, experiment: Experiment, records: Sequence[Record]) -> Record | None:
        """Return a record of the same training run whose artifact lies below `out`, as it was measured."""
        # One that lacks PGD on further images alone comes first: it need not be attacked again.
        for record in sorted(records, key=lambda each: not is_attacked(each, experiment)):
            if artifact_path(self.out, record.run).exists() and not artifact_problem(self.out, record):
                return record
        return None

    def with_first_phase(self, item: Planned, trained: Set[str]) -> Planned:
        """Refuse what is to begin with the network of a run that neither `trained` nor a work folder will give."""
        first_phase = item.experiment.first_phase
        if not item.is_trained or first_phase is None or first_phase.run in trained:
            return item
        if self.first_phase_is_here(item.experiment):
            return item
        path = trained_path(work_folder(self.out, first_phase.run))
        reason = (
            f"its first phase is that of {first_phase.run}, which left no {path} that was trained on these images; "
            "run that method too, without its record if there is one"
        )
        return replace(item, state="refused", reason=reason)

    def first_phase_is_here(self, experiment: Experiment) -> bool:
        """Return whether the run that an experiment begins with has left its network, trained on the data on disk."""
        assert experiment.first_phase is not None, "asked only of experiments that begin with another run"
        folder = work_folder(self.out, experiment.first_phase.run)
        if not trained_path(folder).exists():
            return False
        hashes = self.hashes(experiment.dataset)
        return hashes is None or is_handed_over(folder, TrainingKey(experiment.first_phase.run_hash, hashes.train))
