"""Whether a data set can be trained on and evaluated at all; asked before anything is trained."""

from __future__ import annotations

from typing import Protocol

from benchmark.data.load import ImageInfo
from benchmark.errors import UserError
from benchmark.results.protocol import MIN_CLASSES

MIN_SIZE = 8  # pixels; the networks halve the image three times


class DescribedPart(Protocol):
    """What is checked of a part: `TrainingData` and `TestData` have it."""

    @property
    def info(self) -> ImageInfo:
        """Facts about the data set."""
        ...

    @property
    def sha256(self) -> str:
        """Of the whole decoded part."""
        ...


def check_fitness(training_data: DescribedPart, test_data: DescribedPart) -> None:
    """Refuse a data set that cannot be evaluated, before anything is trained on it.

    Raises:
        UserError: if the two parts are the same images, if they differ in classes, channels or size, or if AutoAttack
            cannot run on them.
    """
    training, test = training_data.info, test_data.info
    if training_data.sha256 == test_data.sha256:
        raise UserError(f"the training and the test part of {test.name} are the same images; give it a test part")

    def kind(info: ImageInfo) -> str:
        return f"{info.num_classes} classes, {info.channels} channels of {info.height}x{info.width} pixels"

    if kind(training) != kind(test):
        raise UserError(
            f"the test images of {test.name} ({kind(test)}) differ from its training images ({kind(training)})"
        )
    if training.num_classes < MIN_CLASSES:
        raise UserError(f"{training.name} has {training.num_classes} classes; AutoAttack needs at least {MIN_CLASSES}")
    if min(training.height, training.width) < MIN_SIZE:
        raise UserError(f"{training.name} has {kind(training)}; images must be at least {MIN_SIZE}x{MIN_SIZE}")
