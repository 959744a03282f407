"""Tiny-ImageNet as unpacked from its archive.

Training images are `train/<wnid>/images/*.JPEG`; the box files beside them are not used. The test part is `val/`, as
`test/` has no labels: `val/images/*.JPEG` with `val/val_annotations.txt`, whose lines start with file name and wnid,
separated by tabs. A `val/` or `test/` that was sorted into class folders is read as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.data.readers.decode import decode_images
from benchmark.data.readers.listing import (
    class_folders,
    image_files,
    is_file,
    is_folder,
    refuse_other_classes,
    visible,
)
from benchmark.data.readers.part import Part, RawPart, reading
from benchmark.errors import UserError

ARCHIVE_FOLDER = "tiny-imagenet-200"


@dataclass(frozen=True)
class TinyImageNetReader:
    """Reads `train/` and `val/` in `folder`; classes are numbered in the order of the sorted training folders."""

    folder: Path

    kind: ClassVar[str] = "Tiny-ImageNet's folders"

    def read(self, part: Part) -> RawPart:
        """Decode all images of a part, by class and then by file name; uint8, (N, 1 or 3, H, W)."""
        names = self.class_names()
        by_class = self._training_images() if part == "train" else self._test_images()
        images = [(image, names.index(name)) for name, images in by_class.items() for image in images]
        if not images:
            raise UserError(f"{self.folder} holds no images of the {part} part.")
        decoded, encodings = decode_images([image for image, _ in images], lambda row: str(images[row][0]))
        labels = np.array([label for _, label in images], dtype=np.int64)
        # The annotations hold no images, but they determine the labels.
        annotations = [(file, 0) for file in self._annotations(part)]
        return RawPart(decoded, labels, (*annotations, *((image, 1) for image, _ in images)), encodings)

    def encoded_files(self, part: Part) -> tuple[Path, ...]:
        """Return the annotations of the test part, if any, and all image files of a part."""
        by_class = self._training_images() if part == "train" else self._test_images()
        return (*self._annotations(part), *(image for images in by_class.values() for image in images))

    def class_names(self) -> tuple[str, ...]:
        """Return the wnids of the training folders, sorted; raises UserError if `wnids.txt` differs."""
        if not is_folder(self.folder / "train"):
            raise UserError(f"{self.folder / 'train'} is missing; it must hold one folder of images per class.")
        names = tuple(class_folders(self.folder / "train"))
        wnids_file = self.folder / "wnids.txt"
        if is_file(wnids_file):
            with reading(wnids_file, "a list of wnids"):
                wnids = set(wnids_file.read_text(encoding="utf-8-sig").split())
            if missing := sorted(wnids.symmetric_difference(names)):
                raise UserError(
                    f"{wnids_file} lists {len(wnids)} classes and {self.folder / 'train'} holds {len(names)}; "
                    f"only one of them has {missing[0]}. Unpack the archive again."
                )
        return names

    def _annotations(self, part: Part) -> tuple[Path, ...]:
        file = self.folder / "val" / "val_annotations.txt"
        return (file,) if part == "test" and is_file(file) else ()

    def _training_images(self) -> dict[str, list[Path]]:
        images = {}
        for name, folder in class_folders(self.folder / "train").items():
            images[name] = _images_of_class(folder)
            if not images[name]:
                raise UserError(f"{folder} holds no images.")
        return images

    def _test_folder(self) -> Path:
        """Return the folder of the test part: `val`, or a `test` that was sorted into class folders."""
        validation, test = self.folder / "val", self.folder / "test"
        is_sorted = is_folder(test) and not {entry.name for entry in visible(test)}.isdisjoint(self.class_names())
        if is_folder(validation):
            if is_sorted:
                raise UserError(f"{validation} and {test} could both be the test part; keep one of them.")
            return validation
        if not is_sorted:
            raise UserError(f"{validation} is missing; it is the test part of Tiny-ImageNet, as {test} has no labels.")
        return test

    def _test_images(self) -> dict[str, list[Path]]:
        validation = self._test_folder()
        annotations = self._annotations("test")
        by_class: dict[str, list[Path]] = {}
        if annotations:
            for image, name in _annotated(validation / "images", annotations[0]).items():
                by_class.setdefault(name, []).append(image)
        elif is_folder(validation / "images"):
            raise UserError(f"{validation / 'val_annotations.txt'} is missing; it holds the labels of the images.")
        else:
            by_class = {name: _images_of_class(folder) for name, folder in class_folders(validation).items()}
        refuse_other_classes(by_class, self.class_names(), str(validation), str(self.folder / "train"))
        return dict(sorted(by_class.items()))


def find_tiny_imagenet(folder: Path) -> list[TinyImageNetReader]:
    """Return one reader if `folder` has only folders `train/<wnid>/images`, or the file `val/val_annotations.txt`."""
    if is_file(folder / "val" / "val_annotations.txt"):
        return [TinyImageNetReader(folder)]
    training = folder / "train"
    classes = visible(training) if is_folder(training) else []
    return [TinyImageNetReader(folder)] if classes and all((entry / "images").is_dir() for entry in classes) else []


def _images_of_class(folder: Path) -> list[Path]:
    if not is_folder(folder / "images"):
        return image_files(folder)
    for entry in visible(folder):
        if entry.name not in ("images", f"{folder.name}_boxes.txt"):
            raise UserError(f"{entry} is not used; {folder} must hold the folder images and at most a box file.")
    return image_files(folder / "images")


def _annotated(folder: Path, annotations: Path) -> dict[Path, str]:
    """Return the wnid of every image in `folder`, in the order of file names."""
    wnids: dict[str, str] = {}
    with reading(annotations, "a list of file names and wnids"):
        lines = annotations.read_text(encoding="utf-8-sig").splitlines()
    for number, line in enumerate(lines, start=1):
        name, *rest = line.split("\t")
        if not line.strip():
            continue
        if not rest or not rest[0].strip():
            raise UserError(f"{annotations}, line {number} must hold a file name and a wnid, separated by a tab.")
        if name in wnids:
            raise UserError(f"{annotations}, line {number} lists {name} a second time.")
        wnids[name] = rest[0].strip()
    images = {image.name: image for image in image_files(folder)}
    for name in sorted(wnids.keys() ^ images.keys()):
        reason = "is not listed" if name in images else f"is listed, but {folder} does not hold it"
        raise UserError(f"{annotations}: {name} {reason}.")
    return {image: wnids[name] for name, image in images.items()}
