"""Hashes of the data sets on disk, for checking that a record was made from the same data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmark.data.fitness import check_fitness
from benchmark.data.load import ImageInfo, load_test, load_training
from benchmark.data.source import find_local


class DataHashes(NamedTuple):
    """SHA-256 of the decoded images and labels of each whole part, as in a record."""

    train: str
    test: str


@dataclass(frozen=True)
class _PartFacts:
    info: ImageInfo
    sha256: str
    images: int  # without those for validation


class LocalData:
    """The data sets of a folder, each decoded at most once; only facts about them are kept in memory.

    Args:
        data_dir: folder with their files; None for `data` in the current folder.
    """

    def __init__(self, data_dir: Path | None) -> None:
        self.data_dir = data_dir
        self._facts: dict[str, tuple[_PartFacts, _PartFacts]] = {}  # training and test part

    def is_here(self, name: str) -> bool:
        """Return whether the files of a data set are on disk; decodes nothing.

        Raises:
            UserError: if they could be read in two ways.
        """
        return find_local(name, self.data_dir) is not None

    def hashes(self, name: str) -> DataHashes | None:
        """Return the hashes of a data set; None if it is not on disk, as nothing is downloaded.

        Raises:
            UserError: if its files are broken or incomplete.
        """
        if not self.is_here(name):
            return None
        training, test = self._decoded(name)
        return DataHashes(training.sha256, test.sha256)

    def check(self, name: str) -> int:
        """Check that a data set can be trained on and evaluated, and return the number of its test images.

        If it is not on disk, it is unpacked or downloaded where a publisher is listed.

        Raises:
            UserError: if its files are missing, broken or incomplete, or as `check_fitness`.
        """
        training, test = self._decoded(name)
        check_fitness(training, test)
        return test.images

    def _decoded(self, name: str) -> tuple[_PartFacts, _PartFacts]:
        if name not in self._facts:
            training = load_training(name, self.data_dir)
            facts = _PartFacts(training.info, training.sha256, len(training.train))
            del training  # one part in memory at a time
            test = load_test(name, self.data_dir)
            self._facts[name] = facts, _PartFacts(test.info, test.sha256, len(test.test))
        return self._facts[name]
