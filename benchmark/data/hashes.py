"""Hashes of the data sets on disk, for checking that a record was made from the same data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmark.data.load import load_test, load_training
from benchmark.data.source import find_local


class DataHashes(NamedTuple):
    """SHA-256 of the decoded images and labels of each whole part, as in a record."""

    train: str
    test: str


@dataclass(frozen=True)
class LocalData:
    """The data sets on disk; nothing is downloaded.

    Attributes:
        data_dir: folder with their files; None for `data` in the current folder.
    """

    data_dir: Path | None

    def is_here(self, name: str) -> bool:
        """Return whether the files of a data set are on disk; decodes nothing.

        Raises:
            UserError: if they could be read in two ways.
        """
        return find_local(name, self.data_dir) is not None

    def hashes(self, name: str) -> DataHashes | None:
        """Decode a data set and return its hashes; None if it is not on disk.

        Raises:
            UserError: if its files are broken or incomplete.
        """
        if not self.is_here(name):
            return None
        return DataHashes(load_training(name, self.data_dir).sha256, load_test(name, self.data_dir).sha256)
