"""What every reader returns, and helpers that turn a decoder's error into one sentence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError

Part = Literal["train", "test"]

# Names of the test part's files and folders; the validation part serves as test part if there is no public one.
TEST_STEMS = ("test", "validation", "val", "valid")

_MAX_REASON = 200  # characters; a decoder's message may quote any amount of the file


@dataclass(frozen=True)
class RawPart:
    """One decoded part of a data set.

    Attributes:
        images: uint8, (N, C, H, W).
        labels: int64, (N,); `benchmark.data.load`, which knows the number of classes, checks the range.
        files: the files read, in order, with the number of images in each; the counts add up to N.
        encodings: encodings of the image files, such as PNG; empty if the files hold arrays.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    files: tuple[tuple[Path, int], ...]
    encodings: frozenset[str] = frozenset()

    def where(self, row: int) -> str:
        """Return the file of a row, and the row inside it if the file holds several."""
        return where(self.files, row)

    @cached_property
    def sha256(self) -> str:
        """Hash of the decoded part: shape, pixels and labels."""
        return images_sha256(self.images, self.labels)


def images_sha256(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """Return the hash of (N, C, H, W) images and their (N,) labels: shape, pixels and labels."""
    digest = hashlib.sha256(f"{images.shape}".encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


class Reader(Protocol):
    """A data set on disk."""

    def read(self, part: Part) -> RawPart:
        """Decode one part without touching files of the other; raises UserError naming what is broken."""
        ...

    def class_names(self) -> tuple[str, ...]:
        """Return all class names without decoding images; () if the files have none (catalog data sets only)."""
        ...


class LocalReader(Reader, Protocol):
    """A reader of files in one of several folders and layouts."""

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        ...

    @property
    def kind(self) -> str:
        """Name of the file format, for messages."""
        ...


@runtime_checkable
class DecodingReader(Reader, Protocol):
    """A reader of compressed images, whose decoded parts are cached."""

    def encoded_files(self, part: Part) -> tuple[Path, ...]:
        """Return the files of a part, in order.

        What `read` returns depends only on their names and contents and on `class_names`.
        """
        ...


def where(files: tuple[tuple[Path, int], ...], row: int) -> str:
    """Return the file of a row, and the row inside it if the file holds several; see `RawPart.where`."""
    for file, count in files:
        if row < count:
            return f"{file}, row {row}" if count > 1 else str(file)
        row -= count
    raise AssertionError(f"row is {row} beyond the last file")


@contextmanager
def reading(file: Path, kind: str) -> Iterator[None]:
    """Turn any error of a decoder into a UserError naming the file.

    Catches every Exception: on corrupt bytes, pickle, numpy, pillow and others raise almost anything.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0].strip()[:_MAX_REASON] or type(error).__name__
        raise UserError(f"{file} could not be read as {kind}: {reason.rstrip('.')}.") from error


def label_array(labels: Any, num_images: int, file: Path) -> NDArray[np.int64]:
    """Convert labels to int64, (num_images,); raises UserError if they are not `num_images` integers."""
    if isinstance(labels, list | tuple):  # first, as numpy searches nested lists for a shape
        other = next((label for label in labels if not isinstance(label, int | np.integer)), None)
        if other is not None:
            raise UserError(f"{file} must hold one integer label per image, got {type(other).__name__} among them.")
    with reading(file, "a list of labels"):
        array = np.asarray(labels)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise UserError(f"{file} must hold one integer label per image, got {array.dtype} of shape {array.shape}.")
    if len(array) != num_images:
        raise UserError(f"{file} has {len(array)} labels for {num_images} images.")
    if array.dtype == np.uint64 and array.max(initial=0) > np.iinfo(np.int64).max:
        raise UserError(f"{file}, row {int(array.argmax())} has label {array.max()}; labels must number the classes.")
    return array.astype(np.int64)


def join(parts: list[RawPart]) -> RawPart:
    """Concatenate the files of one part; their images must have one size."""
    return RawPart(
        images=np.concatenate([part.images for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        files=tuple(file for part in parts for file in part.files),
    )
