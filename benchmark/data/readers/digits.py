"""The embedded digits; see `benchmark/data/DIGITS.md`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.data.readers.part import Part, RawPart, label_array, reading

FILE = Path(__file__).parent.parent / "digits.npz"


class DigitsReader:
    """Reads the data set that ships with this package."""

    def read(self, part: Part) -> RawPart:
        """Return 1,437 training or 360 test images of 1x8x8 pixels."""
        with reading(FILE, "the embedded digits"), np.load(FILE, allow_pickle=False) as arrays:
            images = arrays[f"{part}_images"]
            labels = label_array(arrays[f"{part}_labels"], len(images), FILE)
        return RawPart(images, labels, ((FILE, len(images)),))

    def class_names(self) -> tuple[str, ...]:
        """Return (): the digits need no names."""
        return ()
