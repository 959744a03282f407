"""Fashion-MNIST as idx files, compressed or not, as torchvision stores them.

An idx file consists of two zero bytes, the type (8 for uint8), the number of axes, the length of each axis as a
big-endian 32-bit number, and the values.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmark.data.readers.listing import is_file
from benchmark.data.readers.part import Part, RawPart, label_array, reading
from benchmark.errors import UserError

PREFIX: dict[Part, str] = {"train": "train", "test": "t10k"}


@dataclass(frozen=True)
class FashionMnistReader:
    """Reads `train-images-idx3-ubyte[.gz]` and its three companions in `folder`."""

    folder: Path

    kind: ClassVar[str] = "idx files"

    def read(self, part: Part) -> RawPart:
        """Read one pair of files; images are uint8, (N, 1, H, W)."""
        image_file = self._file(f"{PREFIX[part]}-images-idx3-ubyte")
        label_file = self._file(f"{PREFIX[part]}-labels-idx1-ubyte")
        images = _read_idx(image_file, num_axes=3)[:, np.newaxis]
        labels = label_array(_read_idx(label_file, num_axes=1), len(images), label_file)
        return RawPart(images, labels, ((image_file, len(images)),))

    def class_names(self) -> tuple[str, ...]:
        """Return (): idx files have no class names."""
        return ()

    def _file(self, name: str) -> Path:
        files = _files(self.folder, name)
        if not files:
            raise UserError(f"{self.folder / name} is missing, with or without .gz.")
        # Unpacking often leaves the compressed file beside the other.
        if len({_content(file) for file in files}) > 1:
            raise UserError(f"{files[0]} and {files[1].name} have different content; keep one of them.")
        return files[0]


def find_fashion_mnist(folder: Path) -> list[FashionMnistReader]:
    """Return a reader for each of `folder`, `folder/raw` and `folder/FashionMNIST/raw` that holds an idx file."""
    return _find(folder, "FashionMNIST")


def find_mnist(folder: Path) -> list[FashionMnistReader]:
    """Return the same for MNIST, whose files have the same names, with `folder/MNIST/raw`."""
    return _find(folder, "MNIST")


def _find(folder: Path, name: str) -> list[FashionMnistReader]:
    folders = (folder / name / "raw", folder / "raw", folder)
    names = [f"{prefix}-{kind}-ubyte" for prefix in PREFIX.values() for kind in ("images-idx3", "labels-idx1")]
    return [FashionMnistReader(path) for path in folders if any(_files(path, name) for name in names)]


def _files(folder: Path, name: str) -> list[Path]:
    """Return the files called `name`, plain or compressed, in a folder."""
    return [file for file in (folder / name, folder / f"{name}.gz") if is_file(file)]


def _content(file: Path) -> bytes:
    with reading(file, "an idx file"):
        return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()


def _read_idx(file: Path, num_axes: int) -> NDArray[np.uint8]:
    content = _content(file)
    header = 4 + 4 * num_axes
    if len(content) < header or content[:4] != bytes((0, 0, 8, num_axes)):
        raise UserError(f"{file} is not an idx file of bytes with {num_axes} axes.")
    shape = tuple(int(length) for length in np.frombuffer(content[4:header], dtype=">u4"))
    values = np.frombuffer(content, dtype=np.uint8, offset=header)
    if values.size != np.prod(shape, dtype=object):
        raise UserError(f"{file} is truncated or too long: shape {shape} does not fit its {values.size} bytes.")
    return values.reshape(shape)
