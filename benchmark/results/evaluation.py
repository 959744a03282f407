"""The part of a record that holds the attacked network's accuracies, backed by one bit per image and attack."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from benchmark.results.fields import ExactSize, Integer, Positive, Quantity, Share
from benchmark.results.parts import DatasetPart, Part
from benchmark.results.protocol import Protocol
from benchmark.results.verdicts import unpack_common, unpack_verdicts

TOLERANCE = 1e-12  # a fraction recomputed from its counts may differ by rounding only
CASCADE = ("apgd-ce", "apgd-t", "fab-t", "square")  # AutoAttack's, each on the images that those before it left right
VERDICTS = ("clean", "pgd", *CASCADE)
CHALLENGED = "challenges"  # still right under all accepted challenges; never in a file, see `challenges`
CHECKS = (
    *("eval_mode", "deterministic", "batch_independent", "zero_gradients", "true_gradients"),
    *("logit_scale", "black_box", "more_steps", "unbounded", "transfer"),
)  # of gradient health, all of them in every record
HEALTH_ORDER = ("pass", "suspect", "fail")  # from best to worst


class PgdPart(Part):
    """PGD: settings and the share of images that stayed right."""

    steps: Positive
    restarts: Positive
    step_size: ExactSize
    accuracy: Share


class AutoAttackPart(Part):
    """AutoAttack: settings, the share of images that stayed right, and that share after each attack."""

    version: str
    package: str
    package_version: str
    seed: Integer
    batch_size: Positive
    shards: Positive  # slices of the images that were attacked by a call of their own
    accuracy: Share
    attacks: dict[str, Share]
    seconds: Quantity


class CheckPart(Part):
    """One check of gradient health."""

    name: str
    value: float | None  # None if it could not be measured
    verdict: Literal["pass", "suspect", "fail", "not run"]
    reason: str


def worst_verdict(verdicts: Iterable[str]) -> str:
    """Return "pass", "suspect" or "fail"; "not run" does not count, but where nothing was run the answer is suspect."""
    return max((each for each in verdicts if each != "not run"), key=HEALTH_ORDER.index, default="suspect")


class EvaluationPart(Part):
    """Accuracies on the test images, one bit per image and attack (see `pack_verdicts`), and gradient health.

    The bits of AutoAttack's attacks are cumulative: still right after this one and all before it.
    """

    n_images: Positive
    epsilon: ExactSize
    norm: Literal["linf"]
    clean_accuracy: Share
    pgd: PgdPart
    autoattack: AutoAttackPart
    best_known_accuracy: Share  # right on the clean image and under every attack
    verdicts: dict[str, str]
    health: list[CheckPart]
    notes: list[str] = []  # what happened on the way and changed no verdict, such as memory that ran out

    @model_serializer(mode="wrap")
    def _without_empty_notes(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write no empty list of notes: almost no record has any, and none had any before there were notes."""
        fields: dict[str, Any] = serialize(self)
        if not self.notes:
            fields.pop("notes", None)
        return fields

    def protocol(self, dataset: DatasetPart) -> str:
        """Return the protocol id of this evaluation on a data set."""
        pgd, attack = self.pgd, self.autoattack
        return Protocol(
            *(dataset.name, self.epsilon, self.n_images),
            *(pgd.steps, pgd.restarts, pgd.step_size),
            *(attack.version, attack.seed),
        ).id

    def right(self, name: str) -> NDArray[np.bool_]:
        """Return (n_images,) verdicts: right under one attack, under "autoattack", or under all ("robust")."""
        if name == "robust":
            return unpack_common(self.verdicts.values(), self.n_images)
        name = CASCADE[-1] if name == "autoattack" else name
        return unpack_verdicts(self.verdicts[name], self.n_images)

    @property
    def health_verdict(self) -> str:
        """The worst verdict of all checks that were run."""
        return worst_verdict(check.verdict for check in self.health)

    @model_validator(mode="after")
    def _verdicts_agree(self) -> Self:
        if sorted({*self.verdicts} - {CHALLENGED}) != sorted(VERDICTS):
            raise ValueError(f"verdicts are {sorted(self.verdicts)}, must be {sorted(VERDICTS)}")
        if sorted(self.autoattack.attacks) != sorted(CASCADE):
            raise ValueError(f"attacks are {sorted(self.autoattack.attacks)}, must be {sorted(CASCADE)}")
        if [check.name for check in self.health] != list(CHECKS):
            raise ValueError(f"checks of gradient health are {[check.name for check in self.health]}, must be {CHECKS}")
        right = {name: self.right(name) for name in self.verdicts}
        right |= {"autoattack": right[CASCADE[-1]], "best known": np.logical_and.reduce(list(right.values()))}
        claims = [
            ("clean", self.clean_accuracy),
            ("pgd", self.pgd.accuracy),
            ("autoattack", self.autoattack.accuracy),
            *self.autoattack.attacks.items(),
            ("best known", self.best_known_accuracy),
        ]
        for name, accuracy in claims:
            counted = int(np.count_nonzero(right[name])) / self.n_images
            if abs(counted - accuracy) > TOLERANCE:
                raise ValueError(f"{name} accuracy is {accuracy}, but its verdicts give {counted}")
        for before, after in itertools.pairwise(CASCADE):
            if (right[after] & ~right[before]).any():
                raise ValueError(f"{after} counts images as robust that {before} had broken")
        return self
