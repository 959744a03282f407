"""`challenge`: checks submitted adversarial images, and lowers a row's best-known accuracy by them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import save as save_tensors

from benchmark.errors import UserError
from benchmark.results.challenges import (
    MAX_CREDIT,
    Challenge,
    challenged,
    challenges_to,
    is_credit,
    load_challenges,
    save_challenge,
    unchallenged,
)
from benchmark.results.external import AnyRecord
from benchmark.results.rechecks import load_rechecks, rechecked, rechecks_of
from benchmark.review.adversarial import try_images
from benchmark.review.sources import artifact_of, test_data_of


@dataclass(frozen=True)
class ChallengeOutcome:
    """The result of a challenge."""

    submitted: int
    broken: int  # misclassified by the record's network
    new: int  # of those, broken by no attack before, or only by the opponent's attacks
    before: float  # best-known accuracy
    after: float
    path: Path | None  # of the stored challenge; None if nothing is new


def challenge(record: AnyRecord, file: Path, folder: Path, *, credit: str, data_dir: Path | None) -> ChallengeOutcome:
    """Check adversarial images against a record's artifact in float32 and store those that break something new.

    Args:
        record: the row.
        file: adversarial images, see `try_images`.
        folder: holds records, artifacts and challenges.
        credit: name of whoever made them.
        data_dir: folder with the data set's files.

    Raises:
        UserError: if an image is outside the ball or [0, 1], or the file is not of this kind.
    """
    credit = " ".join(credit.split())
    if not is_credit(credit):
        raise UserError(f"--credit takes a printable name of 1 to {MAX_CREDIT} characters, got {credit!r}")
    artifact = artifact_of(record, folder)
    data = test_data_of(record, data_dir, record.evaluation.n_images)
    adversarial, index, wrong = try_images(file, record, artifact, data.test)
    with_checks = rechecked([record], rechecks_of(record, load_rechecks(folder)))
    (best_known,) = challenged(with_checks, challenges_to(record, load_challenges(folder)))
    new = wrong & torch.from_numpy(unchallenged(best_known.evaluation))[index]
    robust = torch.from_numpy(best_known.evaluation.right("robust").copy())
    before, path = best_known.evaluation.best_known_accuracy, None
    if new.any():
        rows = index[new].sort().values
        order = index[new].argsort()
        images = save_tensors({"x_adv": adversarial[new][order].contiguous(), "index": rows.contiguous()})
        accepted = Challenge(
            schema_version=1,
            run=record.run,
            protocol=record.protocol,
            artifact_sha256=artifact.sha256,
            images_sha256=hashlib.sha256(images).hexdigest(),
            credit=credit,
            date=datetime.now(UTC).date(),
            broken=rows.tolist(),
        )
        path = save_challenge(accepted, images, folder)
    after = (int(robust.sum()) - int(robust[index[new]].sum())) / len(robust)
    return ChallengeOutcome(len(index), int(wrong.sum()), int(new.sum()), before, after, path)
