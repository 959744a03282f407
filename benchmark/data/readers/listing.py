"""Lists data folders: hidden files are left out, broken links and files of other kinds are named."""

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
    """Return a class name in Unicode's normal form C: macOS writes accents in form D, other systems in C."""
    return unicodedata.normalize("NFC", name)


def refuse_broken_link(path: Path) -> None:
    """Raise UserError if `path` is a symbolic link whose target does not exist."""
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path} is a broken link: {path.readlink()} does not exist; restore the target or the file.")


def is_folder(path: Path) -> bool:
    """Return whether `path` is a folder; raises UserError if it is a broken link."""
    refuse_broken_link(path)
    return path.is_dir()


def is_file(path: Path) -> bool:
    """Return whether `path` is a file; raises UserError if it is a broken link."""
    refuse_broken_link(path)
    return path.is_file()


def distinct(folders: Iterable[Path]) -> list[Path]:
    """Return the folders there are, in order, without those that are an earlier one under another name."""
    by_target: dict[Path, Path] = {}
    for folder in folders:
        if is_folder(folder):
            by_target.setdefault(folder.resolve(), folder)
    return list(by_target.values())


def refuse_copies(files: Sequence[Path]) -> None:
    """Raise UserError if two of some files hold the same bytes, as links and copies do."""
    by_content: dict[tuple[int, str], Path] = {}
    sizes = Counter(file.stat().st_size for file in files)
    for file in files:
        size = file.stat().st_size
        if sizes[size] > 1:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            other = by_content.setdefault((size, digest), file)
            if other is not file:
                raise UserError(f"{other} and {file} hold the same images; replace the copy by the file that is meant.")


def visible(folder: Path) -> list[Path]:
    """List a folder by name, without hidden files, which systems leave behind (.DS_Store)."""
    with reading(folder, "a folder"):
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def class_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of the classes, at least one, by normalised name and sorted by it.

    Raises:
        UserError: if there is none or something else, or if two names differ only in Unicode normal form.
    """
    folders: dict[str, Path] = {}
    for entry in visible(folder):
        if not is_folder(entry):
            raise UserError(f"{entry} is not a folder; {folder} must hold one folder of images per class.")
        if twin := next((other for other in folders.values() if other.samefile(entry)), None):
            raise UserError(f"{twin} and {entry} are one folder, and a class needs images of its own; remove the link.")
        other = folders.setdefault(normalised(entry.name), entry)
        if other != entry:
            raise UserError(
                f"{folder} holds two folders named {normalised(entry.name)}, which differ only in the Unicode "
                "normal form of their names; merge them."
            )
    if not folders:
        raise UserError(f"{folder} is empty; it must hold one folder of images per class.")
    return dict(sorted(folders.items()))


def image_files(folder: Path) -> list[Path]:
    """Return the images in a folder by file name; raises UserError naming the first entry that is none."""
    entries = visible(folder)
    for entry in entries:
        if entry.suffix.lower() in SUFFIXES and entry.is_file():
            continue
        if is_folder(entry):
            raise UserError(f"{entry} is not an image file but a folder; {folder} must hold images only.")
        raise UserError(
            f"{entry} is not an image file of an allowed format ({', '.join(sorted(SUFFIXES))}); "
            "convert it or move it elsewhere."
        )
    return entries


def refuse_other_classes(classes: Iterable[str], class_names: tuple[str, ...], where: str, training: str) -> None:
    """Refuse classes of the test part that the training part does not have.

    Args:
        classes: names of the test part's classes.
        class_names: names of the training part's classes.
        where: names the test part in messages.
        training: names the training part.

    Raises:
        UserError: naming the first such class, and the training class that may be meant.
    """
    for name in classes:
        if name not in class_names:
            raise UserError(f"{where}: {name} is a class that {training} does not have.{suggestion(name, class_names)}")
