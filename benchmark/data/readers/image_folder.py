"""Data sets as image files, one folder per class: `train/<class>/*.png` and `test/<class>/*.png`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.data.readers.decode import decode_images
from benchmark.data.readers.part import Part, RawPart, reading
from benchmark.errors import UserError, suggestion

_FOLDERS: dict[Part, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val", "valid")}
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


@dataclass(frozen=True)
class ImageFolderReader:
    """Reads the image files under `folder`; classes are numbered by the sorted names of training folders."""

    folder: Path

    def read(self, part: Part) -> RawPart:
        """Decode all images of a part, by class and then by file name; uint8, (N, 1 or 3, H, W)."""
        names = self.class_names()
        files: list[tuple[Path, int]] = []
        labels: list[int] = []
        for folder in _class_folders(self._part_folder(part)):
            if folder.name not in names:
                raise UserError(
                    f"{folder} is a class that {self._part_folder('train')} does not have."
                    f"{suggestion(folder.name, names)}"
                )
            images = _image_files(folder)
            files += [(image, 1) for image in images]
            labels += [names.index(folder.name)] * len(images)
        rows = tuple(files)
        decoded, encodings = decode_images([file for file, _ in rows], lambda row: str(rows[row][0]))
        return RawPart(decoded, np.array(labels, dtype=np.int64), rows, encodings)

    def encoded_files(self, part: Part) -> tuple[Path, ...]:
        """Return all image files of a part, by class and then by file name."""
        return tuple(image for folder in _class_folders(self._part_folder(part)) for image in _image_files(folder))

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the training folders, sorted."""
        return tuple(folder.name for folder in _class_folders(self._part_folder("train")))

    def _part_folder(self, part: Part) -> Path:
        for name in _FOLDERS[part]:
            if (self.folder / name).is_dir():
                return self.folder / name
        raise UserError(f"{self.folder} has no folder {' or '.join(_FOLDERS[part])} with one folder per class.")


def find_image_folder(folder: Path) -> ImageFolderReader | None:
    """Return a reader if `folder` has a subfolder train, test, val or valid."""
    found = any((folder / name).is_dir() for names in _FOLDERS.values() for name in names)
    return ImageFolderReader(folder) if found else None


def _class_folders(folder: Path) -> list[Path]:
    entries = _visible(folder)
    for entry in entries:
        if not entry.is_dir():
            raise UserError(f"{entry} is not a folder; {folder} must hold one folder of images per class.")
    if not entries:
        raise UserError(f"{folder} is empty; it must hold one folder of images per class.")
    return entries


def _image_files(folder: Path) -> list[Path]:
    entries = _visible(folder)
    for entry in entries:
        if entry.suffix.lower() not in _SUFFIXES or not entry.is_file():
            raise UserError(f"{entry} is not an image file ({', '.join(sorted(_SUFFIXES))}).")
    if not entries:
        raise UserError(f"{folder} holds no images.")
    return entries


def _visible(folder: Path) -> list[Path]:
    """List a folder by name, without hidden files, which systems leave behind (.DS_Store)."""
    with reading(folder, "a folder"):
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
