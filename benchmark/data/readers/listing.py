"""Lists data folders: skips hidden files, refuses broken links and files of other kinds."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmark.data.readers.part import reading
from benchmark.errors import UserError, suggestion

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


def normalised(name: str) -> str:
    """Return a class name in Unicode normal form C; macOS writes accents in form D, other systems in C."""
    return unicodedata.normalize("NFC", name)


def refuse_broken_link(path: Path) -> None:
    """Raise UserError if `path` is a symbolic link whose target does not exist."""
    if path.is_symlink() and not path.exists():
        raise UserError(
            f"{path} is a broken link: {path.readlink()} does not exist; restore the target or remove the link."
        )


def is_folder(path: Path) -> bool:
    """Return whether `path` is a folder; raises UserError if it is a broken link."""
    refuse_broken_link(path)
    return path.is_dir()


def is_file(path: Path) -> bool:
    """Return whether `path` is a file; raises UserError if it is a broken link."""
    refuse_broken_link(path)
    return path.is_file()


def distinct(folders: Iterable[Path]) -> list[Path]:
    """Return the folders that exist, in order, each only once even under several names."""
    by_target: dict[Path, Path] = {}
    for folder in folders:
        if is_folder(folder):
            by_target.setdefault(folder.resolve(), folder)
    return list(by_target.values())


def refuse_copies(files: Sequence[Path]) -> None:
    """Raise UserError if two files have the same content, as links and copies do."""
    by_content: dict[tuple[int, str], Path] = {}
    sizes = Counter(file.stat().st_size for file in files)
    for file in files:
        size = file.stat().st_size
        if sizes[size] > 1:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            other = by_content.setdefault((size, digest), file)
            if other is not file:
                raise UserError(f"{other} and {file} hold the same images; replace the copy by the right file.")


def visible(folder: Path) -> list[Path]:
    """List a folder by name, without hidden files such as .DS_Store."""
    with reading(folder, "a folder"):
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def class_folders(folder: Path) -> dict[str, Path]:
    """Return the class folders, at least one, by normalised name and sorted by it.

    Raises:
        UserError: if there is none, if there is anything else, or if two are the same folder or have equal names.
    """
    folders: dict[str, Path] = {}
    for entry in visible(folder):
        if not is_folder(entry):
            raise UserError(f"{entry} is not a folder; {folder} must hold one folder of images per class.")
        if twin := next((other for other in folders.values() if other.samefile(entry)), None):
            raise UserError(f"{twin} and {entry} are the same folder, but classes must not share images; remove one.")
        other = folders.setdefault(normalised(entry.name), entry)
        if other != entry:
            raise UserError(
                f"{folder} holds two folders named {normalised(entry.name)} that differ only in the Unicode normal "
                "form of their names; merge them."
            )
    if not folders:
        raise UserError(f"{folder} is empty; it must hold one folder of images per class.")
    return dict(sorted(folders.items()))


def image_files(folder: Path) -> list[Path]:
    """Return the images in a folder by file name; raises UserError naming the first entry that is not an image."""
    entries = visible(folder)
    for entry in entries:
        if entry.suffix.lower() in SUFFIXES and entry.is_file():
            continue
        if is_folder(entry):
            raise UserError(f"{entry} is a folder, not an image file; {folder} must hold only images.")
        raise UserError(
            f"{entry} is not an image file of an allowed format ({', '.join(sorted(SUFFIXES))}); "
            "convert it or move it elsewhere."
        )
    return entries


def refuse_other_classes(classes: Iterable[str], class_names: tuple[str, ...], where: str, training: str) -> None:
    """Refuse classes of the test part that the training part does not have.

    Args:
        classes: class names of the test part.
        class_names: class names of the training part.
        where: location of the test part, for the message.
        training: location of the training part, for the message.

    Raises:
        UserError: naming the first such class, and a similar training class if there is one.
    """
    for name in classes:
        if name not in class_names:
            raise UserError(f"{where}: {training} has no class {name}.{suggestion(name, class_names)}")
