"""Runs the evaluation protocol on an exported network and writes the record's evaluation part."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor, nn

from benchmark.data.load import TestData
from benchmark.evaluation.accuracy import clean_verdicts, pgd_verdicts
from benchmark.evaluation.autoattack import PACKAGE, autoattack, package_version
from benchmark.experiment import Experiment
from benchmark.results.protocol import autoattack_version
from benchmark.results.record import AutoAttackPart, EvaluationPart, PgdPart, pack_verdicts

PGD_SEED = 0


def evaluate(
    network: nn.Module,
    data: TestData,
    experiment: Experiment,
    *,
    device: torch.device,
    report: Callable[[str], None],
) -> EvaluationPart:
    """Measure clean, PGD and AutoAttack accuracy on the same images, in float32 with TF32 off.

    Args:
        network: a plain network on [0, 1] images.
        data: the test images to use, all of them.
        experiment: gives epsilon and the attack settings.
        device: where to run.
        report: receives progress lines.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    network = network.to(device=device, dtype=torch.float32, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    images, epsilon = data.test.to(device), float(Fraction(experiment.epsilon))
    settings = experiment.evaluation
    batch_size = settings.autoattack.batch_size
    clean = clean_verdicts(network, images, batch_size=batch_size)
    report(f"evaluate   clean {_percent(clean)}")
    pgd = pgd_verdicts(
        network,
        images,
        epsilon=epsilon,
        step_size=float(Fraction(experiment.pgd_step)),
        steps=settings.pgd.steps,
        restarts=settings.pgd.restarts,
        seed=PGD_SEED,
        batch_size=batch_size,
    )
    report(f"evaluate   pgd-{settings.pgd.steps} {_percent(pgd)}; autoattack takes longest, Square is half of it")
    attacked = autoattack(
        network,
        images,
        num_classes=data.info.num_classes,
        epsilon=epsilon,
        seed=settings.autoattack.seed,
        batch_size=batch_size,
        report=report,
    )
    verdicts = {"clean": clean, "pgd": pgd, "autoattack": attacked.verdicts}
    return EvaluationPart(
        n_images=len(images),
        epsilon=experiment.epsilon,
        norm="linf",
        clean_accuracy=_share(clean),
        pgd=PgdPart(
            steps=settings.pgd.steps,
            restarts=settings.pgd.restarts,
            step_size=experiment.pgd_step,
            accuracy=_share(pgd),
        ),
        autoattack=AutoAttackPart(
            version=autoattack_version(data.info.num_classes),
            package=PACKAGE,
            package_version=package_version(),
            seed=settings.autoattack.seed,
            batch_size=batch_size,
            accuracy=_share(attacked.verdicts),
            attacks={name: _share(robust) for name, robust in attacked.robust.items()},
            seconds=round(attacked.seconds, 3),
        ),
        best_known_accuracy=_share(clean & pgd & attacked.verdicts),
        verdicts={name: pack_verdicts(bits.tolist()) for name, bits in verdicts.items()},
    )


def _share(verdicts: Tensor) -> float:
    return int(verdicts.sum()) / len(verdicts)


def _percent(verdicts: Tensor) -> str:
    return f"{100 * _share(verdicts):.2f}"
