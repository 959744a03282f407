"""Checks, before anything is trained, that a data set can be trained on and evaluated."""

from __future__ import annotations

from typing import Protocol

from benchmark.data.load import ImageInfo
from benchmark.errors import UserError
from benchmark.results.protocol import MIN_CLASSES

MIN_SIZE = 8  # pixels; the networks halve the image size three times


class DescribedPart(Protocol):
    """The fields that the check needs; `TrainingData` and `TestData` have them."""

    @property
    def info(self) -> ImageInfo:
        """Facts about the data set."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of the whole decoded part."""
        ...


def check_fitness(training_data: DescribedPart, test_data: DescribedPart) -> None:
    """Refuse a data set that cannot be trained on and evaluated.

    Raises:
        UserError: if both parts hold the same images, if they differ in classes, channels or size, or if they have too
            few classes for AutoAttack or too few pixels for the networks.
    """
    training, test = training_data.info, test_data.info
    if training_data.sha256 == test_data.sha256:
        raise UserError(
            f"the training and the test part of {test.name} hold the same images; provide a separate test part"
        )

    def shape(info: ImageInfo) -> str:
        return f"{info.num_classes} classes, {info.channels} channels of {info.height}x{info.width} pixels"

    if shape(training) != shape(test):
        raise UserError(
            f"the test images of {test.name} ({shape(test)}) differ from its training images ({shape(training)})"
        )
    if training.num_classes < MIN_CLASSES:
        raise UserError(f"{training.name} has {training.num_classes} classes; AutoAttack needs at least {MIN_CLASSES}")
    if min(training.height, training.width) < MIN_SIZE:
        raise UserError(f"{training.name} has {shape(training)}; images must be at least {MIN_SIZE}x{MIN_SIZE}")
