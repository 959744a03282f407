"""The part of a record that holds the attacked network's accuracies, backed by one bit per image and attack."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from operator import not_
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from benchmark.results.bounds import MAX_ITEMS
from benchmark.results.fields import ExactSize, Integer, Name, Positive, Quantity, Sha256, Share, Text
from benchmark.results.parts import Part, TestDataPart
from benchmark.results.protocol import Protocol
from benchmark.results.verdicts import Verdict, Verdicts, unpack_common, unpack_verdicts

TOLERANCE = 1e-12  # a fraction recomputed from its counts may differ by rounding only
CASCADE = (
    "apgd-ce",
    "apgd-t",
    "fab-t",
    "square",
)  # AutoAttack's; each attacks the images that survived those before it
VERDICTS = ("clean", "pgd", *CASCADE)
WIDE_VERDICTS = ("clean", "pgd")  # cheap enough for more images than AutoAttack's
CHALLENGED = "challenges"  # survivors of all accepted challenges; never in a file, see `challenges`
# False where leaky BPDA or RayS broke the image. They attack survivors of all other attacks only; True elsewhere.
OPPONENT = "opponent"
CHECKS = (
    *("eval_mode", "deterministic", "batch_independent", "zero_gradients", "true_gradients"),
    *("logit_scale", "black_box", "more_steps", "unbounded", "transfer"),
)  # of gradient health, all of them in every record
# Of gradient health, in records since these checks exist; an older record has them beside it (see `rechecks`) or not at
# all. A record has them if and only if it has the verdicts of the opponent's attacks.
OPPONENT_CHECKS = ("leaky_bpda", "hard_label", "straight_way")
HEALTH_ORDER = ("pass", "suspect", "fail")  # from best to worst


class PgdPart(Part):
    """PGD: its settings and the share of images still classified correctly."""

    steps: Positive
    restarts: Positive
    step_size: ExactSize
    accuracy: Share


class AutoAttackPart(Part):
    """AutoAttack: its settings and the share of images still classified correctly, in the end and after each attack."""

    version: Name
    package: Name
    package_version: Name
    seed: Integer
    batch_size: Positive
    shards: Positive  # slices of the images, each attacked by a call of its own
    accuracy: Share
    attacks: dict[str, Share]
    seconds: Quantity


class CheckPart(Part):
    """One check of gradient health."""

    name: Name
    value: float | None  # None if it could not be measured
    verdict: Verdict
    reason: Text


class WidePart(Part):
    """Clean and PGD verdicts on more images; the protocol's are the first of them, and PGD is the protocol's.

    Shown beside a row; no rank depends on them.
    """

    n_images: Positive  # the protocol's included
    test_sha256: Sha256  # of these images and labels
    clean_accuracy: Share
    pgd_accuracy: Share
    verdicts: dict[str, str]

    def right(self, name: str) -> Verdicts:
        """Return the (n_images,) verdicts on the clean images ("clean") or under PGD ("pgd")."""
        return unpack_verdicts(self.verdicts[name], self.n_images)

    @model_validator(mode="after")
    def _verdicts_agree(self) -> Self:
        if sorted(self.verdicts) != sorted(WIDE_VERDICTS):
            raise ValueError(f"wide verdicts are {sorted(self.verdicts)}, must be {sorted(WIDE_VERDICTS)}")
        for name, accuracy in (("clean", self.clean_accuracy), ("pgd", self.pgd_accuracy)):
            _check_accuracy(f"wide {name}", accuracy, self.right(name))
        return self


def worst_verdict(verdicts: Iterable[str]) -> str:
    """Return "pass", "suspect" or "fail"; "not run" is ignored, but if no check was run the result is "suspect"."""
    return max((each for each in verdicts if each != "not run"), key=HEALTH_ORDER.index, default="suspect")


class EvaluationPart(Part):
    """Accuracies on the test images, one bit per image and attack (see `pack_verdicts`), and gradient health.

    The bits of AutoAttack's attacks are cumulative: survivors of this attack and all before it. Those of the opponent's
    attacks are not: they met only some of the images that survived all the others.
    """

    n_images: Positive
    epsilon: ExactSize
    norm: Literal["linf"]
    clean_accuracy: Share
    pgd: PgdPart
    autoattack: AutoAttackPart
    best_known_accuracy: Share  # correct on the clean image and under every attack
    verdicts: dict[str, str]
    health: list[CheckPart]
    # Events that changed no verdict, such as running out of memory, and doubts about a foreign network, such as
    # probabilities in place of logits; not written if there are none.
    notes: list[Text] = Field(default=[], max_length=MAX_ITEMS, exclude_if=not_)
    # None: PGD ran on the protocol's images only; then it is not written.
    wide: WidePart | None = Field(default=None, exclude_if=not_)

    def protocol(self, dataset: TestDataPart) -> str:
        """Return the protocol id of this evaluation on a data set."""
        pgd, attack = self.pgd, self.autoattack
        return Protocol(
            *(dataset.name, self.epsilon, self.n_images),
            *(pgd.steps, pgd.restarts, pgd.step_size),
            *(attack.version, attack.seed),
        ).id

    def right(self, name: str) -> Verdicts:
        """Return the (n_images,) verdicts under one attack, under "autoattack", or under all attacks ("robust")."""
        if name == "robust":
            return unpack_common(self.verdicts.values(), self.n_images)
        name = CASCADE[-1] if name == "autoattack" else name
        return unpack_verdicts(self.verdicts[name], self.n_images)

    @property
    def opposed(self) -> bool:
        """Whether the opponent's attacks and their checks of gradient health were run."""
        return OPPONENT in self.verdicts

    @property
    def health_verdict(self) -> str:
        """The worst verdict of all checks that were run."""
        return worst_verdict(check.verdict for check in self.health)

    @model_validator(mode="after")
    def _verdicts_agree(self) -> Self:
        opponent = (OPPONENT,) if self.opposed else ()
        if sorted({*self.verdicts} - {CHALLENGED}) != sorted((*VERDICTS, *opponent)):
            raise ValueError(f"verdicts are {sorted(self.verdicts)}, must be {sorted((*VERDICTS, *opponent))}")
        if sorted(self.autoattack.attacks) != sorted(CASCADE):
            raise ValueError(f"attacks are {sorted(self.autoattack.attacks)}, must be {sorted(CASCADE)}")
        checks = (*CHECKS, *OPPONENT_CHECKS) if self.opposed else CHECKS
        if [check.name for check in self.health] != list(checks):
            verdicts = f"with{'' if self.opposed else 'out'} verdicts of {OPPONENT}"
            raise ValueError(
                f"checks of gradient health are {[check.name for check in self.health]}, must be {checks} {verdicts}"
            )
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
            _check_accuracy(name, accuracy, right[name])
        for before, after in itertools.pairwise(CASCADE):
            if (right[after] & ~right[before]).any():
                raise ValueError(f"{after} counts images as robust that {before} had broken")
        if self.opposed:
            survivors = np.logical_and.reduce([right[name] for name in VERDICTS])
            if (~right[OPPONENT] & ~survivors).any():
                raise ValueError(f"{OPPONENT} counts images as broken that other attacks had already broken")
        return self

    @model_validator(mode="after")
    def _wide_extends_these(self) -> Self:
        if self.wide is None:
            return self
        if self.wide.n_images <= self.n_images:
            raise ValueError(f"wide n_images is {self.wide.n_images}, must exceed the protocol's {self.n_images}")
        for name in WIDE_VERDICTS:
            if (self.wide.right(name)[: self.n_images] != self.right(name)).any():
                raise ValueError(f"the first {self.n_images} wide verdicts of {name} are not those of the protocol")
        return self


def wide_parts(evaluations: Iterable[EvaluationPart]) -> list[WidePart]:
    """Return the wide verdicts of evaluations if all have them on the same images, otherwise an empty list."""
    evaluations = list(evaluations)
    parts = [evaluation.wide for evaluation in evaluations if evaluation.wide is not None]
    same = len({(part.n_images, part.test_sha256) for part in parts}) == 1
    return parts if same and len(parts) == len(evaluations) else []


def _check_accuracy(name: str, accuracy: float, right: Verdicts) -> None:
    counted = int(np.count_nonzero(right)) / right.size
    if abs(counted - accuracy) > TOLERANCE:
        raise ValueError(f"{name} accuracy is {accuracy}, but its verdicts give {counted}")
