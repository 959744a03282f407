"""Loads a data set into memory: `load_training` for training, `load_test` for the evaluation afterwards.

The two share no result, so that nothing of the test part can reach training. Images stay uint8; callers divide
by 255.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data.cache import read_part
from benchmark.data.catalog import DATASETS, DatasetFacts
from benchmark.data.empty_classes import report_empty_classes
from benchmark.data.identity import check_identity
from benchmark.data.readers.part import Part, RawPart, Reader, images_sha256
from benchmark.data.source import find_reader
from benchmark.data.splits import order_of_test, training_split
from benchmark.data.statistics import channel_statistics
from benchmark.errors import UserError


@dataclass(frozen=True)
class Images:
    """Labelled images.

    Attributes:
        images: uint8, (N, C, H, W), values 0..255.
        labels: int64, (N,), values 0..num_classes - 1.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int | None) -> Images:
        """Return the first `count` images; all for None."""
        return Images(self.images[:count], self.labels[:count])

    def to(self, device: torch.device | str) -> Images:
        """Return the same images on another device."""
        return Images(self.images.to(device), self.labels.to(device))

    def sha256(self) -> str:
        """Return the hash of these images and labels, computed as for a whole part."""
        return images_sha256(self.images.cpu().numpy(), self.labels.cpu().numpy())


