"""Fashion-MNIST as idx files, compressed or not, the layout torchvision also uses.

An idx file is two zero bytes, the type (8 for uint8), the number of axes, each length as a big-endian 32-bit
number, and then the values.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.readers.part import Part, RawPart, label_array, reading
from benchmark.errors import UserError

PREFIX: dict[Part, str] = {"train": "train", "test": "t10k"}


@dataclass(frozen=True)
class FashionMnistReader:
    """Reads `train-images-idx3-ubyte[.gz]` and its three companions in `folder`."""

    folder: Path

    def read(self, part: Part) -> RawPart:
        """Read one pair of files; images are uint8, (N, 1, H, W)."""
        image_file = self._file(f"{PREFIX[part]}-images-idx3-ubyte")
        label_file = self._file(f"{PREFIX[part]}-labels-idx1-ubyte")
        images = _read_idx(image_file, num_axes=3)[:, np.newaxis]
        labels = label_array(_read_idx(label_file, num_axes=1), len(images), label_file)
        return RawPart(images, labels, ((image_file, len(images)),))

    def class_names(self) -> tuple[str, ...]:
        """Return (): idx files name no classes."""
        return ()

    def _file(self, name: str) -> Path:
        for file in (self.folder / name, self.folder / f"{name}.gz"):
            if file.exists():
                return file
        raise UserError(f"{self.folder / name} is missing, with or without .gz.")


def find_fashion_mnist(folder: Path) -> FashionMnistReader | None:
    """Return a reader if `folder`, its `raw` or its `FashionMNIST/raw` holds at least one idx file."""
    for place in (folder / "FashionMNIST" / "raw", folder / "raw", folder):
        if any(place.glob("*-idx[13]-ubyte")) or any(place.glob("*-idx[13]-ubyte.gz")):
            return FashionMnistReader(place)
    return None


def _read_idx(file: Path, num_axes: int) -> NDArray[np.uint8]:
    with reading(file, "an idx file"):
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    header = 4 + 4 * num_axes
    if len(content) < header or content[:4] != bytes((0, 0, 8, num_axes)):
        raise UserError(f"{file} is not an idx file of bytes with {num_axes} axes.")
    shape = tuple(int(length) for length in np.frombuffer(content[4:header], dtype=">u4"))
    values = np.frombuffer(content, dtype=np.uint8, offset=header)
    if values.size != np.prod(shape, dtype=object):
        raise UserError(f"{file} is cut off or too long: shape {shape} does not fit its {values.size} bytes.")
    return values.reshape(shape)
