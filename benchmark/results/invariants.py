"""What must hold between the numbers of a record before it may be ranked."""

from __future__ import annotations

from benchmark.results.protocol import autoattack_version
from benchmark.results.record import TOLERANCE, Record, unpack_verdicts


def violations(record: Record) -> list[str]:
    """Return the reasons, as sentences, for which a valid record may not be ranked; empty if it may."""
    attack = record.evaluation.autoattack
    pgd, auto = record.evaluation.pgd.accuracy, attack.accuracy
    found = []
    count = record.evaluation.n_images
    bits = {name: unpack_verdicts(text, count) for name, text in record.evaluation.verdicts.items()}
    names = {"pgd": "PGD", "autoattack": "AutoAttack"}
    for name in names:
        if any(robust and not right for robust, right in zip(bits[name], bits["clean"], strict=True)):
            found.append(f"{names[name]} counts images as robust that are wrong without any attack")
    if auto > pgd:
        found.append(f"AutoAttack accuracy {auto:.4f} exceeds PGD accuracy {pgd:.4f}: the weaker attack did more")
    if attack.version != (asked := autoattack_version(record.dataset.num_classes)):
        found.append(f"AutoAttack version is {attack.version}, the protocol asks for {asked}")
    if attack.attacks and abs(min(attack.attacks.values()) - auto) > TOLERANCE:
        found.append(f"AutoAttack accuracy {auto:.4f} is not the lowest of its cascade")
    if record.training.frozen_parts_unchanged is False:
        found.append("parameters that the method declares frozen have changed")
    return found
