"""Adversarial images from a file: read, checked against the rules, and tried on a record's network in float32."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from benchmark.artifact.unpack import Artifact
from benchmark.data.load import Images
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images, frozen_eval, misclassified
from benchmark.evaluation.autoattack import BALL_TOLERANCE
from benchmark.files.kinds import kind_of_content
from benchmark.files.plain import kind_of
from benchmark.foreign.onnx_artifact import OnnxArtifact
from benchmark.results.challenges import IMAGES_BYTES
from benchmark.results.external import AnyRecord

BATCH_SIZE = 256


class Tried(NamedTuple):
    """Adversarial images that keep the rules, and how the network classifies them."""

    images: Tensor  # (K, C, H, W) float32 in [0, 1]
    places: Tensor  # (K,) int64, positions in the protocol's order of test images
    wrong: Tensor  # (K,) bool, misclassified


def try_images(file: Path, record: AnyRecord, artifact: Artifact | OnnxArtifact, images: Images) -> Tried:
    """Read adversarial images of a record's test images and classify them with its network.

    Args:
        file: safetensors with `x_adv` (K, C, H, W) float32 in [0, 1], and `index` (K,) int64, their positions in
            the protocol's order of test images; without `index` all images, in order.
        record: the row.
        artifact: its network.
        images: its test images.

    Raises:
        UserError: if an image is outside the ball or [0, 1], or the file is not of this kind.
    """
    if file.exists() and not file.is_file():  # reading a device would never end
        raise UserError(f"{file} is {kind_of(file)}; give a safetensors file")
    try:
        if file.stat().st_size > IMAGES_BYTES:
            raise UserError(f"{file} is larger than {IMAGES_BYTES >> 30} GiB; submit fewer images at a time")
        kind = kind_of_content(file)
        if kind is not None and not kind.safetensors:
            raise UserError(f"{file} is {kind.name}; give a file that safetensors.torch.save_file wrote, with x_adv")
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); give a safetensors file") from None
    return try_content(content, str(file), record, artifact, images)


def try_content(
    content: bytes, name: str, record: AnyRecord, artifact: Artifact | OnnxArtifact, images: Images
) -> Tried:
    """Classify adversarial images from the bytes of a file; `name` is for messages, the rest as for `try_images`."""
    adversarial, index = _read(content, name, images)
    _check_allowed(adversarial, as_float_images(images.images[index]), float(Fraction(record.evaluation.epsilon)))
    return Tried(adversarial, index, _misclassified(artifact.network, adversarial, images.labels[index]))


def _read(content: bytes, file: str, images: Images) -> tuple[Tensor, Tensor]:
    """Return the submitted images and their positions, with types and shapes checked."""
    try:
        tensors: Mapping[str, Tensor] = load_tensors(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{file} is not a safetensors file: {str(error).splitlines()[0]}") from None
    if not {"x_adv"} <= set(tensors) <= {"x_adv", "index"}:
        raise UserError(
            f"{file} holds {str(sorted(tensors))[:100]}; it must hold x_adv, and index unless it has all images"
        )
    adversarial = tensors["x_adv"]
    index = tensors.get("index", torch.arange(len(images)))
    if index.dtype != torch.int64 or index.dim() != 1 or len(index) == 0 or len(index.unique()) != len(index):
        raise UserError(
            "index must be int64 with one dimension: one position per image, at least one, without duplicates"
        )
    shape = (len(index), *images.images.shape[1:])
    if adversarial.dtype != torch.float32 or tuple(adversarial.shape) != shape:
        raise UserError(f"x_adv is {adversarial.dtype} {tuple(adversarial.shape)}; it must be torch.float32 {shape}")
    if int(index.min()) < 0 or int(index.max()) >= len(images):
        raise UserError(
            f"index has positions from {int(index.min())} to {int(index.max())}; the row has {len(images)} images"
        )
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
                f"as do {int((~good).sum())} in all; correct or remove them"
            )


@torch.no_grad()
def _misclassified(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with frozen_eval(network):
        wrong = [
            misclassified(network(batch), truth)
            for batch, truth in zip(images.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True)
        ]
    return torch.cat(wrong)
