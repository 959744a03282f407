"""Finds a data set on disk or downloads it; the only module that knows the order in which formats are tried."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

from benchmark.data.catalog import DATASETS
from benchmark.data.download import DOWNLOADS, download, unpack
from benchmark.data.readers.cifar import find_cifar10, find_cifar100
from benchmark.data.readers.digits import DigitsReader
from benchmark.data.readers.fashion_mnist import find_fashion_mnist, find_mnist
from benchmark.data.readers.image_folder import find_image_folder
from benchmark.data.readers.listing import distinct, is_file, refuse_broken_link, visible
from benchmark.data.readers.parquet import find_parquet
from benchmark.data.readers.parquet_files import holds_parquet, same_names
from benchmark.data.readers.part import LocalReader, Reader, reading
from benchmark.data.readers.svhn import find_svhn
from benchmark.data.readers.tiny_imagenet import ARCHIVE_FOLDER, find_tiny_imagenet
from benchmark.errors import UserError, suggestion

DEFAULT_FOLDER = Path("data")

_OFFICIAL: dict[str, Callable[[Path], Sequence[LocalReader]]] = {
    "cifar10": find_cifar10,
    "cifar100": find_cifar100,
    "svhn": find_svhn,
    "fashion-mnist": find_fashion_mnist,
    "mnist": find_mnist,
}
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip", ".7z", ".rar")
_OWN = (
    "parquet files train-*.parquet and test-*.parquet (columns image and label), "
    "or image folders train/<class>/ and test/<class>/"
)


def find_reader(name: str, data_dir: Path | None) -> Reader:
    """Return the reader of a data set; if it is not on disk, unpack or download it where a publisher is listed.

    Args:
        name: a data set of the catalog, or any other name for the user's own in `data_dir`.
        data_dir: folder to search, after its subfolder called `name`; None for `data`. Ignored for digits.

    Raises:
        UserError: if nothing was found, naming the folders and formats tried; also as for `find_local`.
    """
    if reader := find_local(name, data_dir):
        return reader
    if name not in DATASETS and data_dir is None:
        raise UserError(
            f"unknown data set '{name}'. Known: {', '.join(DATASETS)}.{suggestion(name, DATASETS)} "
            f"For your own, pass --data-dir with a folder that holds {_OWN}."
        )
    folder = _data_folder(data_dir)
    return _unpacked(name, folder) or _downloaded(name, folder)


def find_local(name: str, data_dir: Path | None) -> Reader | None:
    """Return the reader of a data set on disk; downloads, unpacks and decodes nothing.

    Args:
        name: as for `find_reader`.
        data_dir: as for `find_reader`.

    Returns:
        None if nothing of the data set is on disk, or for the user's own without `data_dir`.

    Raises:
        UserError: if the name has other characters than allowed, `data_dir` is a file, or the files could be read in
            two ways.
    """
    if name == "digits":
        return DigitsReader()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or "__" in name:
        raise UserError(f"data set name '{name}' must consist of letters, digits, '-', '.' and single '_'.")
    if name not in DATASETS and data_dir is None:
        return None
    return _find(name, _data_folder(data_dir))


def _data_folder(data_dir: Path | None) -> Path:
    folder = (data_dir or DEFAULT_FOLDER).expanduser()
    refuse_broken_link(folder)
    if folder.exists() and not folder.is_dir():
        unpacked = " Unpack the archive first." if folder.name.lower().endswith(_ARCHIVES) else ""
        raise UserError(f"{folder} is a file; the data folder must be a folder.{unpacked}")
    return folder


def _find(name: str, folder: Path) -> Reader | None:
    with reading(folder, "a data folder"):
        for candidates in _candidates(name, folder):
            readers = [reader for candidate in candidates for reader in _readers(name, candidate)]
            if len(readers) > 1:
                first, second, *_ = (f"{reader.kind} in {reader.folder}" for reader in readers)
                raise UserError(
                    f"{first} and {second} could both be {name}; keep one of them, or pass a folder with only one of "
                    "them as --data-dir."
                )
            if readers:
                return readers[0]
    return None


def _candidates(name: str, folder: Path) -> list[list[Path]]:
    """Return the folders to search, in order: those named like the data set, then the data folder itself."""
    named = [folder / same for same in same_names(name)]
    if re.sub(r"[-_.]", "", name.lower()).startswith("tinyimagenet"):
        named += [path / ARCHIVE_FOLDER for path in (folder, *named) if path.name != ARCHIVE_FOLDER]
    return [distinct(named), [folder]] if folder.is_dir() else []


def _readers(name: str, folder: Path) -> list[LocalReader]:
    """Return a reader for each layout in which a folder could hold the data set."""
    # A set refused under the published name may be read as my-<name>, or under the name of its folder.
    official = [
        reader
        for official_name, reader in _official(folder)
        if name in (official_name, f"my-{official_name}") or (name not in _OFFICIAL and folder.name in same_names(name))
    ]
    readers = [*official, *find_parquet(folder, name, DATASETS.get(name))]
    if nested := find_tiny_imagenet(folder):
        return [*readers, *nested]
    # Folders called train or test may be anything: beside another layout they count only if they hold images.
    return readers + [reader for reader in find_image_folder(folder) if not readers or reader.has_images()]


def _official(folder: Path) -> Iterator[tuple[str, LocalReader]]:
    """Yield name and reader of each data set whose official layout a folder has; the files may hold another set."""
    return ((name, reader) for name, find in _OFFICIAL.items() for reader in find(folder))


def _unpacked(name: str, folder: Path) -> Reader | None:
    """Unpack the publisher's archive if it is in the data folder; None if it is not."""
    for candidate in chain(*_candidates(name, folder)):
        for archive, published in DOWNLOADS[name].files.items() if name in DOWNLOADS else ():
            if archive.endswith(".tar.gz") and is_file(candidate / archive):
                try:
                    unpack(candidate / archive, published.sha256, DOWNLOADS[name].content)
                except UserError:
                    if reader := _find(name, folder):  # another process has unpacked it in the meantime
                        return reader
                    raise
                return _find(name, folder)
    return None


