"""Data sets as parquet files in the layouts of the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.data.catalog import KnownDataset
from benchmark.data.readers.decode import decode_images
from benchmark.data.readers.listing import refuse_copies, refuse_other_classes
from benchmark.data.readers.parquet_columns import Labels, read_images, read_labels
from benchmark.data.readers.parquet_files import STEMS, parquet_folders, part_files
from benchmark.data.readers.part import Part, RawPart, where
from benchmark.errors import UserError

# Without this bound one wrong label of an unknown set would ask for a network with billions of outputs.
_MAX_CLASSES = 100_000
_REMEDY = (
    "declare the names of all classes in the metadata of the files (a ClassLabel of the Hugging Face hub), "
    "so that a class without images is meant"
)


class _Classes(NamedTuple):
    """The classes as the training files have them."""

    names: tuple[str, ...]
    source: Path  # the file that numbers them
    labels: Labels  # of that file
    are_given: bool  # whether the file gives the names


@dataclass(frozen=True)
class ParquetReader:
    """Reads the parquet files of both parts in `folder`; labels of the test part are matched by the names of classes.

    Attributes:
        folder: holds the files of at least one part.
        known: facts about the data set, None for one of the user's own.
    """

    folder: Path
    known: KnownDataset | None

    kind: ClassVar[str] = "parquet files"

    def read(self, part: Part) -> RawPart:
        """Read and decode all shards of a part; images are uint8, (N, 1 or 3, H, W)."""
        files = self._files(part)
        labels = self._numbered(files, self._labels(files))
        images = [read_images(file) for file in files]
        encoded = [image for of_file in images for image in of_file]
        if not encoded:
            raise UserError(f"{files[0]} holds no images.")
        rows = tuple((file, len(of_file)) for file, of_file in zip(files, images, strict=True))
        decoded, encodings = decode_images(encoded, lambda row: where(rows, row))
        return RawPart(decoded, labels, rows, encodings)

    def encoded_files(self, part: Part) -> tuple[Path, ...]:
        """Return the shards of a part, in order."""
        return tuple(self._files(part))

    def class_names(self) -> tuple[str, ...]:
        """Return the names that the training files give; numbers for a set of the user's own that has none."""
        return self._classes().names

    def _classes(self) -> _Classes:
        """Return the classes as the training files have them."""
        # A part of a known set can be read without the other.
        files = part_files(self.folder, "train") or self._files("test" if self.known else "train")
        labels = self._labels(files)
        names = _joined_names(labels)
        numbers = () if self.known or names else _numbers_as_names(files, labels)
        return _Classes(names or numbers, files[0], labels[0], bool(names))

    def _files(self, part: Part) -> list[Path]:
        if files := part_files(self.folder, part):
            for file in files if part == "test" else ():
                for training in part_files(self.folder, "train"):
                    if training.samefile(file):
                        raise UserError(f"{file} and {training} are one file; the test images must be others.")
            refuse_copies(files)
            return files
        patterns = " or ".join(f"{stem}-*.parquet" for stem in STEMS[part])
        raise UserError(f"{self.folder} has parquet files, but the {part} part is missing: no {patterns}.")

    def _labels(self, files: list[Path]) -> list[Labels]:
        """Return the labels of each file, after checking that all name the same classes."""
        labels = [read_labels(file, self._label_columns()) for file in files]
        for file, of_file in zip(files, labels, strict=True):
            first = labels[0]
            _refuse_other_column(files[0], first, file, of_file)
            if of_file.is_text != first.is_text:
                raise UserError(f"{files[0]} and {file} differ in their labels: one has text, the other numbers.")
            if not first.is_text and of_file.class_names != first.class_names:
                raise UserError(
                    f"the metadata of {files[0]} and {file} name different classes, or in another order, or only one "
                    "of them names any; the files of one part must agree."
                )
        return labels

    def _numbered(self, files: list[Path], labels: list[Labels]) -> NDArray[np.int64]:
        """Return the labels of all files by the order of `class_names`."""
        names, source, source_labels, are_given = self._classes()
        number = {name: row for row, name in enumerate(names)}
        numbered = [np.empty(0, dtype=np.int64)]
        for file, of_file in zip(files, labels, strict=True):
            _refuse_other_column(source, source_labels, file, of_file)
            if are_given and (of_file.class_names or of_file.is_text):
                refuse_other_classes(of_file.class_names, names, str(file), str(source))
                missing = set(names).difference(of_file.class_names)
                if missing and not of_file.is_text:
                    raise UserError(f"{file} names no class {min(missing)} in its metadata, but {source} does.")
                positions = np.array([number[name] for name in of_file.class_names], dtype=np.int64)
                numbered.append(positions[of_file.values])
            # The numbers of a known set without names are compared with what its makers published.
            elif len(of_file.values) and (of_file.is_text or ((of_file.class_names or are_given) and not self.known)):
                with_names, without = (file, source) if of_file.class_names else (source, file)
                raise UserError(
                    f"{with_names} names its classes, but {without} has only numbers, so that their order cannot be "
                    "compared; declare the names in the metadata of both (a ClassLabel of the Hugging Face hub)."
                )
            else:
                numbered.append(of_file.values)
        return np.concatenate(numbered)

    def _label_columns(self) -> tuple[str, ...]:
        """Return the accepted names of the label column, the usual one first."""
        usual = self.known.label_column if self.known else "label"
        return tuple(dict.fromkeys((usual, "label", "labels", "fine_label")))


def _refuse_other_column(source: Path, source_labels: Labels, file: Path, labels: Labels) -> None:
    if labels.column != source_labels.column:
        raise UserError(
            f"{source} has its labels in the column {source_labels.column}, and {file} in {labels.column}; rename one, "
            "as all files of a data set must have the same labels."
        )


def find_parquet(folder: Path, name: str, known: KnownDataset | None) -> list[ParquetReader]:
    """Return a reader for each place in `folder` that holds parquet files of the data set in a layout of the hub."""
    return [ParquetReader(place, known) for place in parquet_folders(folder, name)]


def _joined_names(labels: list[Labels]) -> tuple[str, ...]:
    """Return the names that the files of one part give to its classes, () if they give none."""
    if labels[0].is_text:
        return tuple(sorted({name for of_file in labels for name in of_file.class_names}))
    return labels[0].class_names


def _numbers_as_names(files: list[Path], labels: list[Labels]) -> tuple[str, ...]:
    """Name the classes by the numbers that the training files hold, which must be all from 0 to the largest."""
    for file, of_file in zip(files, labels, strict=True):
        if (largest := int(of_file.values.max(initial=-1))) >= _MAX_CLASSES:
            row = int(of_file.values.argmax())
            raise UserError(f"{file}, row {row} has label {largest}; labels must number the classes from 0.")
    counts = np.bincount(np.concatenate([of_file.values for of_file in labels]))
    absent = np.flatnonzero(counts == 0)
    if len(absent):
        begins_late = absent[-1] == len(absent) - 1
        what = (
            f"the training labels in {files[0].parent} begin at {len(absent)}, not at 0"
            if begins_late
            else f"no training image in {files[0].parent} has label {absent[0]}, though labels go to {len(counts) - 1}"
        )
        raise UserError(f"{what}; map them to 0 to {len(counts) - 1 - len(absent)}, or {_REMEDY}.")
    return tuple(str(number) for number in range(len(counts)))
