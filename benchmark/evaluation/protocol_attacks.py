"""The attacks of a protocol, on a network that is ready for them: PGD, then AutoAttack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import pgd_verdicts
from benchmark.evaluation.autoattack import AutoAttackResult, autoattack
from benchmark.evaluation.fast import ComputeBatch
from benchmark.evaluation.shards import Shard
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
    shards: int = 1,
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
        shards: slices of the images, each attacked by a call of AutoAttack of its own.

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
    results = []
    for shard in (Shard(number, shards) for number in range(1, shards + 1)):
        if shards > 1:
            report(f"autoattack  shard {shard}")
        results.append(
            attack_shard(
                network,
                images,
                protocol,
                shard,
                classes=classes,
                batch_size=batch_size,
                compute=compute,
                journal=journal,
                report=report,
                attacks=attacks,
            )
        )
    return pgd, _joined(results)


def attack_shard(
    network: nn.Module,
    images: Images,
    protocol: Protocol,
    shard: Shard,
    *,
    classes: int,
    batch_size: int,
    compute: ComputeBatch,
    journal: Path | None,
    report: Callable[[str], None],
    attacks: Sequence[str] = CASCADE,
) -> AutoAttackResult:
    """Run AutoAttack on one slice of the images, as a plain call on these images alone; the rest as above.

    Raises:
        UserError: if there are more shards than images.
    """
    rows = shard.rows(len(images))
    part = slice(rows.start, rows.stop)
    return autoattack(
        network,
        Images(images.images[part], images.labels[part]),
        num_classes=classes,
        epsilon=float(Fraction(protocol.epsilon)),
        seed=protocol.autoattack_seed,
        batch_size=batch_size,
        report=report,
        journal=journal,
        attacks=attacks,
        compute=compute,
    )


def _joined(results: Sequence[AutoAttackResult]) -> AutoAttackResult:
    """Return the results of all slices as one, in the order of the images."""
    return AutoAttackResult(
        robust={name: torch.cat([each.robust[name] for each in results]) for name in results[0].robust},
        adversarial=torch.cat([each.adversarial for each in results]),
        seconds=sum(each.seconds for each in results),
    )
