"""Fetches data sets that have a public address. Used by `benchmark.data.source` if nothing is on disk."""

from __future__ import annotations

import hashlib
import logging
import os
import tarfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import pooch

from benchmark.errors import UserError
from benchmark.files.writing import temporary_folder

# Seconds to connect and between two packets. Without a network the error should come at once.
_TIMEOUT = (5, 30)
_SECONDS = 6 * 3600.0  # for one file, also if the packets are single bytes
_CHUNK = 1024  # bytes


class Published(NamedTuple):
    """A file as its publisher offers it."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Download:
    """What to fetch for one data set.

    Attributes:
        address: the folder on the internet, ending in a slash.
        files: each file by its name.
        wanted: what lies in the data folder afterwards, in words.
    """

    address: str
    files: Mapping[str, Published]
    wanted: str

    @property
    def origin(self) -> str:
        """Where a person finds the files: the file itself if there is but one."""
        return self.address + next(iter(self.files)) if len(self.files) == 1 else self.address


# SHA-256 and sizes: as several independent projects state them that fetched these files, among them TensorFlow
# (CIFAR), torchvision (SVHN, Fashion-MNIST) and others beside the MD5 that the publishers state.
DOWNLOADS = {
    "cifar10": Download(
        "https://www.cs.toronto.edu/~kriz/",
        {
            "cifar-10-python.tar.gz": Published(
                "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce", 170_498_071
            )
        },
        "the folder cifar-10-batches-py",
    ),
    "cifar100": Download(
        "https://www.cs.toronto.edu/~kriz/",
        {
            "cifar-100-python.tar.gz": Published(
                "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7", 169_001_437
            )
        },
        "the folder cifar-100-python",
    ),
    "svhn": Download(
        "https://ufldl.stanford.edu/housenumbers/",
        {
            "train_32x32.mat": Published(
                "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8", 182_040_794
            ),
            "test_32x32.mat": Published("cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b", 64_275_384),
        },
        "the files train_32x32.mat and test_32x32.mat",
    ),
    "fashion-mnist": Download(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        {
            "train-images-idx3-ubyte.gz": Published(
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26_421_880
            ),
            "train-labels-idx1-ubyte.gz": Published(
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29_515
            ),
            "t10k-images-idx3-ubyte.gz": Published(
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4_422_102
            ),
            "t10k-labels-idx1-ubyte.gz": Published(
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5_148
            ),
        },
        "the four files {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz",
    ),
}


def unpack(archive: Path, sha256: str, wanted: str) -> None:
    """Unpack a downloaded archive into its folder, whole or not at all.

    Args:
        archive: a `.tar.gz` of the table above.
        sha256: its hash as its publisher offers it; nothing of another file is unpacked.
        wanted: what lies in the folder afterwards, in words.

    Raises:
        UserError: if the file is not the publisher's, or the folder cannot be written to.
    """
    try:
        with archive.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
                raise UserError(
                    f"{archive} was not unpacked, as its checksum differs from the publisher's; fetch it again, or "
                    f"unpack it yourself so that {archive.parent} holds {wanted}."
                )
            stream.seek(0)
            with temporary_folder(archive.parent) as staging:
                _extract(stream, staging)
                _move_all(staging, archive.parent)
    except (OSError, tarfile.TarError) as error:
        raise UserError(
            f"{archive} could not be unpacked ({type(error).__name__}: {getattr(error, 'strerror', None) or error}); "
            f"unpack it yourself and pass the folder that holds {wanted} as --data-dir."
        ) from error


def download(what: Download, folder: Path) -> None:
    """Fetch, check and extract all files into `folder`, which is created; on failure nothing is left behind.

    Raises:
        Exception: of many types, from the network, a wrong hash, a broken archive or the disk.
    """
    created = [place for place in (folder, *folder.parents) if not place.exists()]
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        # Beside the target, so that the final move is one rename and never leaves half a file.
        with temporary_folder(folder) as staging:
            for name, published in what.files.items():
                _fetch(what.address + name, published, staging)
            _move_all(staging, folder)
    finally:
        logger.setLevel(level)
        for place in created:
            with suppress(OSError):  # not empty: the download succeeded
                place.rmdir()


class _Watch:
    """Ends a download that brings more bytes than the file has, or takes too long: pooch takes it for a progress bar.

    The size is not that of the file until its hash is known, and a disk may be full by then.
    """

    total: int  # bytes that the server announces; set by pooch

    def __init__(self, size: int) -> None:
        self._size, self._received, self._ends = size, 0, time.monotonic() + _SECONDS

    def update(self, received: int) -> None:
        """Count bytes that have come, rounded up to a whole chunk."""
        self._received += received
        if self._received >= self._size + _CHUNK:
            raise OverflowError(f"more than {self._size:,} bytes")
        if time.monotonic() > self._ends:
            raise TimeoutError

    def reset(self) -> None:
        """Count from nothing again."""
        self._received = 0

    def close(self) -> None:
        """Do nothing: a progress bar would be removed."""


def _fetch(url: str, published: Published, folder: Path) -> None:
    name = url.rsplit("/", 1)[1]
    downloader = pooch.HTTPDownloader(_Watch(published.size_bytes), _CHUNK, timeout=_TIMEOUT)
    file = Path(pooch.retrieve(url, f"sha256:{published.sha256}", fname=name, path=folder, downloader=downloader))
    if name.endswith(".tar.gz"):
        with file.open("rb") as stream:
            _extract(stream, folder)
        file.unlink()


def _extract(archive: IO[bytes], folder: Path) -> None:
    with tarfile.open(fileobj=archive) as members:
        members.extractall(folder, filter="data")  # refuses members that would land outside


def _move_all(staging: Path, folder: Path) -> None:
    for item in sorted(staging.iterdir()):
        os.replace(item, folder / item.name)
