"""Finds a data set on disk, or downloads it: the only place that knows the order of the formats."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from benchmark.data.catalog import KNOWN
from benchmark.data.download import DOWNLOADS, download
from benchmark.data.readers.cifar import find_cifar10, find_cifar100
from benchmark.data.readers.digits import DigitsReader
from benchmark.data.readers.fashion_mnist import find_fashion_mnist
from benchmark.data.readers.image_folder import find_image_folder
from benchmark.data.readers.parquet import find_parquet
from benchmark.data.readers.part import Reader
from benchmark.data.readers.svhn import find_svhn
from benchmark.errors import UserError, suggestion

DEFAULT_FOLDER = Path("data")

_OFFICIAL: dict[str, Callable[[Path], Reader | None]] = {
    "cifar10": find_cifar10,
    "cifar100": find_cifar100,
    "svhn": find_svhn,
    "fashion-mnist": find_fashion_mnist,
}
_OWN = (
    "parquet files train-*.parquet and test-*.parquet (columns image and label), "
    "or image folders train/<class>/ and test/<class>/"
)


def find_reader(name: str, data_dir: Path | None) -> Reader:
    """Return the reader of a data set, after downloading it if it has a public address and is not on disk.

    Args:
        name: a name of the catalog, or any other for a set of the user's own in `data_dir`.
        data_dir: folder to search, and its subfolder called `name`; None for `data`. Ignored for digits.

    Raises:
        UserError: if nothing is found; says where and for what it looked, and what to put there.
    """
    if name == "digits":
        return DigitsReader()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or "__" in name:
        raise UserError(f"data set name '{name}' must consist of letters, digits, '-', '.' and single '_'.")
    if name not in KNOWN and data_dir is None:
        raise UserError(
            f"unknown data set '{name}'. Known: {', '.join(KNOWN)}.{suggestion(name, KNOWN)} "
            f"For your own, pass --data-dir with a folder that holds {_OWN}."
        )
    folder = (data_dir or DEFAULT_FOLDER).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; the data folder must be a folder.")
    return _find(name, folder) or _downloaded(name, folder)


def _find(name: str, folder: Path) -> Reader | None:
    places = [place for place in (folder, folder / name) if place.is_dir()]
    known = KNOWN.get(name)
    finders: list[Callable[[Path], Reader | None]] = [
        lambda place: find_parquet(place, name, known),
        find_image_folder,
    ]
    if name in _OFFICIAL:
        finders.insert(0, _OFFICIAL[name])
    return next((reader for finder in finders for place in places if (reader := finder(place))), None)


def _downloaded(name: str, folder: Path) -> Reader:
    where = f"{folder} or {folder / name}" if folder.is_dir() else f"{folder}, which does not exist"
    if name not in DOWNLOADS:
        hint = f" Its source: {KNOWN[name].source}." if name in KNOWN else suggestion(name, KNOWN)
        raise UserError(f"found no {name} in {where}; put there {_OWN}, or pass another --data-dir.{hint}")
    what = DOWNLOADS[name]
    try:
        download(what, folder)
    except Exception as error:  # from requests, the disk or an archive: the remedy is the same
        # Pooch reports a wrong hash as a bare ValueError; what the system refused has a text, as for a full disk.
        refusal = error.strerror if isinstance(error, OSError) else None
        reason = "wrong checksum" if type(error) is ValueError else refusal or type(error).__name__
        raise UserError(
            f"found neither {what.wanted} nor parquet files nor image folders of {name} in {where}, and the "
            f"download failed ({reason}); put {what.wanted} (from {what.origin}) or parquet files "
            f"train-*.parquet and test-*.parquet into {folder}, or pass --data-dir."
        ) from error
    reader = _find(name, folder)
    assert reader is not None, f"the download of {name} brought {what.wanted}, which its reader must find"
    return reader
