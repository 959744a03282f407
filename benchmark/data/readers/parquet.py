"""Data sets as parquet files in the layout of the Hugging Face hub."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.catalog import KnownDataset
from benchmark.data.readers.decode import decode_images
from benchmark.data.readers.part import Part, RawPart, label_array, reading, where
from benchmark.errors import UserError

# Sets without a public test part are tested on their validation part.
_STEMS: dict[Part, tuple[str, ...]] = {"train": ("train",), "test": ("test", "validation", "val", "valid")}
_IMAGE_COLUMNS = ("img", "image")
_SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)\.parquet")
# Without this bound one wrong label of an unknown set would ask for a network with billions of outputs.
_MAX_CLASSES = 100_000


@dataclass(frozen=True)
class ParquetReader:
    """Reads `train-*.parquet` and `test-*.parquet` (or validation, val, valid) in `folder`.

    Attributes:
        folder: holds the files of at least one part.
        known: facts about the data set, None for one of the user's own.
    """

    folder: Path
    known: KnownDataset | None

    def read(self, part: Part) -> RawPart:
        """Read and decode all shards of a part; images are uint8, (N, 1 or 3, H, W)."""
        encoded: list[bytes] = []
        labels: list[NDArray[np.int64]] = []
        files: list[tuple[Path, int]] = []
        for file in self._files(part):
            contents = _image_bytes(file)
            encoded += contents
            labels.append(self._labels(file))
            files.append((file, len(contents)))
        if not encoded:
            raise UserError(f"{files[0][0]} holds no images.")
        rows = tuple(files)
        images, encodings = decode_images(encoded, lambda row: where(rows, row))
        return RawPart(images, np.concatenate(labels), rows, encodings)

    def encoded_files(self, part: Part) -> tuple[Path, ...]:
        """Return the shards of a part, in order."""
        return tuple(self._files(part))

    def class_names(self) -> tuple[str, ...]:
        """Return the names in the hub's metadata; for an unknown set, numbers for classes without one."""
        if self.known:
            found = next(file for part in _STEMS if (file := _first(self.folder, part)))
            return _named_classes(found, self._label_columns())
        files = self._files("train")
        names = _named_classes(files[0], self._label_columns())
        num_classes = len(names)
        for file in files:
            labels = self._labels(file)
            largest = int(labels.max(initial=-1))
            if largest >= _MAX_CLASSES:
                raise UserError(
                    f"{file}, row {int(labels.argmax())} has label {largest}; labels must number the classes from 0."
                )
            num_classes = max(num_classes, largest + 1)
        return names + tuple(str(number) for number in range(len(names), num_classes))

    def _files(self, part: Part) -> list[Path]:
        for stem in _STEMS[part]:
            if files := _shards(self.folder, stem):
                return files
        patterns = " or ".join(f"{stem}-*.parquet" for stem in _STEMS[part])
        raise UserError(f"{self.folder} has parquet files, but the {part} part is missing: no {patterns}.")

    def _labels(self, file: Path) -> NDArray[np.int64]:
        column = _read_column(file, self._label_columns())
        _refuse_nulls(column, file, "label")
        return label_array(column.to_numpy(zero_copy_only=False), len(column), file)

    def _label_columns(self) -> tuple[str, ...]:
        """Return the accepted names of the label column, the preferred one first."""
        preferred = self.known.label_column if self.known else "label"
        return tuple(dict.fromkeys((preferred, "label", "labels", "fine_label")))


def find_parquet(folder: Path, name: str, known: KnownDataset | None) -> ParquetReader | None:
    """Return a reader if `folder`, or a subfolder as the hub's repositories have them, holds parquet files.

    Only certain subfolders are searched: in `data/` there may be one folder per data set, and taking another
    set's files for this one would go unnoticed.
    """
    for subfolder in ("", "data", "plain_text", "cropped_digits", name.replace("-", "_")):
        place = folder / subfolder
        if any(_first(place, part) for part in _STEMS):
            return ParquetReader(place, known)
    return None


def _first(folder: Path, part: Part) -> Path | None:
    patterns = [f"{stem}{rest}" for stem in _STEMS[part] for rest in ("-*.parquet", ".parquet")]
    return next((file for pattern in patterns for file in sorted(folder.glob(pattern))), None)


def _shards(folder: Path, stem: str) -> list[Path]:
    files = sorted(folder.glob(f"{stem}-*.parquet")) or sorted(folder.glob(f"{stem}.parquet"))
    for file in files:
        if match := _SHARD.fullmatch(file.name):
            start, digits, total = match.groups()
            for number in range(int(total)):
                shard = folder / f"{start}-{number:0{len(digits)}}-of-{total}.parquet"
                if not shard.exists():
                    raise UserError(f"{shard} is missing: {file.name} belongs to {int(total)} files.")
    return files


def _read_column(file: Path, names: tuple[str, ...]) -> Any:
    """Read the first of these columns that exists, as one pyarrow Array."""
    import pyarrow.parquet as pq  # pyarrow takes a tenth of a second to import, and most commands read no parquet

    with reading(file, "a parquet file"), pq.ParquetFile(file) as parquet:
        name = _present(parquet.schema_arrow, names, file)
        return parquet.read(columns=[name]).column(0).combine_chunks()


def _image_bytes(file: Path) -> list[bytes]:
    import pyarrow as pa

    column = _read_column(file, _IMAGE_COLUMNS)
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        # `flatten` hands the null of a row down to its fields.
        column = column.flatten()[column.type.get_field_index("bytes")]
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise UserError(f"{file}: images must be binary or a struct with the field 'bytes', got {column.type}.")
    _refuse_nulls(column, file, "image")
    images: list[bytes] = column.to_pylist()
    return images


def _refuse_nulls(column: Any, file: Path, what: str) -> None:
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise UserError(f"{file}, row {row} has no {what} (null).")


def _named_classes(file: Path, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the class names of the label column in the hub's metadata, () if there are none."""
    import pyarrow.parquet as pq

    with reading(file, "a parquet file"):
        schema = pq.read_schema(file)
        column = _present(schema, columns, file)
        metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = metadata.get("info", {}).get("features", {}).get(column, {}).get("names")
        return tuple(str(name) for name in names or ())


def _present(schema: Any, columns: tuple[str, ...], file: Path) -> str:
    """Return the first of these columns that the file has."""
    for column in columns:
        if column in schema.names:
            return column
    there = ", ".join(schema.names) or "none"
    raise UserError(f"{file} has no column {' or '.join(columns)}, only: {there}.")
