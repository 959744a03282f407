"""Downloads data sets that have a public address; `benchmark.data.source` uses it if nothing is on disk."""

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

# Seconds to connect, and between two packets. Without a network the error should come immediately.
_TIMEOUT = (5, 30)
_SECONDS = 6 * 3600.0  # for one file, in case the packets are single bytes
_CHUNK = 1024  # bytes


class Published(NamedTuple):
    """A file as its publisher offers it."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Download:
    """What to fetch for one data set.

    Attributes:
        address: URL of the folder, ending in a slash.
        files: the files by name.
        content: what the data folder holds afterwards, in words.
    """

    address: str
    files: Mapping[str, Published]
    content: str

    @property
    def origin(self) -> str:
        """Where to download the files by hand: the file itself if there is only one."""
        return self.address + next(iter(self.files)) if len(self.files) == 1 else self.address


# SHA-256 and sizes as stated by several independent projects that downloaded these files, among them TensorFlow (CIFAR)
# and torchvision (SVHN, Fashion-MNIST), some of them beside the MD5 that the publishers state.
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


def unpack(archive: Path, sha256: str, content: str) -> None:
    """Unpack a downloaded archive into its folder, completely or not at all.

    Args:
        archive: a `.tar.gz` of the table above.
        sha256: the hash its publisher states; a file with another hash is not unpacked.
        content: what the folder holds afterwards, in words.

    Raises:
        UserError: if the file is not the publisher's, or the folder cannot be written to.
    """
    try:
        with archive.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
                raise UserError(
                    f"{archive} was not unpacked because its checksum differs from the publisher's; download it "
                    f"again, or unpack it yourself so that {archive.parent} holds {content}."
                )
            stream.seek(0)
            with temporary_folder(archive.parent) as staging:
                _extract(stream, staging)
                _move_all(staging, archive.parent)
    except (OSError, tarfile.TarError) as error:
        raise UserError(
            f"{archive} could not be unpacked ({type(error).__name__}: {getattr(error, 'strerror', None) or error}); "
            f"unpack it yourself and pass the folder that holds {content} as --data-dir."
        ) from error


def download(source: Download, folder: Path) -> None:
    """Download, check and extract all files into `folder`, which is created; on failure nothing is left behind.

    Raises:
        Exception: of many types, from the network, a wrong hash, a broken archive or the disk.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        # Inside the target, so that the final move is a rename and never leaves half a file.
        with temporary_folder(folder) as staging:
            for name, published in source.files.items():
                _fetch(source.address + name, published, staging)
            _move_all(staging, folder)
    finally:
        logger.setLevel(level)
        for path in created:
            with suppress(OSError):  # not empty: the download succeeded
                path.rmdir()


class _Limit:
    """Stops a download that is larger than the file should be, or too slow; pooch calls it as a progress bar.

    The hash can be checked only at the end, when the disk may be full.
    """

    total: int  # size that the server announces; set by pooch

    def __init__(self, size: int) -> None:
        self._size, self._received, self._ends = size, 0, time.monotonic() + _SECONDS

    def update(self, received: int) -> None:
        """Count received bytes, which pooch rounds up to a whole chunk."""
        self._received += received
        if self._received >= self._size + _CHUNK:
            raise OverflowError(f"more than {self._size:,} bytes")
        if time.monotonic() > self._ends:
            raise TimeoutError

    def reset(self) -> None:
        """Start counting again."""
        self._received = 0

    def close(self) -> None:
        """Do nothing; pooch calls this at the end."""


def _fetch(url: str, published: Published, folder: Path) -> None:
    name = url.rsplit("/", 1)[1]
    downloader = pooch.HTTPDownloader(_Limit(published.size_bytes), _CHUNK, timeout=_TIMEOUT)
    file = Path(pooch.retrieve(url, f"sha256:{published.sha256}", fname=name, path=folder, downloader=downloader))
    if name.endswith(".tar.gz"):
        with file.open("rb") as stream:
            _extract(stream, folder)
        file.unlink()


def _extract(archive: IO[bytes], folder: Path) -> None:
    with tarfile.open(fileobj=archive) as members:
        members.extractall(folder, filter="data")  # refuses members outside the folder


def _move_all(staging: Path, folder: Path) -> None:
    for item in sorted(staging.iterdir()):
        os.replace(item, folder / item.name)
