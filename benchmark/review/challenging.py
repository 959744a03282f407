"""`challenge`: checks adversarial images that somebody found, and lowers a row's best-known accuracy by them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images, frozen_eval
from benchmark.evaluation.autoattack import BALL_TOLERANCE
from benchmark.results.challenges import MAX_CREDIT, Challenge, challenged, load_challenges, save_challenge
from benchmark.results.record import Record
from benchmark.review.reproducing import artifact_of, test_data_of

MAX_BYTES = 2**32  # of the submitted file
BATCH_SIZE = 256


@dataclass(frozen=True)
class Verdict:
    """What became of a challenge."""

    submitted: int
    broken: int  # misclassified by the record's network
    new: int  # of those, counted as robust until now
    before: float  # best-known accuracy
    after: float
    path: Path | None  # of the stored challenge; None if nothing is new


def challenge(record: Record, file: Path, folder: Path, *, credit: str, data_dir: Path | None) -> Verdict:
    """Check adversarial images against a record's artifact in float32 and store those that break something new.

    Args:
        record: the row.
        file: safetensors with `x_adv` (K, C, H, W) float32 in [0, 1], and `index` (K,) int64, their places in the
            protocol's order of test images; without `index` all images, in order.
        folder: holds records, artifacts and challenges.
        credit: who found them.
        data_dir: folder with the data set's files.

    Raises:
        UserError: if an image is outside the ball or [0, 1], or the file is not of this kind.
    """
    credit = " ".join(credit.split())
    if not (credit.isprintable() and 1 <= len(credit) <= MAX_CREDIT):
        raise UserError(f"--credit takes a name of 1 to {MAX_CREDIT} characters, got {credit!r}")
    artifact = artifact_of(record, folder)
    data = test_data_of(record, data_dir, record.evaluation.n_images)
    adversarial, index = _read(file, data.test)
    _check_allowed(adversarial, as_float_images(data.test.images[index]), float(Fraction(record.evaluation.epsilon)))
    wrong = _misclassified(artifact.network, adversarial, data.test.labels[index])
    (known,) = challenged([record], load_challenges(folder))
    robust = torch.from_numpy(known.evaluation.right("robust").copy())
    new = wrong & robust[index]
    before, path = known.evaluation.best_known_accuracy, None
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
    after = (int(robust.sum()) - int(new.sum())) / len(robust)
    return Verdict(len(index), int(wrong.sum()), int(new.sum()), before, after, path)


def _read(file: Path, images: Images) -> tuple[Tensor, Tensor]:
    """Return the submitted images and their places, of the right types and shapes."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UserError(f"{file} is larger than {MAX_BYTES >> 30} GiB; submit fewer images at a time")
        tensors: Mapping[str, Tensor] = load_tensors(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); give a safetensors file") from None
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{file} is no safetensors file: {str(error).splitlines()[0]}") from None
    if not {"x_adv"} <= set(tensors) <= {"x_adv", "index"}:
        raise UserError(f"{file} holds {sorted(tensors)}; it must hold x_adv, and index if it has not all images")
    adversarial = tensors["x_adv"]
    index = tensors.get("index", torch.arange(len(images)))
    shape = (len(index), *images.images.shape[1:])
    if adversarial.dtype != torch.float32 or tuple(adversarial.shape) != shape:
        raise UserError(f"x_adv is {adversarial.dtype} {tuple(adversarial.shape)}; it must be torch.float32 {shape}")
    if index.dtype != torch.int64 or index.dim() != 1 or len(index) == 0 or len(index.unique()) != len(index):
        raise UserError("index must be int64, one place per image, none of them twice")
    if int(index.min()) < 0 or int(index.max()) >= len(images):
        raise UserError(f"index has places from {int(index.min())} to {int(index.max())}; the row has {len(images)}")
    return adversarial, index


def _check_allowed(adversarial: Tensor, images: Tensor, epsilon: float) -> None:
    finite = adversarial.flatten(1).isfinite().all(1)
    inside = (adversarial.flatten(1) >= 0).all(1) & (adversarial.flatten(1) <= 1).all(1)
    distance = (adversarial - images).flatten(1).abs().amax(1)
    near = distance <= epsilon + BALL_TOLERANCE
    for what, good in (("is not finite", finite), ("leaves [0, 1]", inside), ("leaves the epsilon ball", near)):
        if not bool(good.all()):
            first = int((~good).nonzero()[0])
            raise UserError(
                f"image {first} of x_adv {what} (distance {float(distance[first]):.6f}, epsilon {epsilon:.6f}), "
                f"as do {int((~good).sum())} in all; mend or leave them out"
            )


@torch.no_grad()
def _misclassified(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with frozen_eval(network):
        right = [
            network(batch).argmax(1) == truth
            for batch, truth in zip(images.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True)
        ]
    return ~torch.cat(right)
