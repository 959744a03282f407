"""Data sets as parquet files in the layouts of the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.data.catalog import DatasetFacts
from benchmark.data.readers.decode import decode_images
from benchmark.data.readers.listing import refuse_copies, refuse_other_classes
from benchmark.data.readers.parquet_columns import Labels, read_images, read_labels
from benchmark.data.readers.parquet_files import STEMS, parquet_folders, part_files
from benchmark.data.readers.part import Part, RawPart, where
from benchmark.errors import UserError

# Without this bound, one wrong label in a user's own data set would need a network with billions of outputs.
_MAX_CLASSES = 100_000
_REMEDY = (
    "if a class without images is intended, declare the names of all classes in the metadata of the files "
    "(a ClassLabel of the Hugging Face hub)"
)


class _Classes(NamedTuple):
    """The classes of the training files."""

    names: tuple[str, ...]
    source: Path  # the file they come from
    labels: Labels  # of that file
    have_names: bool  # whether the files name them; otherwise the names are their numbers


@dataclass(frozen=True)
class ParquetReader:
    """Reads the parquet files of both parts in `folder`; classes of the two parts are matched by name.

    Attributes:
        folder: folder with the files of at least one part.
        facts: catalog entry of the data set; None for a user's own.
    """

    folder: Path
    facts: DatasetFacts | None

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
        """Return the names in the training files; for a user's own data set without names, the numbers."""
        return self._classes().names

    def _classes(self) -> _Classes:
        # Each part of a catalog data set can be read without the other.
        files = part_files(self.folder, "train") or self._files("test" if self.facts else "train")
        labels = self._labels(files)
        names = _joined_names(labels)
        numbers = () if self.facts or names else _numbers_as_names(files, labels)
        return _Classes(names or numbers, files[0], labels[0], bool(names))

    def _files(self, part: Part) -> list[Path]:
        if files := part_files(self.folder, part):
            for file in files if part == "test" else ():
                for training in part_files(self.folder, "train"):
                    if training.samefile(file):
                        raise UserError(f"{file} and {training} are the same file; provide separate test images.")
            refuse_copies(files)
            return files
        patterns = " or ".join(f"{stem}-*.parquet" for stem in STEMS[part])
        raise UserError(f"{self.folder} has parquet files, but the {part} part is missing: no {patterns}.")

    def _labels(self, files: list[Path]) -> list[Labels]:
        """Return the labels of each file after checking that all name the same classes."""
        labels = [read_labels(file, self._label_columns()) for file in files]
        for file, of_file in zip(files, labels, strict=True):
            first = labels[0]
            _refuse_other_column(files[0], first, file, of_file)
            if of_file.is_text != first.is_text:
                raise UserError(
                    f"{files[0]} and {file} differ in their labels: one has text, the other numbers; use one kind."
                )
            if not first.is_text and of_file.class_names != first.class_names:
                raise UserError(
                    f"{files[0]} and {file} differ in the class names in their metadata, or in their order; all files "
                    "of a part must declare the same names."
                )
        return labels

    def _numbered(self, files: list[Path], labels: list[Labels]) -> NDArray[np.int64]:
        """Return the labels of all files, renumbered in the order of `class_names`."""
        names, source, source_labels, have_names = self._classes()
        number = {name: row for row, name in enumerate(names)}
        numbered = [np.empty(0, dtype=np.int64)]
        for file, of_file in zip(files, labels, strict=True):
            _refuse_other_column(source, source_labels, file, of_file)
            if have_names and (of_file.class_names or of_file.is_text):
                refuse_other_classes(of_file.class_names, names, str(file), str(source))
                missing = set(names).difference(of_file.class_names)
                if missing and not of_file.is_text:
                    raise UserError(
                        f"{source} names the class {min(missing)} in its metadata, but {file} does not; "
                        "both must name all classes."
                    )
                positions = np.array([number[name] for name in of_file.class_names], dtype=np.int64)
                numbered.append(positions[of_file.values])
            # For a catalog data set, unnamed numbers are checked against the published facts.
            elif len(of_file.values) and (of_file.is_text or ((of_file.class_names or have_names) and not self.facts)):
                with_names, without = (file, source) if of_file.class_names else (source, file)
                raise UserError(
                    f"{with_names} names its classes, but {without} has only numbers, so their order cannot be "
                    "compared; declare the names in the metadata of both (a ClassLabel of the Hugging Face hub)."
                )
            else:
                numbered.append(of_file.values)
        return np.concatenate(numbered)

    def _label_columns(self) -> tuple[str, ...]:
        """Return the accepted names of the label column, the usual one first."""
        usual = self.facts.label_column if self.facts else "label"
        return tuple(dict.fromkeys((usual, "label", "labels", "fine_label")))


def _refuse_other_column(source: Path, source_labels: Labels, file: Path, labels: Labels) -> None:
    if labels.column != source_labels.column:
        raise UserError(
            f"{source} has its labels in the column {source_labels.column}, but {file} in {labels.column}; rename one "
            "of them, because all files must use the same column."
        )


def find_parquet(folder: Path, name: str, facts: DatasetFacts | None) -> list[ParquetReader]:
    """Return a reader for each place in `folder` that holds parquet files of the data set in a layout of the hub."""
    return [ParquetReader(place, facts) for place in parquet_folders(folder, name)]


def _joined_names(labels: list[Labels]) -> tuple[str, ...]:
    """Return the class names in the files of one part; () if there are none."""
    if labels[0].is_text:
        return tuple(sorted({name for of_file in labels for name in of_file.class_names}))
    return labels[0].class_names


def _numbers_as_names(files: list[Path], labels: list[Labels]) -> tuple[str, ...]:
    """Return the class numbers in the training files as names; all from 0 to the largest must occur."""
    for file, of_file in zip(files, labels, strict=True):
        if (largest := int(of_file.values.max(initial=-1))) >= _MAX_CLASSES:
            row = int(of_file.values.argmax())
            raise UserError(f"{file}, row {row} has label {largest}; labels must number the classes from 0.")
    counts = np.bincount(np.concatenate([of_file.values for of_file in labels]))
    absent = np.flatnonzero(counts == 0)
    if len(absent):
        start_late = absent[-1] == len(absent) - 1
        problem = (
            f"the training labels in {files[0].parent} start at {len(absent)}, not at 0"
            if start_late
            else f"no training image in {files[0].parent} has label {absent[0]}, but labels go to {len(counts) - 1}"
        )
        raise UserError(f"{problem}; map them to 0 to {len(counts) - 1 - len(absent)}, or, {_REMEDY}.")
    return tuple(str(number) for number in range(len(counts)))
