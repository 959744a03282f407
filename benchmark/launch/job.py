"""Jobs: what one process of a cluster runs. An order is one job, or several if its AutoAttack runs in shards.

    network -> attack 1/n ... attack n/n -> record

State is on disk only. A job looks at what is there, so that `record` or `whole` alone gives the same record: what other
jobs have finished is used, what is missing is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UserError
from benchmark.evaluation.shards import Shard
from benchmark.launch.lease_file import lease_path
from benchmark.launch.order import WorkOrder

WHOLE, NETWORK, ATTACK, RECORD = "whole", "network", "attack", "record"


@dataclass(frozen=True)
class Job:
    """One process: an order, and the part of it that is run.

    Attributes:
        order: what to run.
        part: "whole"; or "network" (training, artifact), "attack i/n" (AutoAttack on a slice of the test images) or
            "record" (everything else).
        needs: names of the jobs that must have ended well before; all of them come earlier in `job_graph`.
    """

    order: WorkOrder
    part: str
    needs: tuple[str, ...] = ()

    @property
    def run(self) -> str:
        """Name of the order's run."""
        return self.order.experiment.run

    @property
    def name(self) -> str:
        """Unique name: the run's, with the part if there are several."""
        return job_name(self.run, self.part)

    @property
    def kind(self) -> str:
        """The part without the shard's number."""
        return self.part.partition(" ")[0]

    @property
    def leases(self) -> list[Path]:
        """The leases that its process needs; see `part_leases`."""
        return part_leases(self.order, self.part)

    @property
    def gpus(self) -> int:
        """GPUs that the job uses where it computes on GPUs."""
        return self.order.processes if self.kind in (WHOLE, NETWORK) else 1

    @property
    def command_words(self) -> list[str]:
        """Arguments of `benchmark.launch.worker`."""
        path = str(self.order.path.resolve())
        return [path] if self.part == WHOLE else [path, "--part", self.part]


def job_name(run: str, part: str) -> str:
    """Return the name of the job that does a part of a run."""
    return run if part == WHOLE else f"{run} {part}"


def parse_part(text: str, shards: int) -> tuple[str, Shard | None]:
    """Return the kind of a part, and which shard it is for "attack".

    Args:
        text: as in `Job.part`.
        shards: of the order.

    Raises:
        UserError: if it is no part of an order with this number of shards.
    """
    kind, _, which = text.partition(" ")
    if kind in (WHOLE, NETWORK, RECORD) and not which:
        return kind, None
    if kind == ATTACK and (shard := Shard.parse(which)).count == shards:
        return kind, shard
    raise UserError(
        f"{text!r} is not a part of an order with shards={shards}; give whole, network, record or attack i/{shards}"
    )


def part_leases(order: WorkOrder, part: str) -> list[Path]:
    """Return the leases that a process needs for a part of an order, that of the part itself first.

    What writes the record also does those shards of the attack that are missing.
    """
    own = lease_path(order.folder, part)
    if order.shards == 1 or part not in (WHOLE, RECORD):
        return [own]
    return [own, *(lease_path(order.folder, shard) for shard in _attacks(order))]


def job_graph(orders: Sequence[WorkOrder]) -> list[Job]:
    """Return the jobs of some orders, each after those that it needs.

    An order whose first phase is another one's run needs that run's network.
    """
    trained_by = {order.experiment.run: job_name(order.experiment.run, _training_part(order)) for order in orders}
    jobs: list[Job] = []
    for order in _first_phases_first(orders):
        run, first_phase = order.experiment.run, order.experiment.first_phase
        before = () if first_phase is None or first_phase.run not in trained_by else (trained_by[first_phase.run],)
        jobs.append(Job(order, _training_part(order), before))
        if order.shards > 1:
            attacks = [Job(order, part, (job_name(run, NETWORK),)) for part in _attacks(order)]
            jobs += [*attacks, Job(order, RECORD, tuple(job.name for job in attacks))]
    return jobs


def _attacks(order: WorkOrder) -> list[str]:
    return [f"{ATTACK} {Shard(number, order.shards)}" for number in range(1, order.shards + 1)]


def _training_part(order: WorkOrder) -> str:
    return WHOLE if order.shards == 1 else NETWORK


def _first_phases_first(orders: Sequence[WorkOrder]) -> list[WorkOrder]:
    """Return the orders with every first phase, which has none itself, before those that need it; else as they are."""
    return sorted(orders, key=lambda order: order.experiment.first_phase is not None)
