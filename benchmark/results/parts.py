"""The parts of a record that describe what was trained, compressed and stored, and how to get it again.

Densities and ratios are fractions in [0, 1], durations are seconds, sizes are bytes.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from benchmark.results.fields import Count, Json, KeepRatio, Positive, Quantity, Sha256, Share, Utc, Width


class Part(BaseModel):
    """A frozen group of fields that refuses unknown ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetPart(Part):
    """The data: name with variant, image counts per split and hashes of what was trained and tested on."""

    name: str
    num_classes: Positive
    image_shape: tuple[Positive, Positive, Positive]  # channels, height, width
    train_images: Count
    validation_images: Count
    test_images: Positive
    train_sha256: Sha256
    test_sha256: Sha256


class ArchitecturePart(Part):
    """The network before compression: `width` multiplies channels, `last_norm` is a norm on the logits."""

    name: str
    width: Width
    last_norm: StrictBool
    prunable_weights: Positive
    all_parameters: Positive


class MethodPart(Part):
    """The method with all its settings; `target` is "module:Class" or "file.py:Class"."""

    name: str
    target: Annotated[str, Field(pattern=r"^.+:\w+$")]
    options: dict[str, Json]
    objective: str
    deviations: list[str]  # from the method's paper, one sentence each
    source_sha256: Sha256  # of the file that defines the class


class CompressionPart(Part):
    """What was asked for (precision, keep ratio, allocation, budget) and what was counted in the network."""

    weights: Literal["fp", "binary"]
    keep_ratio: KeepRatio
    allocation: Share | Literal["global"]  # exponent p of the layer budgets
    budget: Count  # prunable weights that may be kept
    kept_weights: Count  # prunable weights that are not zero
    density: Share  # kept over prunable weights
    density_all: Share  # nonzero over all parameters
    entropy_bound_bytes: Positive  # what an ideal coder would need

    @model_validator(mode="after")
    def _within_budget(self) -> Self:
        if self.kept_weights > self.budget:
            raise ValueError(f"kept_weights {self.kept_weights} exceeds the budget {self.budget}")
        return self


class ArtifactPart(Part):
    """The file that holds the network. The accuracies are those of the network read back from it."""

    sha256: Sha256
    size_bytes: Positive
    statistics: Literal["float32", "float16"]  # how batch-norm statistics and parameters are stored


class CostPart(Part):
    """What one image costs: counted operations, which stock runtimes do not turn into speed, and measured time."""

    dense_macs: Positive  # multiply-adds of the convolutions
    sparse_macs: Count  # those with weights that are not zero
    bit_operations: Count  # sparse multiply-adds x bits of a weight x bits of an activation
    latency_seconds: dict[Annotated[str, Field(pattern=r"^[1-9]\d*$")], Quantity]  # by batch size, dense runtime


class FirstPhasePart(Part):
    """The dense training run whose network the method went on with."""

    run: str
    run_hash: str
    weights_sha256: Sha256  # of its latent weights and normalisation after its last epoch


class TrainingPart(Part):
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


class ProvenancePart(Part):
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
