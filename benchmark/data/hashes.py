"""Whether a data set is still the one that something was made from, asked before anything is run."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from benchmark.data.load import load_test, load_training
from benchmark.data.source import find_local


class DataHashes(NamedTuple):
    """SHA-256 of the decoded images and labels of each whole part; a record names the same two."""

    train: str
    test: str


def local_hashes(name: str, data_dir: Path | None) -> DataHashes | None:
    """Decode a data set that is on disk and return its hashes; None if it is not there. Downloads nothing.

    Args:
        name: of the data set.
        data_dir: folder with its files; None for `data` in the current folder.

    Raises:
        UserError: if its files are broken or incomplete.
    """
    if find_local(name, data_dir) is None:
        return None
    return DataHashes(load_training(name, data_dir).sha256, load_test(name, data_dir).sha256)
