"""Plans a suite: which experiments there are, what each costs, and which still have to be run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Literal

from benchmark.data.hashes import DataHashes, LocalData
from benchmark.files.places import LEADERBOARDS
from benchmark.launch.order import FAILURE, work_folder
from benchmark.launch.remeasured import is_attacked, other_data_reason, other_data_warning
from benchmark.leaderboard.board.reference import ReportedRow, load_reported
from benchmark.leaderboard.board.reproduction import find_reported
from benchmark.planning.cost import training_flops
from benchmark.planning.target_warning import full_network, layer_sizes, target_warning
from benchmark.planning.work import Work, work_of
from benchmark.results.bounds import check_chosen
from benchmark.results.protocol import Protocol
from benchmark.results.record import Record
from benchmark.results.store import artifact_path, artifact_problem, load_records
from benchmark.suite.experiment import Experiment
from benchmark.suite.registry import ResolvedMethod
from benchmark.training.checkpoint import TrainingKey
from benchmark.training.first_phase import is_handed_over, trained_path
from methods.allocation import allocate, weight_budget
from methods.base import Architecture, Target

State = Literal["todo", "done", "failed", "refused"]
# The comparison first: where an ablation shares its cell, it has the accuracy on clean images too.
REPORTED = tuple(LEADERBOARDS / "reference" / f"reported_{name}.csv" for name in ("tables", "ablations"))


@dataclass(frozen=True)
class Planned:
    """One experiment and what is known of it before it runs."""

    experiment: Experiment
    state: State
    reason: str  # why it is refused or failed; empty otherwise
    known: Record | None  # whose artifact is measured here; None: the network is trained
    passes_per_image: float  # forward-and-backward passes over each training image, all epochs the run trains itself
    flops: int | None  # of training, as `cost` counts them; None if refused or not known before the data are read
    reported: ReportedRow | None  # the published number of this very cell
    warning: str  # what to know about the target; empty if nothing
    architecture: Architecture | None  # that is built; None if refused
    work: Work | None  # what its time is predicted from; None where `flops` is, or for a method's own architecture
    robust_share: float | None  # of the test images, in records of this data set and epsilon; None without one
    other_data: bool = False  # whether it is refused, as a record of its run was made from other data
    unchecked: bool = False  # whether the data are not here, so that no result of the run could be compared with them


def plan(
    experiments: Sequence[Experiment],
    methods: dict[str, ResolvedMethod],
    out: Path,
    local: LocalData,
) -> list[Planned]:
    """Find the state of every experiment from the records and work folders below `out`; runs nothing.

    Args:
        experiments: as `suite.expand` returns them.
        methods: resolved methods by their target.
        out: the output folder.
        local: the data that are here; decoded only where there are results to compare with.

    Raises:
        UserError: if a record below `out` or the data are broken.
    """
    hashes_of, is_here = cache(local.hashes), cache(local.is_here)
    finished: dict[str, list[Record]] = {}
    of_dataset: dict[str, list[Record]] = {}
    for record in load_records(out):
        finished.setdefault(record.run, []).append(record)
        of_dataset.setdefault(record.dataset.name, []).append(record)
    reported = [row for path in REPORTED if path.exists() for row in load_reported(path)]
    shares = _robust_shares(record for records in finished.values() for record in records)

    def of(experiment: Experiment, *, anew: bool) -> Planned:
        found, records = methods[experiment.method.target], finished.get(experiment.run, [])
        beside = of_dataset.get(experiment.dataset, [])
        hashes = hashes_of(experiment.dataset) if beside else None
        other = "" if hashes is None else other_data_reason(out, records, hashes)
        planned = _planned(experiment, found, out, records, other, reported, shares, anew=anew)
        if hashes is not None and planned.state in ("todo", "failed"):
            planned = replace(planned, warning=_joined(planned.warning, other_data_warning(beside, hashes)))
        return replace(planned, other_data=bool(other), unchecked=not is_here(experiment.dataset))

    planned = [of(experiment, anew=False) for experiment in experiments]
    # A method that begins with a run needs what its training leaves, which is more than the artifact.
    begun = [item.experiment for item in planned if _trains(item) and item.experiment.first_phase is not None]
    needed = {each.first_phase.run for each in begun if each.first_phase and not _handed_over(each, out, hashes_of)}
    planned = [
        of(item.experiment, anew=True) if item.known is not None and item.experiment.run in needed else item
        for item in planned
    ]
    trained = {item.experiment.run for item in planned if _trains(item)}
    return [_with_first_phase(item, trained, out, hashes_of) for item in planned]


def _joined(*warnings: str) -> str:
    return "; ".join(warning for warning in warnings if warning)


def _trains(item: Planned) -> bool:
    """Tell whether the experiment's network will be trained, and not only measured."""
    return item.state in ("todo", "failed") and item.known is None


def _handed_over(experiment: Experiment, out: Path, hashes_of: Callable[[str], DataHashes | None]) -> bool:
    """Tell whether the run that an experiment begins with has left its network, trained on the data that are here."""
    assert experiment.first_phase is not None, "asked only of experiments that begin with another run"
    folder = work_folder(out, experiment.first_phase.run)
    if not trained_path(folder).exists():
        return False
    hashes = hashes_of(experiment.dataset)
    return hashes is None or is_handed_over(folder, TrainingKey(experiment.first_phase.run_hash, hashes.train))


