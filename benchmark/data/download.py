"""Fetches data sets that have a public address. Used by `benchmark.data.source` if nothing is on disk."""

from __future__ import annotations

import hashlib
import logging
import os
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pooch

from benchmark.errors import UserError
from benchmark.writing import temporary_folder

# Seconds to connect and between two packets. Without a network the error should come at once.
_TIMEOUT = (5, 30)


@dataclass(frozen=True)
class Download:
    """What to fetch for one data set.

    Attributes:
        address: the folder on the internet, ending in a slash.
        files: name of each file and its MD5, as its publisher or torchvision states it.
        wanted: what lies in the data folder afterwards, in words.
    """

    address: str
    files: dict[str, str]
    wanted: str

    @property
    def origin(self) -> str:
        """Where a person finds the files: the file itself if there is but one."""
        return self.address + next(iter(self.files)) if len(self.files) == 1 else self.address


DOWNLOADS = {
    "cifar10": Download(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"},
        "the folder cifar-10-batches-py",
    ),
    "cifar100": Download(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85"},
        "the folder cifar-100-python",
    ),
    "svhn": Download(
        "http://ufldl.stanford.edu/housenumbers/",
        {
            "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
            "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
        },
        "the files train_32x32.mat and test_32x32.mat",
    ),
    "fashion-mnist": Download(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        "the four files {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz",
    ),
}


def unpack(archive: Path, md5: str, wanted: str) -> None:
    """Unpack a downloaded archive into its folder, whole or not at all.

    Args:
        archive: a `.tar.gz` of the table above.
        md5: its hash as its publisher states it.
        wanted: what lies in the folder afterwards, in words.

    Raises:
        UserError: if the file is not the publisher's, or the folder cannot be written to.
    """
    with archive.open("rb") as stream:
        if hashlib.file_digest(stream, "md5").hexdigest() != md5:
            raise UserError(
                f"{archive} was not unpacked, as its checksum differs from the publisher's; fetch it again, or unpack "
                f"it yourself so that {archive.parent} holds {wanted}."
            )
    try:
        with temporary_folder(archive.parent) as staging:
            _extract(archive, staging)
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
            for name, md5 in what.files.items():
                _fetch(what.address + name, md5, staging)
            _move_all(staging, folder)
    finally:
        logger.setLevel(level)
        for place in created:
            with suppress(OSError):  # not empty: the download succeeded
                place.rmdir()


def _fetch(url: str, md5: str, folder: Path) -> None:
    name = url.rsplit("/", 1)[1]
    downloader = pooch.HTTPDownloader(timeout=_TIMEOUT)
    file = pooch.retrieve(url, f"md5:{md5}", fname=name, path=folder, downloader=downloader)
    if name.endswith(".tar.gz"):
        _extract(Path(file), folder)
        Path(file).unlink()


def _extract(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as members:
        members.extractall(folder, filter="data")  # refuses members that would land outside


def _move_all(staging: Path, folder: Path) -> None:
    for item in sorted(staging.iterdir()):
        os.replace(item, folder / item.name)
