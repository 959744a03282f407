"""`reproduce`: measures a committed artifact again and says whether the record agrees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmark.artifact.unpack import Artifact, read_artifact
from benchmark.data.load import TestData, load_test
from benchmark.devices import choose_device
from benchmark.errors import UserError
from benchmark.evaluation.evaluate import evaluate
from benchmark.results.agreement import Agreement, agreement, headline_reason
from benchmark.results.protocol import Protocol
from benchmark.results.record import Record
from benchmark.results.store import artifact_path

QUICK_IMAGES = 200  # the first of the protocol's fixed order


@dataclass(frozen=True)
class Reproduction:
    """What was measured again, beside the record."""

    record: Record
    n: int
    agreements: tuple[Agreement, ...]
    reasons: tuple[str, ...]  # why the record is not consistent with it; empty if it is

    @property
    def consistent(self) -> bool:
        """Whether every comparison lies within its bound."""
        return not self.reasons


def artifact_of(record: Record, folder: Path) -> Artifact:
    """Read the artifact that a record is about.

    Raises:
        UserError: if it is missing, damaged, or another file than the record's.
    """
    path = artifact_path(folder, record.run)
    if not path.exists():
        raise UserError(f"{record.run} has no artifact at {path}; fetch the file there, its sha256 is in the record")
    artifact = read_artifact(path)
    if artifact.sha256 != record.artifact.sha256:
        raise UserError(
            f"{path} has sha256 {artifact.sha256[:12]}…, the record was measured on {record.artifact.sha256[:12]}…; "
            "fetch the record's file"
        )
    return artifact


def test_data_of(record: Record, data_dir: Path | None, images: int) -> TestData:
    """Load the first test images of a record's protocol.

    Raises:
        UserError: if the data are missing or are not those of the record.
    """
    data = load_test(record.dataset.name, data_dir, limit=images)
    if data.sha256 != record.dataset.test_sha256:
        raise UserError(
            f"the test images of {record.dataset.name} found here are not those of the record "
            f"(sha256 {data.sha256[:12]}…, not {record.dataset.test_sha256[:12]}…); give their folder by --data-dir"
        )
    return data


def reproduce(
    record: Record, folder: Path, *, quick: bool, data_dir: Path | None, device: str, say: Callable[[str], None]
) -> Reproduction:
    """Measure a record's artifact again with its protocol, on all its images or on the first 200.

    On all images the attack's random draws are the record's, with as many threads as then.

    Raises:
        UserError: if artifact or data are missing or others than the record's.
    """
    place = torch.device(choose_device(device))
    protocol = Protocol.parse(record.protocol)
    n = min(protocol.images, QUICK_IMAGES) if quick else protocol.images
    artifact, data = artifact_of(record, folder), test_data_of(record, data_dir, n)
    torch.set_num_threads(record.provenance.threads)
    journal = folder / "evaluations" / "journal" / f"reproduce-{record.artifact.sha256[:12]}-{n}"
    found = evaluate(
        artifact.network,
        data,
        replace(protocol, images=n),
        device=place,
        batch_size=record.evaluation.autoattack.batch_size,
        journal=journal,
        report=say,
    )
    claimed = record.evaluation
    agreements = tuple(
        agreement(name, claimed.right(name)[:n], found.right(name)) for name in ("clean", "pgd", "autoattack")
    )
    reasons = [f"{each.name}: {each.reason}" for each in agreements if each.reason]
    for name, accuracy in (("clean", claimed.clean_accuracy), ("autoattack", claimed.autoattack.accuracy)):
        if reason := headline_reason(accuracy, int(found.right(name).sum()), n):
            reasons.append(f"{name}: {reason}")
    if found.health_verdict == "fail":
        reasons += [
            f"gradient health, {check.name}: {check.reason}" for check in found.health if check.verdict == "fail"
        ]
    return Reproduction(record, n, agreements, tuple(reasons))


def reproduction_text(found: Reproduction) -> str:
    """Return what `reproduce` prints: a line per attack and the answer."""
    record = found.record
    lines = [
        f"{record.run}",
        f"{record.protocol}: {found.n} of {record.evaluation.n_images} images measured again",
        f"{'':<12}{'record':>8}{'now':>8}{'lost':>6}{'gained':>8}{'chance explains':>17}",
    ]
    for each in found.agreements:
        lines.append(
            f"{each.name:<12}{100 * each.claimed / each.n:>8.2f}{100 * each.measured / each.n:>8.2f}"
            f"{each.lost:>6}{each.gained:>8}{each.allowed:>17}"
        )
    if found.consistent:
        lines.append("consistent: every difference lies within its exact binomial bound at 99%")
    else:
        lines += [f"not consistent: {reason}" for reason in found.reasons]
    return "\n".join(lines)
