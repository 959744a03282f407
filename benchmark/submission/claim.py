"""The measurement that a file claims, and its machine: what records and evaluations have in common."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from benchmark.results.evaluated import Evaluated
from benchmark.results.evaluation import CASCADE, VERDICTS, EvaluationPart
from benchmark.results.external import AnyRecord, ExternalRecord
from benchmark.results.verdicts import Verdicts, unpack_common


@dataclass(frozen=True)
class Claim:
    """Claimed numbers that are to be measured again."""

    evaluation: EvaluationPart
    num_classes: int
    threads: int
    device: str
    torch: str  # version
    kernels: str | None = None  # see `OriginPart`
    merged: bool = False  # from evaluations of parts of the images, each of which chose images for its own checks

    @classmethod
    def of_record(cls, record: AnyRecord) -> Claim:
        """Return what a record claims."""
        machine = record.measured if isinstance(record, ExternalRecord) else record.provenance
        where = (machine.threads, machine.device, machine.torch, machine.kernels)
        # Shards of a run are those of AutoAttack alone.
        merged = isinstance(record, ExternalRecord) and record.evaluation.autoattack.shards > 1
        return cls(record.evaluation, record.dataset.num_classes, *where, merged)

    @classmethod
    def of_evaluated(cls, evaluated: Evaluated, num_classes: int) -> Claim:
        """Return what a result of `evaluate` on a data set of `num_classes` classes claims."""
        machine = evaluated.machine
        where = (machine.threads, machine.device, machine.torch, machine.kernels)
        return cls(evaluated.evaluation, num_classes, *where, evaluated.evaluation.autoattack.shards > 1)

    @property
    def epsilon(self) -> float:
        """Radius of the ball in (0, 1) pixels."""
        return float(Fraction(self.evaluation.epsilon))

    @property
    def step_size(self) -> float:
        """PGD's, in (0, 1) pixels."""
        return float(Fraction(self.evaluation.pgd.step_size))

    @property
    def batch_size(self) -> int:
        """Images per call of an attack."""
        return self.evaluation.autoattack.batch_size

    def right(self, name: str) -> Verdicts:
        """Return the (N,) verdicts on the protocol's images, see `EvaluationPart.right`."""
        return self.evaluation.right(name)

    def met(self, name: str) -> Verdicts:
        """Return (N,) bool: the images that an attack of the cascade met, those that survived the one before."""
        return self.right("clean" if name == CASCADE[0] else CASCADE[CASCADE.index(name) - 1])

    def measured(self, name: str) -> Verdicts:
        """Return the (N,) verdicts of one of the protocol's attacks, or of all of them together ("robust").

        Images broken by later checks or challenges count as robust here: gradient health was measured before them.
        """
        if name != "robust":
            return self.right(name)
        return unpack_common([self.evaluation.verdicts[each] for each in VERDICTS], self.evaluation.n_images)

    def widest(self, name: str) -> Verdicts:
        """Return the verdicts of "clean" or "pgd" on all images that they were measured on."""
        return (self.evaluation.wide or self.evaluation).right(name)
