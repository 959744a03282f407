"""The evaluation protocol for any network: clean, PGD and AutoAttack verdicts per image, and gradient health."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.data.load import Images, TestData
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images, clean_verdicts
from benchmark.evaluation.arguments import (
    checked_batch_size,
    checked_data,
    checked_folder,
    checked_network,
    checked_protocol,
    checked_report,
)
from benchmark.evaluation.autoattack import AutoAttackResult
from benchmark.evaluation.fast import ComputeBatch
from benchmark.evaluation.foreign import Foreign
from benchmark.evaluation.health.health import gradient_health
from benchmark.evaluation.health.surroundings import plain_float32
from benchmark.evaluation.health.verdict import Check
from benchmark.evaluation.measurable import cause_of, measurable
from benchmark.evaluation.normalisation import normalisation_hint
from benchmark.evaluation.opponent.checks import opponent_checks
from benchmark.evaluation.probes import Attackable, NotFinite
from benchmark.evaluation.protocol_attacks import protocol_attacks
from benchmark.evaluation.pyautoattack_adapter import PACKAGE, package_version
from benchmark.results.evaluation import (
    CASCADE,
    OPPONENT,
    AutoAttackPart,
    CheckPart,
    EvaluationPart,
    PgdPart,
    worst_verdict,
)
from benchmark.results.protocol import Protocol
from benchmark.results.verdicts import pack_verdicts
from benchmark.runtime.devices import measuring_device

PGD_SEED = 0
DEFAULT_BATCH_SIZE = 500


def evaluate(
    module: nn.Module | torch.export.ExportedProgram | Callable[[Tensor], Tensor],
    dataset: str | TestData,
    protocol: str | Protocol,
    *,
    data_dir: str | PathLike[str] | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = DEFAULT_BATCH_SIZE,
    parent: nn.Module | None = None,
    journal: str | PathLike[str] | None = None,
    report: Callable[[str], None] = lambda line: None,
    shards: int = 1,
) -> EvaluationPart:
    """Measure a network that is given as an object: `benchmark.evaluate`, which describes the arguments, without files.

    `shards` is the number of slices that AutoAttack attacks by calls of its own, which other processes may have done.

    It is measured in place, in eval mode, and restored exactly afterwards, also after an error.

    Raises:
        UserError: if an argument has another type, if data set, protocol and network do not match, or if the network's
            logits are not finite somewhere within epsilon.
    """
    protocol, batch_size, notes = checked_protocol(protocol), checked_batch_size(batch_size), _Notes(report)
    measured_on, folder = measuring_device(device), checked_folder(data_dir, "data_dir")
    journal = checked_folder(journal, "journal")
    with plain_float32(measured_on, PGD_SEED), ExitStack() as restored:
        called = checked_network(module)
        called_parent = None if parent is None else checked_network(parent, "parent")
        data = checked_data(dataset, folder, protocol)
        images, classes = data.test.to(measured_on), data.info.num_classes
        batch = as_float_images(images.images[:batch_size])
        network = restored.enter_context(measurable(called, batch, classes, notes.add))
        dense = None
        if called_parent is not None:
            dense = restored.enter_context(measurable(called_parent, batch, classes, notes.add, "parent"))
        try:
            compute = ComputeBatch(notes.report)
            measurement = _Measurement(
                network, dense, images, protocol, classes, batch_size, journal, notes, compute, shards
            )
            return measurement.run()
        except UserError:
            raise
        except Exception as error:  # from a foreign network's code, which ran in the trials
            if not isinstance(network, Foreign):
                raise
            raise UserError(
                f"the network ran in the first trials but failed later: {cause_of(error)}; make it map any batch of "
                "images to logits, with and without gradients"
            ) from error


class _Notes:
    """Sentences for the result, each reported when it is added."""

    def __init__(self, report: object) -> None:
        self.report, self.sentences = checked_report(report), list[str]()

    def add(self, sentence: str) -> None:
        self.sentences.append(sentence)
        self.report(f"evaluate   note: {sentence}")


@dataclass(frozen=True)
class _Measurement:
    """One evaluation of a network that is ready for it; fields as for `evaluate`, on one device."""

    network: nn.Module
    parent: nn.Module | None
    images: Images
    protocol: Protocol
    classes: int
    batch_size: int
    journal: Path | None
    notes: _Notes
    compute: ComputeBatch
    shards: int

    def run(self) -> EvaluationPart:
        protocol, clean = self.protocol, self._clean()
        pgd, autoattack_result = self._attack()
        verdicts = {"clean": clean, "pgd": pgd, **autoattack_result.robust}
        health, verdicts[OPPONENT] = self._health(verdicts)
        pgd_part = PgdPart(
            steps=protocol.pgd_steps, restarts=protocol.pgd_restarts, step_size=protocol.pgd_step, accuracy=_share(pgd)
        )
        return EvaluationPart(
            n_images=len(self.images),
            epsilon=protocol.epsilon,
            norm="linf",
            clean_accuracy=_share(clean),
            pgd=pgd_part,
            autoattack=AutoAttackPart(
                version=protocol.autoattack,
                package=PACKAGE,
                package_version=package_version(),
                seed=protocol.autoattack_seed,
                batch_size=self.batch_size,
                shards=self.shards,
                accuracy=_share(autoattack_result.verdicts),
                attacks={name: _share(autoattack_result.robust[name]) for name in CASCADE},
                seconds=round(autoattack_result.seconds, 3),
            ),
            best_known_accuracy=_share(clean & pgd & autoattack_result.verdicts & verdicts[OPPONENT]),
            verdicts={name: pack_verdicts(bits.numpy()) for name, bits in verdicts.items()},
            health=[CheckPart(**vars(check)) for check in health],
            notes=[*self.notes.sentences, *self.compute.notes],
        )

    def _clean(self) -> Tensor:
        network, images = self.network, self.images
        clean = clean_verdicts(Attackable(network), images, batch_size=self.batch_size, compute=self.compute)
        self.notes.report(f"evaluate   clean {_percent(clean)}")
        if isinstance(network, Foreign):
            size = self.compute.at_most(self.batch_size)
            if hint := normalisation_hint(network, images, clean, classes=self.classes, batch_size=size):
                self.notes.add(hint)
        return clean

    def _attack(self) -> tuple[Tensor, AutoAttackResult]:
        """Return the PGD verdicts and AutoAttack's result."""
        # A foreign network may lack, for example, an input gradient.
        network = Attackable(self.network) if isinstance(self.network, Foreign) else self.network
        protocol, report = self.protocol, self.notes.report
        try:
            return protocol_attacks(
                network,
                self.images,
                protocol,
                classes=self.classes,
                pgd_seed=PGD_SEED,
                batch_size=self.batch_size,
                compute=self.compute,
                journal=self.journal,
                report=report,
                shards=self.shards,
            )
        except NotFinite as error:
            message = f"on the test images all logits are finite, but within {protocol.epsilon} of them {error}"
            raise NotFinite(message) from None

    def _health(self, verdicts: Mapping[str, Tensor]) -> tuple[list[Check], Tensor]:
        """Return all checks, and the opponent's verdicts."""
        network, data, journal, report = self.network, self.images, self.journal, self.notes.report
        epsilon, compute = float(Fraction(self.protocol.epsilon)), self.compute

        def gradient_checks() -> list[Check]:
            return gradient_health(
                network,
                data,
                verdicts,
                epsilon=epsilon,
                pgd_step_size=float(Fraction(self.protocol.pgd_step)),
                pgd_steps=self.protocol.pgd_steps,
                seed=PGD_SEED,
                batch_size=compute.outside_batch(self.batch_size),
                parent=self.parent,
                report=report,
            )

        health = compute.until_it_fits(gradient_checks)
        opponent = opponent_checks(
            network, data, verdicts, epsilon=epsilon, seed=PGD_SEED, compute=compute, report=report, journal=journal
        )
        health += opponent.checks
        report(f"health     {worst_verdict(check.verdict for check in health)}, {len(health)} checks of the gradients")
        return health, opponent.right


def _share(verdicts: Tensor) -> float:
    return int(verdicts.sum()) / len(verdicts)


def _percent(verdicts: Tensor) -> str:
    return f"{100 * _share(verdicts):.2f}"
