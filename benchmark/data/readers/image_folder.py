"""Data sets as image files, one folder per class: `train/<class>/*.png` and `test/<class>/*.png`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.data.readers.decode import decode_images
from benchmark.data.readers.listing import SUFFIXES, class_folders, image_files, is_folder, refuse_other_classes
from benchmark.data.readers.part import TEST_STEMS, Part, RawPart
from benchmark.errors import UserError

_FOLDERS: dict[Part, tuple[str, ...]] = {"train": ("train",), "test": TEST_STEMS}


@dataclass(frozen=True)
class ImageFolderReader:
    """Reads the image files under `folder`; classes are numbered in the order of the sorted training folders."""

    folder: Path

    kind: ClassVar[str] = "image folders"

    def read(self, part: Part) -> RawPart:
        """Decode all images of a part, by class and then by file name; uint8, (N, 1 or 3, H, W)."""
        names = self.class_names()
        files: list[tuple[Path, int]] = []
        labels: list[int] = []
        for name, images in self._images(part).items():
            files += [(image, 1) for image in images]
            labels += [names.index(name)] * len(images)
        rows = tuple(files)
        if not rows:
            raise UserError(f"{self._part_folder(part)} holds no images.")
        decoded, encodings = decode_images([file for file, _ in rows], lambda row: str(rows[row][0]))
        return RawPart(decoded, np.array(labels, dtype=np.int64), rows, encodings)

    def encoded_files(self, part: Part) -> tuple[Path, ...]:
        """Return all image files of a part, by class and then by file name."""
        return tuple(image for images in self._images(part).values() for image in images)

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the training folders, sorted."""
        return tuple(class_folders(self._part_folder("train")))

    def has_images(self) -> bool:
        """Return whether a class folder holds a file with the name of an image."""
        parts = [self.folder / name for names in _FOLDERS.values() for name in names]
        return any(
            file.suffix.lower() in SUFFIXES and file.is_file() for part in parts for file in part.glob("[!.]*/[!.]*")
        )

    def _images(self, part: Part) -> dict[str, list[Path]]:
        folder = self._part_folder(part)
        images = {}
        for name, class_folder in class_folders(folder).items():
            images[name] = image_files(class_folder)
            if part == "train" and not images[name]:
                raise UserError(f"{class_folder} holds no images.")
        if part == "test":
            training = self._part_folder("train")
            refuse_other_classes(images, self.class_names(), str(folder), str(training))
            if folder.samefile(training):
                raise UserError(f"{folder} and {training} are the same folder; provide separate test images.")
        return images

    def _part_folder(self, part: Part) -> Path:
        folders = [self.folder / name for name in _FOLDERS[part] if is_folder(self.folder / name)]
        if not folders:
            raise UserError(f"{self.folder} has no folder {' or '.join(_FOLDERS[part])} with one folder per class.")
        # If there is a test part, a validation part beside it is not used.
        if len(folders) > 1 and folders[0].name != "test":
            raise UserError(f"{folders[0]} and {folders[1]} could both be the {part} part; keep one of them.")
        return folders[0]


def find_image_folder(folder: Path) -> list[ImageFolderReader]:
    """Return one reader if `folder` has a subfolder train, test, validation, val or valid."""
    has_part = any(is_folder(folder / name) for names in _FOLDERS.values() for name in names)
    return [ImageFolderReader(folder)] if has_part else []
