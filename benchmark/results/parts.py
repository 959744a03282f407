"""The parts of a record that describe what was trained, compressed and stored, and how to reproduce it.

Densities and ratios are fractions in [0, 1], durations are seconds, sizes are bytes.
"""

from __future__ import annotations

from operator import not_
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from benchmark.results.bounds import MAX_DEVIATIONS, MAX_ITEMS, MAX_LINES, MAX_NAME
from benchmark.results.fields import (
    AllocationName,
    Count,
    Granularity,
    KeepRatio,
    Name,
    Positive,
    Quantity,
    Settings,
    Sha256,
    Share,
    StoredWeights,
    Text,
    Utc,
    Width,
    is_single,
    is_stored,
)


class Part(BaseModel):
    """A frozen group of fields that refuses unknown ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TestDataPart(Part):
    """The test data: name with variant, shape and number of the images, and the hash of images and labels."""

    __test__ = False  # not a test, although its name begins like one

    name: Name
    num_classes: Positive
    image_shape: tuple[Positive, Positive, Positive]  # channels, height, width
    test_images: Positive
    test_sha256: Sha256


class DatasetPart(TestDataPart):
    """The data of a training done here: with image counts per split and the hash of what was trained on."""

    train_images: Count
    validation_images: Count
    train_sha256: Sha256


class ArchitecturePart(Part):
    """The network before compression: `width` multiplies channels, `last_norm` is a norm on the logits."""

    name: Name
    width: Width
    last_norm: StrictBool
    prunable_weights: Positive
    all_parameters: Positive


class MethodPart(Part):
    """The method with all its settings; `target` is "module:Class" or "file.py:Class"."""

    name: Name
    target: Annotated[str, Field(pattern=r"^.+:\w+$", max_length=MAX_NAME)]
    options: Settings
    objective: Name
    deviations: Annotated[list[Text], Field(max_length=MAX_DEVIATIONS)]  # from the method's paper, one sentence each
    source_sha256: Sha256  # of the file that defines the class, and of the modules of its own that it imports


class LayerPart(Part):
    """One convolution: its prunable weights, and how many of them are not zero."""

    name: Name
    weights: Positive
    kept: Count


class CompressionPart(Part):
    """What was asked for (precision, keep ratio, allocation, budget) and what was counted in the network."""

    weights: Literal["fp", "binary"]
    keep_ratio: KeepRatio
    allocation: Share | AllocationName  # exponent p of the layer budgets, or how else they were chosen
    # Groups of weights that were kept together; not written for single weights, as early records lack it.
    granularity: Granularity = Field(default="weight", exclude_if=is_single)
    budget: Count  # prunable weights that may be kept
    kept_weights: Count  # prunable weights that are not zero
    density: Share  # kept over prunable weights
    density_all: Share  # nonzero over all parameters
    entropy_bound_bytes: Positive  # what an ideal coder would need
    layers: Annotated[list[LayerPart], Field(min_length=1, max_length=MAX_LINES)]  # in the order of the network

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if self.kept_weights > self.budget:
            raise ValueError(f"kept_weights {self.kept_weights} exceeds the budget {self.budget}")
        for layer in self.layers:
            if layer.kept > layer.weights:
                raise ValueError(f"layer {layer.name} keeps {layer.kept} of {layer.weights} weights")
        if (kept := sum(layer.kept for layer in self.layers)) != self.kept_weights:
            raise ValueError(f"kept_weights is {self.kept_weights}, but the layers keep {kept}")
        return self


class FilePart(Part):
    """The file that holds the network. The accuracies are those of the network read back from it."""

    sha256: Sha256
    size_bytes: Positive


class ArtifactPart(FilePart):
    """A file in the compressed format."""

    statistics: Literal["float32", "float16", "int8"]  # how batch-norm statistics and parameters are stored
    # seed: the kept weights are random and were drawn from the run's seed; not written for stored ones, as early
    # records lack it.
    weights: StoredWeights = Field(default="stored", exclude_if=is_stored)


class CostPart(Part):
    """What one image costs: counted operations, which stock runtimes do not turn into speed, and measured time."""

    dense_macs: Positive  # multiply-adds of the convolutions
    sparse_macs: Count  # those with weights that are not zero
    bit_operations: Count  # sparse multiply-adds x bits of a weight x bits of an activation
    # By batch size, of the dense runtime.
    latency_seconds: Annotated[
        dict[Annotated[str, Field(pattern=r"^[1-9]\d{0,8}$")], Quantity], Field(max_length=MAX_ITEMS)
    ]


class FirstPhasePart(Part):
    """The dense training run whose network the method continued with."""

    run: Name
    run_hash: Name
    weights_sha256: Sha256  # of its latent weights and normalisation after its last epoch


class EpochPart(Part):
    """The state at the end of a training epoch; accuracies are of the exported network, on validation images."""

    epoch: Positive  # over all phases, from 1
    phase: Name
    lr: Quantity
    loss: float  # mean training loss
    validation_clean_accuracy: Share
    validation_robust_accuracy: Share
    kept_weights: Count
    seconds: Quantity  # of training so far


class TrainingPart(Part):
    """The cost of training and the choice of the epoch on held-out training images."""

    epochs: Count
    batch_size: Positive
    passes: Quantity  # images sent forward and backward, a reused first phase included
    seconds: Quantity
    phases: Annotated[list[Settings], Field(max_length=MAX_ITEMS)]
    selected_epoch: Count
    validation_robust_accuracy: Share
    frozen_parts_unchanged: StrictBool | None  # None: the method freezes nothing
    first_phase: FirstPhasePart | None = None  # None: the method trained all its phases itself
    # One per epoch that the run trained itself: a reused first phase has none here.
    history: Annotated[list[EpochPart], Field(max_length=MAX_LINES)]

    @model_validator(mode="after")
    def _history_agrees(self) -> Self:
        epochs = [line.epoch for line in self.history]
        if epochs != list(range(self.epochs - len(epochs) + 1, self.epochs + 1)):
            raise ValueError(f"the {len(epochs)} epochs of the history are not the last of {self.epochs}, each once")
        if self.first_phase is None and len(epochs) != self.epochs:
            raise ValueError(f"history has {len(epochs)} epochs, but {self.epochs} were trained")
        for line in self.history:
            chosen = line.epoch == self.selected_epoch
            if chosen and line.validation_robust_accuracy != self.validation_robust_accuracy:
                raise ValueError(
                    f"validation_robust_accuracy is {self.validation_robust_accuracy}, but the history has "
                    f"{line.validation_robust_accuracy} at the selected epoch {line.epoch}"
                )
        return self


class OriginPart(Part):
    """Code and machine that something was computed with, and when."""

    git_commit: Name | None
    git_dirty: StrictBool | None
    python: Name
    torch: Name
    platform: Name
    device: Name
    threads: Positive
    started: Utc
    # What passes of networks with few weights are computed by on a CPU; not written where that is torch.
    kernels: Name | None = Field(default=None, exclude_if=not_)


class ProvenancePart(OriginPart):
    """How to reproduce the record: resolved experiment, command, code and machine."""

    config: Settings
    command: Text
    seconds: Quantity
    # Of the training, where the run only measured the network of an earlier record; not written where there is none.
    trained: OriginPart | None = Field(default=None, exclude_if=not_)

    @property
    def training(self) -> OriginPart:
        """Where the network was trained."""
        return self.trained or OriginPart(**{name: getattr(self, name) for name in OriginPart.model_fields})