@dataclass(frozen=True)
class ImageInfo:
    """Facts about a data set that both parts share.

    Attributes:
        name: name of the data set.
        num_classes: number of classes, including those without images.
        channels: 1 or 3.
        height: pixels.
        width: pixels.
        epsilon: default radius as text such as "8/255"; None for a set that is not in the catalog.
        class_names: one name per class; the class numbers where the files name none.
    """

    name: str
    num_classes: int
    channels: int
    height: int
    width: int
    epsilon: str | None
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class DataInfo(ImageInfo):
    """What training needs beyond `ImageInfo`.

    Attributes:
        mean: mean of each channel, pixels in [0, 1].
        std: standard deviation of each channel, pixels in [0, 1].
        flip: whether an image can be mirrored without changing its class.
        crop_padding: pixels of padding for random crops; 0 for no crops.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    crop_padding: int


@dataclass(frozen=True)
class TrainingData:
    """The training part.

    Attributes:
        info: facts about the data set.
        train: the images to train on.
        validation: 2 % of the training part, always the same images, disjoint from `train`.
        sha256: of the whole decoded training part: shape, pixels and labels.
    """

    info: DataInfo
    train: Images
    validation: Images
    sha256: str


@dataclass(frozen=True)
class TestData:
    """The test part; it has no mean and std, as a network brings the normalisation it was trained with.

    Attributes:
        info: facts about the data set.
        test: the images to test on.
        sha256: of the whole decoded test part, even if `test` is a subset.
        index: int64, (N,); row of each image of `test` in the whole part.
    """

    __test__: ClassVar[bool] = False  # keeps pytest from collecting it as a test

    info: ImageInfo
    test: Images
    sha256: str
    index: Tensor

    def first(self, count: int | None) -> TestData:
        """Return the subset of the first `count` images; all for None."""
        return replace(self, test=self.test.first(count), index=self.index[:count])


def load_training(name: str, data_dir: Path | None, *, limit: int | None = None) -> TrainingData:
    """Load the training part and split it into training and validation images. Never reads the test part.

    Args:
        name: a data set of the catalog, or any other name for the user's own in `data_dir`.
        data_dir: folder that holds the files; None for `data` in the current folder. Ignored for digits.
        limit: maximum number of training images, at least 1; None for all. The validation images stay the same.

    Raises:
        UserError: if the data are missing or broken, or not the published ones of that name.
    """
    reader = find_reader(name, data_dir)
    part = read_part(reader, name, "train")
    shape = _checked_info(name, "train", part, _class_names(reader, name))
    report_empty_classes(f"training part of {name}", part.labels, shape.class_names)
    if len(part.labels) < 2:
        raise UserError(f"{part.where(0)} is the only training image; add another one for validation.")
    train_rows, validation_rows = training_split(name, len(part.labels))
    kept = train_rows[:limit]
    facts = DATASETS.get(name)
    mean, std = (facts.mean, facts.std) if facts else channel_statistics(part.images, train_rows)
    info = DataInfo(
        **vars(shape),
        mean=mean,
        std=std,
        flip=facts.flip if facts else True,
        crop_padding=facts.crop_padding if facts else min(shape.height, shape.width) // 8,
    )
    return TrainingData(info, _select(part, kept), _select(part, validation_rows), part.sha256)


def load_test(name: str, data_dir: str | PathLike[str] | None, *, limit: int | None = None) -> TestData:
    """Load the test part, or its fixed subset of `limit` images; a larger subset contains a smaller one.

    Args:
        name: as for `load_training`.
        data_dir: as for `load_training`.
        limit: maximum number of test images, at least 1; None for all.

    Raises:
        UserError: if the data are missing or broken, or not the published ones of that name.
    """
    reader = find_reader(name, None if data_dir is None else Path(data_dir))
    part = read_part(reader, name, "test")
    info = _checked_info(name, "test", part, _class_names(reader, name))
    report_empty_classes(f"test part of {name}", part.labels, info.class_names)
    rows = order_of_test(name, len(part.labels))
    kept = rows[:limit]
    return TestData(info, _select(part, kept), part.sha256, torch.from_numpy(kept.copy()))


def _class_names(reader: Reader, name: str) -> tuple[str, ...]:
    """Return the names of all classes; () for a catalog data set whose files have none."""
    names = reader.class_names()
    if names or name in DATASETS:
        return names
    # The user's own data set in a format without class names: its training labels number the classes.
    training = reader.read("train")
    largest = int(training.labels.max(initial=-1))
    if largest >= len(training.labels):
        row = int(training.labels.argmax())
        raise UserError(f"{training.where(row)} has label {largest}; labels must number the classes from 0.")
    return tuple(str(number) for number in range(largest + 1))


def _checked_info(name: str, which: Part, part: RawPart, class_names: tuple[str, ...]) -> ImageInfo:
    """Describe a part after checking its size, its labels and, under a published name, its identity."""
    if not len(part.labels):
        raise UserError(f"{part.files[0][0]} holds no images.")
    facts = DATASETS.get(name)
    num_classes = facts.num_classes if facts else len(class_names)
    if class_names and len(class_names) != num_classes:
        raise UserError(f"{part.files[0][0].parent} names {len(class_names)} classes, but {name} has {num_classes}.")
    _, channels, height, width = part.images.shape
    if facts:
        _check_size(facts, part)
    wrong = np.flatnonzero((part.labels < 0) | (part.labels >= num_classes))
    if wrong.size:
        row = int(wrong[0])
        start_at_1 = part.labels.min() == 1 and part.labels.max() == num_classes
        remedy = "these start at 1: subtract 1 from all" if start_at_1 else "correct it or remove the image"
        raise UserError(
            f"{part.where(row)} has label {part.labels[row]}; {name} has labels 0 to {num_classes - 1}; {remedy}."
        )
    check_identity(name, which, part, class_names)
    return ImageInfo(
        name=name,
        num_classes=num_classes,
        channels=channels,
        height=height,
        width=width,
        epsilon=facts.epsilon if facts else None,
        class_names=class_names or tuple(str(number) for number in range(num_classes)),
    )


def _check_size(facts: DatasetFacts, part: RawPart) -> None:
    got = part.images.shape[1:]
    want = (facts.channels, facts.size, facts.size)
    if got != want:
        raise UserError(
            f"{part.where(0)} has {got[0]} channels of {got[1]}x{got[2]} pixels, but {facts.name} has "
            f"{want[0]} of {want[1]}x{want[2]}; use another name for your own data set."
        )


def _select(part: RawPart, rows: NDArray[np.int64]) -> Images:
    return Images(torch.from_numpy(part.images[rows]), torch.from_numpy(part.labels[rows]))
