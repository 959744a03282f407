"""What must hold between the numbers of a record before it may be ranked."""

from __future__ import annotations

from benchmark.results.external import AnyRecord
from benchmark.results.protocol import autoattack_version
from benchmark.results.record import Record


def violations(record: AnyRecord) -> list[str]:
    """Return the reasons, as sentences, for which a valid record may not be ranked; empty if it may."""
    evaluation = record.evaluation
    pgd, auto = evaluation.pgd.accuracy, evaluation.autoattack.accuracy
    reasons = []
    clean = evaluation.right("clean")
    for name, spelled in {"pgd": "PGD", "autoattack": "AutoAttack"}.items():
        if (evaluation.right(name) & ~clean).any():
            reasons.append(f"{spelled} counts images as robust that are wrong without any attack")
    wide = evaluation.wide
    if wide is not None and (wide.right("pgd") & ~wide.right("clean")).any():
        reasons.append(f"PGD on {wide.n_images} images counts images as robust that are wrong without any attack")
    if auto > pgd:
        reasons.append(f"AutoAttack accuracy {auto:.4f} exceeds PGD accuracy {pgd:.4f}: the weaker attack did more")
    if (version := evaluation.autoattack.version) != (asked := autoattack_version(record.dataset.num_classes)):
        reasons.append(f"AutoAttack version is {version}, the protocol asks for {asked}")
    if isinstance(record, Record) and record.training.frozen_parts_unchanged is False:
        reasons.append("parameters that the method declares frozen have changed")
    return [*reasons, *doubts(record)]


def doubts(record: AnyRecord) -> list[str]:
    """Return the reasons for which attacks may have overstated the network: its failed checks of gradient health.

    Its accuracies are then only upper bounds, so a row that is more robust than these is better.
    """
    return [
        f"gradient health, {check.name}: {check.reason}"
        for check in record.evaluation.health
        if check.verdict == "fail"
    ]