def _with_first_phase(
    item: Planned, runs: Set[str], out: Path, hashes_of: Callable[[str], DataHashes | None]
) -> Planned:
    """Refuse what is to begin with the network of a run that neither `runs` nor a work folder will give."""
    first_phase = item.experiment.first_phase
    if not _trains(item) or first_phase is None or first_phase.run in runs:
        return item
    if _handed_over(item.experiment, out, hashes_of):
        return item
    reason = (
        f"its first phase is that of {first_phase.run}, which left no {trained_path(work_folder(out, first_phase.run))}"
        " that was trained on these images; run that method too, without its record if there is one"
    )
    return replace(item, state="refused", reason=reason)


def is_measured(record: Record, experiment: Experiment) -> bool:
    """Tell whether a record of the same training run was evaluated the way the experiment asks for.

    A record with PGD on further images has all that an experiment asks for that wants fewer of them, or none.
    """
    asked, evaluation = experiment.evaluation.pgd.images, record.evaluation
    have = evaluation.n_images if evaluation.wide is None else evaluation.wide.n_images
    return is_attacked(record, experiment) and (asked is None or asked <= have)


def _robust_shares(records: Iterable[Record]) -> dict[tuple[str, str], float]:
    """Return the mean share of test images that survived AutoAttack by data set and epsilon."""
    found: dict[tuple[str, str], list[float]] = {}
    for record in records:
        protocol = Protocol.parse(record.protocol)
        found.setdefault((protocol.dataset, protocol.epsilon), []).append(record.evaluation.autoattack.accuracy)
    return {key: fmean(values) for key, values in found.items()}


def _planned(
    experiment: Experiment,
    found: ResolvedMethod,
    out: Path,
    records: list[Record],
    other_data: str,
    reported: Sequence[ReportedRow],
    shares: Mapping[tuple[str, str], float],
    *,
    anew: bool,
) -> Planned:
    state: State = "todo"
    reason, warning = "", ""
    epochs = experiment.training.epochs
    known: Record | None = None
    flops: int | None = None
    built: Architecture | None = None
    work: Work | None = None
    try:
        built, epochs = _sensible(experiment, found)
    except ValueError as error:
        state, reason = "refused", str(error)
    except Exception as error:  # a plug-in's hooks may raise anything
        state = "refused"
        reason = f"{found.cls.name} fails in `refusal`, `resize` or `phases`: {type(error).__name__}: {error}"
    else:
        warning = target_warning(experiment) if built == full_network(experiment) else ""
        if other_data:
            state, reason = "refused", other_data
        elif any(is_measured(record, experiment) for record in records):
            state = "done"
        else:
            if (failure := work_folder(out, experiment.run) / FAILURE).exists():
                state, reason = "failed", _last_line(failure)
            known = None if anew else _with_artifact(experiment, records, out)
            if known is not None:
                epochs = 0
        flops = training_flops(experiment, built, epochs)
        work = work_of(experiment, built, epochs)
        if work is not None and known is not None and is_attacked(known, experiment):
            work = replace(work, test_images=0)  # only the further images are left to do
    return Planned(
        experiment,
        state,
        reason,
        known,
        epochs * experiment.passes_per_image,
        flops,
        find_reported(experiment, reported),
        warning,
        built,
        work,
        shares.get((experiment.dataset, experiment.epsilon)),
    )


def _with_artifact(experiment: Experiment, records: Sequence[Record], out: Path) -> Record | None:
    """Return a record of the same training run whose artifact lies below `out`, as it was measured."""
    # One that lacks PGD on further images alone comes first: it need not be attacked again.
    for record in sorted(records, key=lambda each: not is_attacked(each, experiment)):
        if artifact_path(out, record.run).exists() and not artifact_problem(out, record):
            return record
    return None


def _sensible(experiment: Experiment, found: ResolvedMethod) -> tuple[Architecture, int]:
    """Return the network that an experiment builds and the epochs it trains itself.

    Raises:
        ValueError: if the experiment makes no sense, with the reason.
    """
    target = Target(experiment.keep_ratio, experiment.weights, experiment.allocation)
    method = found.create(experiment.method.options, experiment.run)
    if reason := method.refusal(target):
        raise ValueError(reason)
    network = full_network(experiment)
    built = method.resize(network, target)
    if built == network:  # a method that builds a smaller one needs no masks
        sizes = list(layer_sizes(network).values())
        if target.allocation != "global":
            allocate(sizes, target.keep_ratio, target.allocation)
        elif weight_budget(sum(sizes), target.keep_ratio) < 1:
            raise ValueError(f"keep_ratio {target.keep_ratio:g} of {sum(sizes):,} weights keeps none; raise it")
    phases = method.phases(experiment.training.epochs, target)
    check_chosen(experiment.model_dump(mode="json"), found.deviations(), phases)
    reused = phases[0].epochs if experiment.first_phase is not None else 0
    return built, experiment.training.epochs - reused


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else f"{path} is empty"
