"""The result of `evaluate`: an artifact measured by a protocol, whole or a shard of it, and the merging of shards."""

from __future__ import annotations

from collections.abc import Sequence
from operator import not_
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from benchmark.errors import UserError
from benchmark.files.kinds import EVALUATED, kind_of_content
from benchmark.files.mistakes import first_mistake
from benchmark.files.plain import kind_of
from benchmark.results.bounds import MAX_LINES, check_characters
from benchmark.results.evaluation import CASCADE, HEALTH_ORDER, OPPONENT, VERDICTS, CheckPart, EvaluationPart
from benchmark.results.fields import Name, Positive, Quantity, Sha256, Share, Utc
from benchmark.results.foreign import ForeignPart
from benchmark.results.parts import ArtifactPart, Part
from benchmark.results.protocol import Protocol
from benchmark.results.verdicts import Verdicts, pack_verdicts


class ShardPart(Part):
    """The slice of the protocol's images that was measured: number `index`, from 1, of `count`."""

    index: Positive
    count: Positive


class CurvePart(Part):
    """One point of the security curve: accuracy under PGD of this radius."""

    epsilon: Share
    accuracy: Share


class MachinePart(Part):
    """Where and when it was measured."""

    torch: Name
    device: Name
    threads: Positive
    started: Utc
    seconds: Quantity  # of the session that finished; killed ones are not counted
    kernels: Name | None = Field(default=None, exclude_if=not_)  # see `OriginPart`


class Evaluated(Part):
    """An artifact and what was measured on it; for a shard, on its slice of the images."""

    schema_version: Literal[1]
    artifact: ArtifactPart
    protocol: Name  # of all images, also in a shard
    test_sha256: Sha256
    shard: ShardPart | None
    evaluation: EvaluationPart
    curve: Annotated[list[CurvePart], Field(max_length=MAX_LINES)] | None
    curve_area: Share | None  # area under the curve over the range of epsilon
    machine: MachinePart
    # How the network's file was read, where `artifact` is a file of another kind; not written for an artifact.
    foreign: ForeignPart | None = Field(default=None, exclude_if=not_)

    @model_validator(mode="after")
    def _fits_protocol(self) -> Self:
        images = Protocol.parse(self.protocol).images
        if self.shard is None and self.evaluation.n_images != images:
            raise ValueError(f"{self.evaluation.n_images} images were measured, {self.protocol} asks for {images}")
        check_characters(self)
        return self


def load_evaluated(path: Path) -> Evaluated:
    """Read what `evaluate` wrote.

    Raises:
        UserError: if the file is missing or is not such a result.
    """
    if path.exists() and not path.is_file():  # reading a pipe would block
        raise UserError(f"{path} is {kind_of(path)}; give a file that `evaluate` wrote")
    try:
        return Evaluated.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give a file that `evaluate` wrote") from None
    except ValidationError as error:
        kind = kind_of_content(path)
        problem = first_mistake(error) if kind is None or kind.name == EVALUATED else f"it is {kind.name}"
        raise UserError(f"{path} is not a result of `evaluate`: {problem}") from None


def merge(shards: Sequence[Evaluated]) -> Evaluated:
    """Merge the shards of one evaluation: verdicts in the order of the images, and the worst of each health check.

    Raises:
        UserError: if a shard is missing, or they are not of one artifact, protocol, data set and attack.
    """
    parts = sorted(shards, key=lambda each: each.shard.index if each.shard else 0)
    first = parts[0]
    if any(each.shard is None for each in parts):
        raise UserError("one of the files is a whole evaluation, not a shard; give only files of --shard i/n")
    counts = {each.shard.count for each in parts if each.shard}
    present = [each.shard.index for each in parts if each.shard]
    (count, *others) = sorted(counts)
    if others:
        raise UserError(
            f"the shards are of evaluations cut into {sorted(counts)} slices; merge those of one number of slices"
        )
    if len(set(present)) < len(present):
        raise UserError(f"the shards are {present}, which has a duplicate; give the file of every shard once")
    if present != list(range(1, count + 1)):
        missing = sorted(set(range(1, count + 1)) - set(present))
        raise UserError(f"shards {missing} of {count} are missing; give the file of every shard once")
    if len(old := [each.shard.index for each in parts if each.shard and not each.evaluation.opposed]) not in (0, count):
        raise UserError(
            f"shards {old} of {count} were measured before the opponent's attacks were part of `evaluate`, the others "
            "with them; measure these again"
        )
    for each in parts[1:]:
        for what, a, b in _identity(first, each):
            if a != b:
                raise UserError(f"the shards differ in {what}: {a} and {b}; merge shards of one evaluation")
    names = (*VERDICTS, OPPONENT) if first.evaluation.opposed else VERDICTS
    verdicts = {name: np.concatenate([each.evaluation.right(name) for each in parts]) for name in names}
    evaluation, attack = first.evaluation, first.evaluation.autoattack
    joined = EvaluationPart(
        n_images=len(verdicts["clean"]),
        epsilon=evaluation.epsilon,
        norm=evaluation.norm,
        clean_accuracy=_share(verdicts["clean"]),
        pgd=evaluation.pgd.model_copy(update={"accuracy": _share(verdicts["pgd"])}),
        autoattack=attack.model_copy(
            update={
                "shards": count,
                "accuracy": _share(verdicts[CASCADE[-1]]),
                "attacks": {name: _share(verdicts[name]) for name in CASCADE},
                "seconds": round(sum(each.evaluation.autoattack.seconds for each in parts), 3),
            }
        ),
        best_known_accuracy=_share(np.logical_and.reduce(list(verdicts.values()))),
        verdicts={name: pack_verdicts(bits) for name, bits in verdicts.items()},
        health=[_worst(list(checks)) for checks in zip(*(each.evaluation.health for each in parts), strict=True)],
        notes=list(dict.fromkeys(note for each in parts for note in each.evaluation.notes)),
    )
    machine = first.machine.model_copy(update={"seconds": sum(each.machine.seconds for each in parts)})
    changes = {"shard": None, "evaluation": joined, "machine": machine, "curve": None, "curve_area": None}
    return Evaluated(**{**dict(first), **changes})


def _identity(a: Evaluated, b: Evaluated) -> list[tuple[str, object, object]]:
    def attack(each: Evaluated) -> tuple[object, ...]:
        auto = each.evaluation.autoattack
        return auto.package, auto.package_version, auto.seed, auto.batch_size

    return [
        ("the artifact", a.artifact.sha256, b.artifact.sha256),
        ("how the network's file was read", a.foreign, b.foreign),
        ("the protocol", a.protocol, b.protocol),
        ("the test images", a.test_sha256, b.test_sha256),
        ("AutoAttack's settings", attack(a), attack(b)),
    ]


def _worst(checks: list[CheckPart]) -> CheckPart:
    order = ("not run", *HEALTH_ORDER)
    return max(checks, key=lambda check: order.index(check.verdict))


def _share(right: Verdicts) -> float:
    return int(right.sum()) / len(right)
