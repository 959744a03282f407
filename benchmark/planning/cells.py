"""What a plan says of an experiment whatever its seed and whatever is on disk, worked out once for all seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.reproduction import find_reported
from benchmark.planning.cost import training_flops
from benchmark.planning.refusals import Refused, network_and_epochs
from benchmark.planning.target_warning import closest_exponent_of, full_network, target_warning
from benchmark.planning.work import Work, work_of
from benchmark.suite.experiment import Experiment
from benchmark.suite.registry import ResolvedMethod
from methods.base import Architecture

# What no seed of a cell has in common; whether there is a first phase is part of the key.
_OF_A_SEED = {"seed": True, "first_phase": True}


@dataclass(frozen=True)
class Cell:
    """An experiment without its seed."""

    architecture: Architecture | None  # that is built, after the method's `resize`; None if refused
    epochs: int  # that a run trains itself, unless only its artifact is measured again
    refusal: str  # why it cannot be run; empty otherwise
    reported: ReportedRow | None  # the published number of this very cell
    warning: str  # what to know about the target; empty if nothing
    closest_p: float | None  # the exponent closest to an automatic allocation; None for other targets
    _costs: dict[int, tuple[int | None, Work | None]] = field(default_factory=dict)

    def cost(self, experiment: Experiment, epochs: int) -> tuple[int | None, Work | None]:
        """Return the FLOPs of training and the work of one of the cell's experiments, see `cost` and `work`.

        Raises:
            UserError: if PGD is to attack more images than the test part has.
        """
        assert self.architecture is not None, "asked only of a cell that is not refused"
        if epochs not in self._costs:
            flops = training_flops(experiment, self.architecture, epochs)
            self._costs[epochs] = flops, work_of(experiment, self.architecture, epochs)
        return self._costs[epochs]


class Cells:
    """The cells that were asked for, each worked out once.

    Args:
        methods: resolved methods by their target.
        reported: published results, as `load_reported` returns them.
    """

    def __init__(self, methods: Mapping[str, ResolvedMethod], reported: Sequence[ReportedRow]) -> None:
        self._methods, self._reported = methods, reported
        self._cells: dict[tuple[str, bool], Cell] = {}

    def of(self, experiment: Experiment) -> Cell:
        """Return the cell of an experiment."""
        key = (experiment.model_dump_json(exclude=_OF_A_SEED), experiment.first_phase is None)
        if key not in self._cells:
            self._cells[key] = self._new(experiment)
        return self._cells[key]

    def _new(self, experiment: Experiment) -> Cell:
        reported = find_reported(experiment, self._reported)
        try:
            architecture, epochs = network_and_epochs(experiment, self._methods[experiment.method.target])
        except Refused as refused:
            return Cell(None, 0, str(refused), reported, "", None)
        if architecture != full_network(experiment):  # narrowed: without a mask
            return Cell(architecture, epochs, "", reported, "", None)
        warning, closest_p = target_warning(experiment), closest_exponent_of(experiment)
        return Cell(architecture, epochs, "", reported, warning, closest_p)
