"""Reads the columns of one parquet file: encoded images, and labels as numbers or class names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.readers.listing import normalised
from benchmark.data.readers.part import label_array, reading
from benchmark.errors import UserError

_IMAGE_COLUMNS = ("img", "image")


@dataclass(frozen=True)
class Labels:
    """The labels of one file.

    Attributes:
        values: int64, (N,), at least 0.
        class_names: names of the numbers, from the hub's metadata or, if the column holds text, from the text; () if
            there are none.
        column: name of the column.
        is_text: whether the column holds text, so that `class_names` has only the classes that occur.
    """

    values: NDArray[np.int64]
    class_names: tuple[str, ...]
    column: str
    is_text: bool = False


def read_images(file: Path) -> list[bytes]:
    """Return the encoded images of a file; raises UserError if one is missing or the column has another type."""
    import pyarrow as pa

    column, _ = _read_column(file, _IMAGE_COLUMNS)
    if not len(column):  # an empty column may have lost its type
        return []
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        # `flatten` passes the null of a row on to its fields.
        column = column.flatten()[column.type.get_field_index("bytes")]
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise UserError(f"{file}: images must be binary or a struct with the field 'bytes', got {column.type}.")
    _refuse_nulls(column, file, "image")
    images: list[bytes] = column.to_pylist()
    return images


def read_labels(file: Path, columns: tuple[str, ...]) -> Labels:
    """Return the labels of a file from whichever of these columns it has.

    Raises:
        UserError: if a label is missing, or the column has another type or does not fit the names in the metadata.
    """
    import pyarrow as pa

    column, column_name = _read_column(file, columns)
    _refuse_nulls(column, file, "label")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        texts = [normalised(text) for text in column.to_pylist()]
        for row, text in enumerate(texts):
            if not text or text != text.strip():
                raise UserError(
                    f"{file}, row {row} has the label {text!r}; give a class name without surrounding blanks."
                )
        names = tuple(sorted(set(texts)))
        number = {name: row for row, name in enumerate(names)}
        return Labels(np.array([number[text] for text in texts], dtype=np.int64), names, column_name, is_text=True)
    if len(column) and not pa.types.is_integer(column.type):
        raise UserError(f"{file} must hold one integer label per image, or the name of its class, got {column.type}.")
    values = label_array(column.to_numpy(zero_copy_only=False), len(column), file)
    names = class_names_in_metadata(file, columns)
    if values.size and (smallest := int(values.min())) < 0:
        meaning = " (the hub's marker for unlabelled images)" if smallest == -1 else ""
        raise UserError(
            f"{file}, row {int(values.argmin())} has label {smallest}{meaning}; use files in which every image has a "
            "class number from 0 (validation files serve as the test part if there are no test files)."
        )
    if values.size and names and values.max() >= len(names):
        raise UserError(
            f"{file}, row {int(values.argmax())} has label {int(values.max())}, but its metadata names "
            f"{len(names)} classes, numbered from 0."
        )
    return Labels(values, names, column_name)


def class_names_in_metadata(file: Path, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the class names of the label column in the hub's metadata; () if there are none."""
    import pyarrow.parquet as pq

    with reading(file, "a parquet file"):
        schema = pq.read_schema(file)
        column = _present(schema, columns, file)
        try:
            metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
            names = metadata.get("info", {}).get("features", {}).get(column, {}).get("names") or ()
        except (ValueError, AttributeError) as error:
            raise UserError(
                f"{file} could not be read as a parquet file of the hub: its 'huggingface' metadata are malformed; "
                "write the file again, with valid metadata or none."
            ) from error
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{file}: the class names in its metadata must be a list of strings, got {names!r}.")
    names = tuple(normalised(name) for name in names)
    if duplicates := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{file} names two classes {duplicates[0]} in its metadata; class names must differ.")
    return names


def _read_column(file: Path, names: tuple[str, ...]) -> tuple[Any, str]:
    """Return whichever of these columns the file has, as a pyarrow ChunkedArray of plain values, and its name."""
    import pyarrow as pa
    import pyarrow.parquet as pq  # pyarrow takes a tenth of a second to import, and most commands read no parquet

    with reading(file, "a parquet file"), file.open("rb") as stream:
        if stream.read(24).startswith(b"version https://git-lfs"):
            raise UserError(f"{file} is a Git LFS pointer, not the file itself; run `git lfs pull`.")
    with reading(file, "a parquet file"), pq.ParquetFile(file) as parquet:
        name = _present(parquet.schema_arrow, names, file)
        column = parquet.read(columns=[name]).column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        views = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
        return (column.cast(views[column.type]) if column.type in views else column), name


def _refuse_nulls(column: Any, file: Path, content: str) -> None:
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise UserError(f"{file}, row {row} has no {content} (null).")


def _present(schema: Any, columns: tuple[str, ...], file: Path) -> str:
    """Return the name of whichever of these columns the file has."""
    present: list[str] = [column for column in schema.names if column in columns]
    if not present:
        others = ", ".join(schema.names) or "none"
        raise UserError(f"{file} has no column {' or '.join(columns)}, only: {others}.")
    if len(present) > 1:
        raise UserError(f"{file} has the columns {' and '.join(present)}, which could both be meant; keep one of them.")
    return present[0]
