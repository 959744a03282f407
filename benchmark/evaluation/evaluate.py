"""The evaluation protocol for any network: clean, PGD and AutoAttack verdicts per image, and gradient health."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.data.load import TestData, load_test
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images, clean_verdicts, frozen_eval, pgd_verdicts, prepare
from benchmark.evaluation.autoattack import autoattack
from benchmark.evaluation.compute_batch import ComputeBatch
from benchmark.evaluation.health import gradient_health
from benchmark.evaluation.package import PACKAGE, package_version
from benchmark.evaluation.probes import Attackable
from benchmark.evaluation.verdict import Check
from benchmark.models import ResNet
from benchmark.results.evaluation import CASCADE, AutoAttackPart, CheckPart, EvaluationPart, PgdPart, worst_verdict
from benchmark.results.protocol import Protocol, autoattack_version
from benchmark.results.verdicts import pack_verdicts

PGD_SEED = 0
DEFAULT_BATCH_SIZE = 500


def evaluate(
    module: nn.Module,
    dataset: str | TestData,
    protocol: str | Protocol,
    *,
    data_dir: Path | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = DEFAULT_BATCH_SIZE,
    parent: nn.Module | None = None,
    journal: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> EvaluationPart:
    """Measure a network as the boards do, in float32 with TF32 off; any nn.Module will do.

    Args:
        module: maps (B, C, H, W) images in [0, 1] to (B, classes) logits; normalisation belongs inside. It is moved to
            `device` and cast to float32, in place; its modes are left as they are.
        dataset: a data set's name, or its test images already loaded.
        protocol: what to measure, or its id, such as "cifar10-linf-8_255-aa-standard-1000".
        data_dir: folder with the data set's files; None for `data` in the current folder.
        device: where to run.
        batch_size: images per call of an attack; AutoAttack's random draws depend on it.
        parent: the dense network that `module` was made from; its adversarial images are then tried on `module`.
        journal: folder that keeps AutoAttack's finished batches, so that a killed evaluation goes on.
        report: receives progress lines.

    Raises:
        UserError: if data set, protocol and network do not fit each other.
    """
    protocol = Protocol.parse(protocol) if isinstance(protocol, str) else protocol
    data = load_test(dataset, data_dir, limit=protocol.images) if isinstance(dataset, str) else dataset
    check_fit(data, protocol)
    module = prepare(module, device)
    images, classes = data.test.to(device), data.info.num_classes
    epsilon, pgd_step = float(Fraction(protocol.epsilon)), float(Fraction(protocol.pgd_step))
    _check_logits(module, as_float_images(images.images[:2]), classes)
    # The networks of this project are known to be attackable; of any other nothing is known, such as a gradient.
    attacked_module = module if isinstance(module, ResNet) else Attackable(module)
    compute = ComputeBatch(report)
    clean = clean_verdicts(attacked_module, images, batch_size=batch_size, compute=compute)
    report(f"evaluate   clean {_percent(clean)}")
    pgd = pgd_verdicts(
        attacked_module,
        images,
        epsilon=epsilon,
        step_size=pgd_step,
        steps=protocol.pgd_steps,
        restarts=protocol.pgd_restarts,
        seed=PGD_SEED,
        batch_size=batch_size,
        compute=compute,
    )
    report(f"evaluate   pgd-{protocol.pgd_steps} {_percent(pgd)}")
    attacked = autoattack(
        attacked_module,
        images,
        num_classes=classes,
        epsilon=epsilon,
        seed=protocol.autoattack_seed,
        batch_size=batch_size,
        report=report,
        journal=journal,
        compute=compute,
    )
    verdicts = {"clean": clean, "pgd": pgd, **attacked.robust}
    parent = None if parent is None else prepare(parent, device)

    def checks() -> list[Check]:
        compute.tried = compute.at_most(batch_size) if compute.notes else batch_size
        return gradient_health(
            module,
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
        best_known_accuracy=_share(clean & pgd & attacked.verdicts),
        verdicts={name: pack_verdicts(bits.numpy()) for name, bits in verdicts.items()},
        health=[CheckPart(**vars(check)) for check in health],
        notes=compute.notes,
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


def _check_logits(module: nn.Module, images: Tensor, classes: int) -> None:
    """Try two images: an architecture for another kind of image fails here rather than in the middle of an attack."""
    try:
        with torch.no_grad(), frozen_eval(module):
            logits = module(images)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        shape = "x".join(str(side) for side in images.shape[1:])
        raise UserError(f"the network cannot be run on images of {shape}: {str(error).splitlines()[0]}") from None
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (len(images), classes):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        wanted = (len(images), classes)
        raise UserError(f"the network must return logits of shape {wanted} for {len(images)} images; got {got}")
    if not bool(torch.isfinite(logits).all()):
        raise UserError("the network returns logits that are not finite; such a network cannot be attacked or ranked")


def _share(verdicts: Tensor) -> float:
    return int(verdicts.sum()) / len(verdicts)


def _percent(verdicts: Tensor) -> str:
    return f"{100 * _share(verdicts):.2f}"
