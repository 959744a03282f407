"""The evaluation protocol for any network: clean, PGD and AutoAttack verdicts per image, and gradient health."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.data.load import Images, TestData
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images, clean_verdicts
from benchmark.evaluation.fast import ComputeBatch
from benchmark.evaluation.foreign import Foreign
from benchmark.evaluation.given import (
    given_batch_size,
    given_data,
    given_folder,
    given_network,
    given_protocol,
    given_report,
)
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
from benchmark.results.protocol import Protocol, autoattack_version
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
) -> EvaluationPart:
    """Measure a network as the boards do, on float32 images with TF32 off; whatever can be called with images will do.

    The network is measured in place, in eval mode, and is afterwards exactly as it was, also after an error: device,
    types, layout, modes, values, gradients. Its parameters keep layout and type unless all are of one type other than
    float32 and it does not run on float32 images: then it is measured in float32. In which way it was not fed like
    others, and what speaks against it, stands in `notes` of the result.

    Args:
        module: maps (B, C, H, W) images in [0, 1] to (B, classes) logits; normalisation belongs inside. A module, also
            scripted, traced, frozen, exported or compiled, or a function; the number of images may be fixed.
        dataset: a data set's name, or its test images already loaded: uint8, or float in [0, 1] from 8 bits.
        protocol: what to measure, or its id, such as "cifar10-linf-8_255-aa-standard-1000".
        data_dir: folder with the data set's files; None for `data` in the current folder.
        device: where to run: "cpu", "cuda", "cuda:1", or "auto" for a GPU if there is one.
        batch_size: images per call of an attack; AutoAttack's random draws depend on it.
        parent: the dense network that `module` was made from; its adversarial images are then tried on `module`.
        journal: folder that keeps AutoAttack's finished batches, so that a killed evaluation goes on.
        report: receives progress lines.

    Raises:
        UserError: if an argument is not of these kinds, if data set, protocol and network do not fit each other, or if
            the network's logits are not finite somewhere within epsilon.
    """
    protocol, place, batch_size = given_protocol(protocol), measuring_device(device), given_batch_size(batch_size)
    folder, journal, notes = given_folder(data_dir, "data_dir"), given_folder(journal, "journal"), _Notes(report)
    with plain_float32(place, PGD_SEED), ExitStack() as restored:
        called = given_network(module)
        called_parent = None if parent is None else given_network(parent, "parent")
        data = given_data(dataset, folder, protocol.images)
        check_fit(data, protocol)
        images, classes = data.test.to(place), data.info.num_classes
        batch = as_float_images(images.images[:batch_size])
        network = restored.enter_context(measurable(called, batch, classes, notes.add))
        dense = None
        if called_parent is not None:
            dense = restored.enter_context(measurable(called_parent, batch, classes, notes.add, "parent"))
        try:
            return _measure(network, dense, images, protocol, classes, batch_size, journal, notes)
        except UserError:
            raise
        except Exception as error:  # of a foreign network's own code, which ran in the trials
            if not isinstance(network, Foreign):
                raise
            raise UserError(
                f"the network ran in the first trials and broke off later: {cause_of(error)}; make it map any batch of "
                "images to logits, with and without gradients"
            ) from error


class _Notes:
    """Sentences for the result, each of which is reported when it is added."""

    def __init__(self, report: object) -> None:
        self.report, self.sentences = given_report(report), list[str]()

    def add(self, sentence: str) -> None:
        self.sentences.append(sentence)
        self.report(f"evaluate   note: {sentence}")


def _measure(
    network: nn.Module,
    parent: nn.Module | None,
    images: Images,
    protocol: Protocol,
    classes: int,
    batch_size: int,
    journal: Path | None,
    notes: _Notes,
) -> EvaluationPart:
    """Attack a network that is ready for it; arguments as for `evaluate`, on one device."""
    report, epsilon, pgd_step = notes.report, float(Fraction(protocol.epsilon)), float(Fraction(protocol.pgd_step))
    guarded = Attackable(network)
    # The networks of this project are known to be attackable; of any other nothing is known, such as a gradient.
    attacked_network = guarded if isinstance(network, Foreign) else network
    compute = ComputeBatch(report)
    clean = clean_verdicts(guarded, images, batch_size=batch_size, compute=compute)
    report(f"evaluate   clean {_percent(clean)}")
    if isinstance(network, Foreign):
        size = compute.at_most(batch_size)
        if hint := normalisation_hint(network, images, clean, classes=classes, batch_size=size):
            notes.add(hint)
    try:
        pgd, attacked = protocol_attacks(
            attacked_network,
            images,
            protocol,
            classes=classes,
            pgd_seed=PGD_SEED,
            batch_size=batch_size,
            compute=compute,
            journal=journal,
            report=report,
        )
    except NotFinite as error:
        raise NotFinite(
            f"on the test images all logits are finite, but within {protocol.epsilon} of them {error}"
        ) from None
    verdicts = {"clean": clean, "pgd": pgd, **attacked.robust}

    def checks() -> list[Check]:
        compute.tried = compute.at_most(batch_size) if compute.notes else batch_size
        return gradient_health(
            network,
            images,
            verdicts,
            epsilon=epsilon,
            pgd_step_size=pgd_step,
            pgd_steps=protocol.pgd_steps,
            seed=PGD_SEED,
            batch_size=compute.tried,
            parent=parent,
            report=report,
        )

    health = compute.until_it_fits(checks)
    opposed = opponent_checks(
        network, images, verdicts, epsilon=epsilon, seed=PGD_SEED, compute=compute, report=report, journal=journal
    )
    verdicts[OPPONENT], health = opposed.right, [*health, *opposed.checks]
    report(f"health     {worst_verdict(check.verdict for check in health)}, {len(health)} checks of the gradients")
    return EvaluationPart(
        n_images=len(images),
        epsilon=protocol.epsilon,
        norm="linf",
        clean_accuracy=_share(clean),
        pgd=PgdPart(
            steps=protocol.pgd_steps,
            restarts=protocol.pgd_restarts,
            step_size=protocol.pgd_step,
            accuracy=_share(pgd),
        ),
        autoattack=AutoAttackPart(
            version=protocol.autoattack,
            package=PACKAGE,
            package_version=package_version(),
            seed=protocol.autoattack_seed,
            batch_size=batch_size,
            shards=1,
            accuracy=_share(attacked.verdicts),
            attacks={name: _share(attacked.robust[name]) for name in CASCADE},
            seconds=round(attacked.seconds, 3),
        ),
        best_known_accuracy=_share(clean & pgd & attacked.verdicts & opposed.right),
        verdicts={name: pack_verdicts(bits.numpy()) for name, bits in verdicts.items()},
        health=[CheckPart(**vars(check)) for check in health],
        notes=[*notes.sentences, *compute.notes],
    )


def check_fit(data: TestData, protocol: Protocol) -> None:
    """Raise UserError unless the images are those that a protocol asks for, in kind and number."""
    if data.info.name != protocol.dataset:
        raise UserError(f"the protocol is for {protocol.dataset}, the images are those of {data.info.name}")
    if len(data.test) != protocol.images:
        raise UserError(
            f"protocol {protocol.id} asks for {protocol.images} images, {data.info.name} gives {len(data.test)}; "
            "ask for as many as there are"
        )
    if (version := autoattack_version(data.info.num_classes)) != protocol.autoattack:
        raise UserError(
            f"{data.info.name} has {data.info.num_classes} classes, for which AutoAttack is {version}, "
            f"not {protocol.autoattack}; mend the protocol id"
        )


def _share(verdicts: Tensor) -> float:
    return int(verdicts.sum()) / len(verdicts)


def _percent(verdicts: Tensor) -> str:
    return f"{100 * _share(verdicts):.2f}"
