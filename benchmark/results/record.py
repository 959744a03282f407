"""What one finished run leaves behind: a frozen, self-explaining record, and whether it may be ranked.

Accuracies, densities and ratios are fractions in [0, 1], durations are seconds, sizes are bytes.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from benchmark.results.fields import (
    Count,
    ExactSize,
    Integer,
    Json,
    KeepRatio,
    Positive,
    Quantity,
    Sha256,
    Share,
    Utc,
    Width,
)
from benchmark.results.protocol import protocol_id
from benchmark.results.verdicts import pack_verdicts as pack_verdicts
from benchmark.results.verdicts import unpack_verdicts as unpack_verdicts

TOLERANCE = 1e-12  # a fraction recomputed from its counts may differ by rounding only
VERDICTS = ("clean", "pgd", "autoattack")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetPart(_Part):
    """The data: name with variant, image counts per split and hashes of what was trained and tested on."""

    name: str
    num_classes: Positive
    image_shape: tuple[Positive, Positive, Positive]  # channels, height, width
    train_images: Count
    validation_images: Count
    test_images: Positive
    train_sha256: Sha256
    test_sha256: Sha256


class ArchitecturePart(_Part):
    """The network before compression: `width` multiplies channels, `last_norm` is a norm on the logits."""

    name: str
    width: Width
    last_norm: StrictBool
    prunable_weights: Positive
    all_parameters: Positive


class MethodPart(_Part):
    """The method with all its settings; `target` is "module:Class" or "file.py:Class"."""

    name: str
    target: Annotated[str, Field(pattern=r"^.+:\w+$")]
    options: dict[str, Json]
    objective: str
    deviations: list[str]  # from the method's paper, one sentence each
    source_sha256: Sha256  # of the file that defines the class


class CompressionPart(_Part):
    """What was asked for (precision, keep ratio, allocation, budget) and what was counted in the artifact."""

    weights: Literal["fp", "binary"]
    keep_ratio: KeepRatio
    allocation: Share | Literal["global"]  # exponent p of the layer budgets
    budget: Count  # prunable weights that may be kept
    kept_weights: Count  # prunable weights that are not zero
    density: Share  # kept over prunable weights
    density_all: Share  # nonzero over all parameters
    size_bytes: Positive
    size_kind: str  # how the size was obtained, such as "entropy bound"

    @model_validator(mode="after")
    def _within_budget(self) -> Self:
        if self.kept_weights > self.budget:
            raise ValueError(f"kept_weights {self.kept_weights} exceeds the budget {self.budget}")
        return self


class FirstPhasePart(_Part):
    """The dense training run whose network the method went on with."""

    run: str
    run_hash: str
    weights_sha256: Sha256  # of its latent weights and normalisation after its last epoch


class TrainingPart(_Part):
    """The cost of training and the choice of the epoch on held-out training images."""

    epochs: Count
    batch_size: Positive
    passes: Quantity  # images sent forward and backward, a reused first phase included
    seconds: Quantity
    phases: list[dict[str, Json]]
    selected_epoch: Count
    validation_robust_accuracy: Share
    frozen_parts_unchanged: StrictBool | None  # None: the method freezes nothing
    first_phase: FirstPhasePart | None = None  # None: the method trained all its phases itself


class PgdPart(_Part):
    """PGD: settings and the share of images that stayed right."""

    steps: Positive
    restarts: Positive
    step_size: ExactSize
    accuracy: Share


class AutoAttackPart(_Part):
    """AutoAttack: settings, the share of images that stayed right, and that share after each attack."""

    version: str
    package: str
    package_version: str
    seed: Integer
    batch_size: Positive
    accuracy: Share
    attacks: dict[str, Share]
    seconds: Quantity


class EvaluationPart(_Part):
    """Accuracies on the test images, backed by one bit per image and attack (see `pack_verdicts`)."""

    n_images: Positive
    epsilon: ExactSize
    norm: Literal["linf"]
    clean_accuracy: Share
    pgd: PgdPart
    autoattack: AutoAttackPart
    best_known_accuracy: Share  # right on the clean image and under every attack
    verdicts: dict[str, str]

    def protocol(self, dataset: DatasetPart) -> str:
        """Return the protocol id of this evaluation on a data set."""
        pgd = self.pgd
        return protocol_id(
            *(dataset.name, self.epsilon, self.n_images),
            *(pgd.steps, pgd.restarts, pgd.step_size),
            *(dataset.num_classes, self.autoattack.seed),
        )

    @model_validator(mode="after")
    def _verdicts_agree(self) -> Self:
        if sorted(self.verdicts) != sorted(VERDICTS):
            raise ValueError(f"verdicts are {sorted(self.verdicts)}, must be {sorted(VERDICTS)}")
        bits = {name: np.array(unpack_verdicts(self.verdicts[name], self.n_images)) for name in VERDICTS}
        claims = [
            ("clean", self.clean_accuracy, bits["clean"]),
            ("pgd", self.pgd.accuracy, bits["pgd"]),
            ("autoattack", self.autoattack.accuracy, bits["autoattack"]),
            ("best known", self.best_known_accuracy, np.logical_and.reduce(list(bits.values()))),
        ]
        for name, accuracy, right in claims:
            counted = int(right.sum()) / self.n_images
            if abs(counted - accuracy) > TOLERANCE:
                raise ValueError(f"{name} accuracy is {accuracy}, but its verdicts give {counted}")
        return self


class ProvenancePart(_Part):
    """How to get the same record again: resolved experiment, command, code and machine."""

    config: dict[str, Json]
    command: str
    git_commit: str | None
    git_dirty: StrictBool | None
    python: str
    torch: str
    platform: str
    device: str
    threads: Positive
    started: Utc
    seconds: Quantity


class Record(_Part):
    """One trained, compressed, attacked and measured network.

    Raises:
        pydantic.ValidationError: if a field is missing, unknown or out of range, or if the fields contradict
            each other (budget, density, counts, verdicts, protocol id).
    """

    schema_version: Literal[1]
    protocol_version: Literal[1]
    run: str  # readable name, its parts separated by "/"
    run_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    protocol: str
    suite: str
    preset: Literal["paper", "short", "smoke", "own"]
    seed: Integer
    dataset: DatasetPart
    architecture: ArchitecturePart
    method: MethodPart
    compression: CompressionPart
    training: TrainingPart
    evaluation: EvaluationPart
    weights_sha256: Sha256
    provenance: ProvenancePart

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        ending = f"/seed{self.seed}-{self.run_hash[:6]}"
        if not self.run.endswith(ending):
            raise ValueError(f"run {self.run!r} does not end in {ending!r}, its seed and hash")
        prunable, kept = self.architecture.prunable_weights, self.compression.kept_weights
        if not kept <= prunable <= self.architecture.all_parameters:
            raise ValueError(
                f"counts must obey kept <= prunable <= all, got {kept}, {prunable}, {self.architecture.all_parameters}"
            )
        if abs(self.compression.density - kept / prunable) > TOLERANCE:
            raise ValueError(f"density is {self.compression.density}, but {kept} / {prunable} weights are kept")
        if self.evaluation.n_images > self.dataset.test_images:
            raise ValueError(f"n_images {self.evaluation.n_images} exceeds the {self.dataset.test_images} test images")
        expected = self.evaluation.protocol(self.dataset)
        if self.protocol != expected:
            raise ValueError(f"protocol is {self.protocol!r}, but the settings are those of {expected!r}")
        return self
