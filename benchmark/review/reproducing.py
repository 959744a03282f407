"""`reproduce`: counts and measures a committed artifact again and reports whether the record agrees."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from benchmark.artifact.unpack import Artifact
from benchmark.errors import UserError
from benchmark.evaluation.evaluate import evaluate
from benchmark.files.text import terminal_line
from benchmark.foreign.onnx_artifact import OnnxArtifact
from benchmark.results.agreement import Agreement, agreement, headline_reason
from benchmark.results.challenges import challenges_to, images_path, load_challenges
from benchmark.results.external import AnyRecord
from benchmark.results.protocol import Protocol
from benchmark.results.rechecks import load_rechecks, rechecked, rechecks_of
from benchmark.review.adversarial import try_images
from benchmark.review.recount import recount_any
from benchmark.review.sources import artifact_of, other_kernels, test_data_of
from benchmark.runtime.devices import choose_device

JOURNALS = Path("runs", "reproduce")  # in the folder the command is run in
QUICK_IMAGES = 200  # the first of the protocol's fixed order


@dataclass(frozen=True)
class Reproduction:
    """What was measured again, beside the record; `print` shows what the command shows.

    Attributes:
        record: of the row.
        n: images that were measured again, the first of the protocol's.
        agreements: of the clean, PGD and AutoAttack verdicts with those of the record.
        reasons: why the record is not consistent with the measurement, a sentence each; empty if it is.
    """

    record: AnyRecord = field(repr=False)
    n: int
    agreements: tuple[Agreement, ...]
    reasons: tuple[str, ...]

    @property
    def consistent(self) -> bool:
        """Whether every comparison lies within its bound."""
        return not self.reasons

    @property
    def text(self) -> str:
        """A line per attack and the conclusion, as the command prints them."""
        return reproduction_text(self)

    def __str__(self) -> str:
        return self.text


def reproduce_record(
    record: AnyRecord, folder: Path, *, quick: bool, data_dir: Path | None, device: str, say: Callable[[str], None]
) -> Reproduction:
    """Measure a record's artifact again with its protocol, on all its images or on the first 200.

    On all images the attack has the random draws of the record, and uses as many threads.

    Raises:
        UserError: if artifact or data are missing or are not those of the record.
    """
    place = torch.device(choose_device(device))
    protocol = Protocol.parse(record.protocol)
    n = min(protocol.images, QUICK_IMAGES) if quick else protocol.images
    (with_checks,) = rechecked([record], rechecks_of(record, load_rechecks(folder)))
    artifact = artifact_of(record, folder)
    reasons = recount_any(record, artifact)
    data = test_data_of(record, data_dir, n)
    reasons += _failed_challenges(record, artifact, folder, data_dir)
    # Not below `folder`, which may belong to somebody else: whoever can write to a journal can forge verdicts.
    journal = JOURNALS / f"{record.artifact.sha256[:12]}-{protocol.id}-{n}"
    if place.type == "cpu" and (note := other_kernels(record.kernels, artifact.network)):
        say(f"note       {note}")
    threads = torch.get_num_threads()
    torch.set_num_threads(record.threads)
    try:
        measured = evaluate(
            artifact.network,
            data,
            replace(protocol, images=n),
            device=place,
            batch_size=record.evaluation.autoattack.batch_size,
            journal=journal,
            report=say,
        )
    finally:
        torch.set_num_threads(threads)
    claimed = record.evaluation
    agreements = tuple(
        agreement(name, claimed.right(name)[:n], measured.right(name)) for name in ("clean", "pgd", "autoattack")
    )
    reasons += [f"{each.name}: {each.reason}" for each in agreements if each.reason]
    for name, accuracy in (("clean", claimed.clean_accuracy), ("autoattack", claimed.autoattack.accuracy)):
        if reason := headline_reason(accuracy, int(measured.right(name).sum()), n):
            reasons.append(f"{name}: {reason}")
    claimed_health = {check.name: check.verdict for check in with_checks.evaluation.health}
    for check in measured.health:  # a check that the record lacks may be suspect, but must not fail
        if check.verdict == "fail" or (check.verdict == "suspect" and claimed_health.get(check.name) == "pass"):
            reasons.append(f"gradient health, {check.name}: {check.reason}")
    shutil.rmtree(journal, ignore_errors=True)
    return Reproduction(record, n, agreements, tuple(reasons))


def _failed_challenges(
    record: AnyRecord, artifact: Artifact | OnnxArtifact, folder: Path, data_dir: Path | None
) -> list[str]:
    """Try every stored challenge of the record again and return why one fails; empty if all succeed."""
    reasons = []
    stored = challenges_to(record, load_challenges(folder))
    data = test_data_of(record, data_dir, record.evaluation.n_images) if stored else None
    for challenge in stored:
        assert data is not None
        what = f"challenge by {challenge.credit} of {challenge.date}"
        try:
            tried = try_images(images_path(folder, challenge), record, artifact, data.test)
        except UserError as error:
            reasons.append(f"{what}: {error}")
            continue
        if right := int((~tried.wrong).sum()):
            reasons.append(f"{what}: the artifact classifies {right} of its {len(tried.wrong)} images correctly")
    return reasons


def reproduction_text(reproduction: Reproduction) -> str:
    """Return what `reproduce` prints: a line per attack and the conclusion."""
    record = reproduction.record
    lines = [
        f"{record.run}",
        f"{record.protocol}: {reproduction.n} of {record.evaluation.n_images} images measured again",
        f"{'':<12}{'record':>8}{'now':>8}{'lost':>6}{'gained':>8}{'chance explains':>17}",
    ]
    for each in reproduction.agreements:
        lines.append(
            f"{each.name:<12}{100 * each.claimed / each.n:>8.2f}{100 * each.measured / each.n:>8.2f}"
            f"{each.lost:>6}{each.gained:>8}{each.allowed:>17}"
        )
    if record.evaluation.wide is not None:
        lines.append(f"PGD on {record.evaluation.wide.n_images:,} images, shown beside the row, was not measured again")
    if reproduction.consistent:
        lines.append("consistent: counts are exact, every difference lies within its binomial bound at 99%")
    else:
        lines += [f"not consistent: {reason}" for reason in reproduction.reasons]
    return "\n".join(map(terminal_line, lines))