def _downloaded(name: str, folder: Path) -> Reader:
    where = f"{folder} or {folder / name}" if folder.is_dir() else f"{folder}, which does not exist"
    if name not in DOWNLOADS:
        hint = f" Its source: {DATASETS[name].source}." if name in DATASETS else ""
        hint = hint or ("" if name.startswith("my-") else suggestion(name, DATASETS))
        raise UserError(
            f"found no {name} in {where}; put {_OWN} there, or pass another --data-dir.{_nearby(name, folder)}{hint}"
        )
    source = DOWNLOADS[name]
    try:
        download(source, folder)
    except Exception as error:  # from requests, the disk or an archive: the remedy is the same
        reason = _reason(error)
        raise UserError(
            f"found neither {source.content} nor parquet files nor image folders of {name} in {where}, and the "
            f"download failed ({reason}); put {source.content} (from {source.origin}) or parquet files "
            f"train-*.parquet and test-*.parquet into {folder}, or pass --data-dir.{_nearby(name, folder)}"
        ) from error
    reader = _find(name, folder)
    assert reader is not None, f"the reader of {name} did not find the downloaded {source.content}"
    return reader


def _reason(error: Exception) -> str:
    """Return in a few words why a download failed."""
    if isinstance(error, OSError) and error.strerror:  # from the system, such as a full disk
        return error.strerror
    if type(error) is TimeoutError:
        return "it took too long"
    if isinstance(error, OverflowError):
        return str(error)
    # Pooch reports a wrong hash as a bare ValueError.
    return "wrong checksum" if type(error) is ValueError else type(error).__name__


def _nearby(name: str, folder: Path) -> str:
    """Return a hint about other files in the data folder: another data set, a packed archive, or a subfolder."""
    for candidate in chain(*_candidates(name, folder)):
        for official_name, reader in _official(candidate):
            own = "" if name in _OFFICIAL else f", or move them to {folder / name} if they are {name}"
            return f" The {reader.kind} in {reader.folder} are {official_name}: use --dataset {official_name}{own}."
        if name == "cifar10" and is_file(candidate / "data_batch_1"):
            return f" {candidate} holds pickled batches; rename it to cifar-10-batches-py."
        for entry in visible(candidate):
            if entry.is_file() and entry.name.lower().endswith(_ARCHIVES):
                return f" {entry} is an archive: unpack it there first."
            with suppress(UserError):  # about files that have nothing to do with this data set
                if entry.is_dir() and (holds_parquet(entry) or any(r.has_images() for r in find_image_folder(entry))):
                    return f" {entry} holds a data set: pass it as --data-dir if you mean it."
    return ""
