"""SVHN's cropped digits as MATLAB files, as torchvision stores them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.data.readers.listing import is_file
from benchmark.data.readers.mat_file import read_mat
from benchmark.data.readers.part import Part, RawPart, label_array, reading
from benchmark.errors import UserError


@dataclass(frozen=True)
class SvhnReader:
    """Reads `train_32x32.mat` and `test_32x32.mat` in `folder`."""

    folder: Path

    kind: ClassVar[str] = "MATLAB files"

    def read(self, part: Part) -> RawPart:
        """Read one file; images are uint8, (N, 3, 32, 32)."""
        file = self.folder / f"{part}_32x32.mat"
        if not is_file(file):
            raise UserError(f"{file} is missing; get it from https://ufldl.stanford.edu/housenumbers/.")
        with reading(file, "a MATLAB file"):
            content = read_mat(file)
            if missing := {"X", "y"} - content.keys():
                raise UserError(f"{file} has no variable {' and no '.join(sorted(missing))}.")
            images, labels = content["X"], content["y"].reshape(-1)
        # MATLAB drops a trailing axis of length one: a file with one image holds a 3-D array.
        images = images[..., np.newaxis] if images.ndim == 3 else images
        if images.dtype != np.uint8 or images.shape[:3] != (32, 32, 3):
            raise UserError(f"{file}: X must be uint8 of shape (32, 32, 3, N), got {images.dtype} {images.shape}.")
        labels = label_array(labels, images.shape[3], file)
        if {0, 10} <= set(labels.tolist()):
            raise UserError(f"{file} has labels 0 and 10, which both mean the digit zero; use only one of them.")
        # In the official files the digit zero has label 10.
        labels = np.where(labels == 10, 0, labels)
        return RawPart(np.ascontiguousarray(images.transpose(3, 2, 0, 1)), labels, ((file, len(labels)),))

    def class_names(self) -> tuple[str, ...]:
        """Return (): the digits need no names."""
        return ()


def find_svhn(folder: Path) -> list[SvhnReader]:
    """Return one reader if `folder` holds at least one of the two files."""
    has_file = any(is_file(folder / f"{part}_32x32.mat") for part in ("train", "test"))
    return [SvhnReader(folder)] if has_file else []
