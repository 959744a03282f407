"""Accepted challenges: adversarial images from anyone that break a record's network where its attacks did not.

A challenge is in folder/challenges/<protocol>/<record's file name>/<date>-<id>.json, with its images beside it as
<date>-<id>.safetensors. It lowers the best-known accuracy of the record; AutoAttack's own number stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import numpy as np
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from benchmark.errors import UserError
from benchmark.files.plain import files_below, read_below, refuse_links
from benchmark.files.text import concealed
from benchmark.results.evaluation import CHALLENGED, OPPONENT, EvaluationPart
from benchmark.results.external import AnyRecord, ExternalRecord
from benchmark.results.fields import Count, Sha256
from benchmark.results.parts import Part
from benchmark.results.rechecks import load_rechecks, rechecked
from benchmark.results.record import Record
from benchmark.results.store import load_all, load_placed, record_path, write_atomic, write_model
from benchmark.results.verdicts import Verdicts, pack_verdicts, unpack_common

R = TypeVar("R", Record, ExternalRecord, AnyRecord)

IMAGES_BYTES = 2**32  # of a file
MAX_CREDIT = 100  # characters


class Challenge(Part):
    """Images of one record that were broken, by whom and when."""

    schema_version: Literal[1]
    run: str
    protocol: str
    artifact_sha256: Sha256
    images_sha256: Sha256  # of the file with the adversarial images
    credit: str
    date: date
    broken: Annotated[list[Count], Field(min_length=1)]  # places in the protocol's order of test images, ascending

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.broken != sorted(set(self.broken)):
            raise ValueError("the broken images are not in ascending order, each once")
        if not is_credit(self.credit):
            raise ValueError(f"credit is not a printable name of 1 to {MAX_CREDIT} characters")
        return self


def is_credit(text: str) -> bool:
    """Return whether a text may appear on a board as a name: one printable line, not too long."""
    return not concealed(text) and text == " ".join(text.split()) and 1 <= len(text) <= MAX_CREDIT


def challenges_to(record: AnyRecord, challenges: Sequence[Challenge]) -> list[Challenge]:
    """Return the challenges to one record."""
    return [each for each in challenges if (each.protocol, each.run) == (record.protocol, record.run)]


def images_path(folder: Path, challenge: Challenge) -> Path:
    """Return the path of the adversarial images of a challenge."""
    name = f"{challenge.date.isoformat()}-{challenge.images_sha256[:8]}.safetensors"
    return refuse_links(challenge_folder(folder, challenge.protocol, challenge.run) / name, folder)


def challenge_path(folder: Path, challenge: Challenge) -> Path:
    """Return the path of the JSON file of a challenge."""
    return images_path(folder, challenge).with_suffix(".json")


def challenge_folder(folder: Path, protocol: str, run: str) -> Path:
    """Return the folder of the challenges to a record.

    Raises:
        UserError: if a name could lead outside the folder.
    """
    record = record_path(folder, protocol, run)
    return refuse_links(folder / "challenges" / protocol / record.stem, folder)


def save_challenge(challenge: Challenge, images: bytes, folder: Path) -> Path:
    """Write a challenge with its images, the JSON last, and return the path of the JSON."""
    write_atomic(images_path(folder, challenge), images)
    path = challenge_path(folder, challenge)
    write_model(path, challenge)
    return path


def load_challenges(folder: Path) -> list[Challenge]:
    """Read all challenges below `folder`, ordered by path.

    Raises:
        UserError: if one is damaged, does not lie where its content says, or does not have the images it names.
    """
    return [_load(path, folder) for path in files_below(folder / "challenges", folder, ".json")]


def best_known_records(folder: Path) -> list[AnyRecord]:
    """Read all records below `folder` with their later checks, and their best-known accuracy after all challenges.

    Raises:
        UserError: if a record, its later checks or a challenge cannot be read, or they do not fit together.
    """
    return challenged(rechecked(load_all(folder), load_rechecks(folder)), load_challenges(folder))


def challenged(records: Iterable[R], challenges: Sequence[Challenge]) -> list[R]:
    """Return the records with their best-known accuracy after all challenges.

    Raises:
        UserError: if a challenge has no record or another artifact than its record, or names an image that does not
            exist.
    """
    records = list(records)
    recorded = {(record.protocol, record.run) for record in records}
    if orphan := next((each for each in challenges if (each.protocol, each.run) not in recorded), None):
        raise UserError(
            f"the challenge by {orphan.credit} of {orphan.date} is to {orphan.run} under {orphan.protocol}, which has "
            "no record; add the record, or delete the challenge"
        )
    return [_applied(record, challenges_to(record, challenges)) for record in records]


def unchallenged(evaluation: EvaluationPart) -> Verdicts:
    """Return (n_images,) verdicts under everything but the opponent's attacks: a challenge may break what is True.

    What those attacks broke is kept as bits only; a challenge has the images too, so that anybody can try them.
    """
    texts = [text for name, text in evaluation.verdicts.items() if name != OPPONENT]
    return unpack_common(texts, evaluation.n_images)


def _applied(record: R, challenges: Sequence[Challenge]) -> R:
    if not challenges:
        return record
    evaluation = record.evaluation
    right = np.ones(evaluation.n_images, dtype=bool)
    for challenge in challenges:
        if challenge.artifact_sha256 != record.artifact.sha256 or challenge.broken[-1] >= len(right):
            raise UserError(
                f"the challenge by {challenge.credit!r} of {challenge.date} to {record.run} is to another artifact; "
                "check it again with `python -m benchmark challenge`, or delete it"
            )
        right[challenge.broken] = False
    verdicts: Mapping[str, str] = {**evaluation.verdicts, CHALLENGED: pack_verdicts(right)}
    best_known = int((evaluation.right("robust") & right).sum()) / len(right)
    changes = {"verdicts": verdicts, "best_known_accuracy": best_known}
    return record.model_copy(update={"evaluation": type(evaluation)(**{**dict(evaluation), **changes})})


def _load(path: Path, folder: Path) -> Challenge:
    remedy = "submit the challenge again"
    challenge, _ = load_placed(path, folder, Challenge, lambda each: challenge_path(folder, each), remedy=remedy)
    images = images_path(folder, challenge)
    if reason := wrong_images(read_below(images, folder, IMAGES_BYTES) or b"", challenge):
        raise UserError(f"{images}: {reason}; {remedy}")
    return challenge


def wrong_images(content: bytes, challenge: Challenge) -> str:
    """Return why a file does not hold the adversarial images that a challenge names; empty if it does."""
    if hashlib.sha256(content).hexdigest() != challenge.images_sha256:
        return "it is missing or not the file that the challenge names: its sha256 differs"
    try:
        tensors = load_tensors(content)
    except (SafetensorError, ValueError, KeyError):
        return "it is not a safetensors file"
    if sorted(tensors) != ["index", "x_adv"]:
        return f"it holds {', '.join(sorted(tensors))[:60] or 'nothing'}; a challenge holds x_adv and index"
    if tensors["index"].dtype != np.int64 or tensors["index"].tolist() != challenge.broken:
        return "its places are not those that the challenge names"
    images = tensors["x_adv"]
    if images.dtype != np.float32 or images.ndim != 4 or len(images) != len(challenge.broken):
        shape = "x".join(map(str, images.shape))
        return f"x_adv is {images.dtype} {shape}; a challenge has one image in float32 for each of its places"
    return ""
