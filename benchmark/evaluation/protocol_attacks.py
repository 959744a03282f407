"""The attacks of a protocol, on a network that is ready for them: PGD, then AutoAttack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import pgd_verdicts
from benchmark.evaluation.autoattack import AutoAttackResult, autoattack
from benchmark.evaluation.fast import ComputeBatch
from benchmark.results.evaluation import CASCADE
from benchmark.results.protocol import Protocol


def protocol_attacks(
    network: nn.Module,
    images: Images,
    protocol: Protocol,
    *,
    classes: int,
    pgd_seed: int,
    batch_size: int,
    compute: ComputeBatch,
    journal: Path | None,
    report: Callable[[str], None],
    attacks: Sequence[str] = CASCADE,
) -> tuple[Tensor, AutoAttackResult]:
    """Attack images with a protocol's PGD and with AutoAttack.

    Args:
        network: on [0, 1] images, attacked in eval mode.
        images: N images.
        protocol: sets radius, steps and seeds.
        classes: of the data set.
        pgd_seed: of PGD's random starts.
        batch_size: images per call of an attack.
        compute: how many images go through the network at once.
        journal: folder for AutoAttack's finished batches; None keeps none.
        report: receives progress lines.
        attacks: of AutoAttack, the first ones of its cascade.

    Returns:
        The (N,) verdicts under PGD, True if classified correctly, and AutoAttack's result.
    """
    epsilon = float(Fraction(protocol.epsilon))
    pgd = pgd_verdicts(
        network,
        images,
        epsilon=epsilon,
        step_size=float(Fraction(protocol.pgd_step)),
        steps=protocol.pgd_steps,
        restarts=protocol.pgd_restarts,
        seed=pgd_seed,
        batch_size=batch_size,
        compute=compute,
    )
    report(f"evaluate   pgd-{protocol.pgd_steps} {100 * int(pgd.sum()) / len(pgd):.2f}")
    result = autoattack(
        network,
        images,
        num_classes=classes,
        epsilon=epsilon,
        seed=protocol.autoattack_seed,
        batch_size=batch_size,
        report=report,
        journal=journal,
        attacks=attacks,
        compute=compute,
    )
    return pgd, result
