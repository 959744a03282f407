"""CIFAR-10 and CIFAR-100 as extracted from the official archives, as torchvision does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchmark.data.readers.listing import is_file, is_folder, refuse_copies
from benchmark.data.readers.part import Part, RawPart, join, label_array, reading
from benchmark.data.readers.safe_pickle import entry, image_rows, load_dict, text
from benchmark.errors import UserError


@dataclass(frozen=True)
class CifarReader:
    """Reads one extracted folder, with any number of images per file.

    Attributes:
        folder: `cifar-10-batches-py` or `cifar-100-python`.
        files: file names of each part.
        label_key: key of the labels in those files.
        names_file: file with the class names, which may be missing.
        names_key: key of the class names in it.
    """

    folder: Path
    files: dict[Part, tuple[str, ...]]
    label_key: str
    names_file: str
    names_key: str

    kind: ClassVar[str] = "pickled batches"

    def read(self, part: Part) -> RawPart:
        """Read all files of a part; images are uint8, (N, 3, 32, 32)."""
        refuse_copies([file for name in self.files[part] if is_file(file := self.folder / name)])
        return join([self._read_file(self.folder / name) for name in self.files[part]])

    def class_names(self) -> tuple[str, ...]:
        """Return the names in the meta file; () without one."""
        file = self.folder / self.names_file
        if not is_file(file):
            return ()
        names = entry(load_dict(file), self.names_key, file)
        if not isinstance(names, list):
            raise UserError(f"{file}: '{self.names_key}' must be a list, got {type(names).__name__}.")
        with reading(file, "a list of class names"):
            return tuple(text(name) for name in names)

    def _read_file(self, file: Path) -> RawPart:
        if not is_file(file):
            needed = [name for names in self.files.values() for name in names]
            raise UserError(f"{file} is missing; the folder must hold {', '.join(needed)}. Extract the archive again.")
        content = load_dict(file)
        images = image_rows(entry(content, "data", file), file)
        labels = label_array(entry(content, self.label_key, file), len(images), file)
        return RawPart(images, labels, ((file, len(images)),))


def find_cifar10(folder: Path) -> list[CifarReader]:
    """Return a reader if `folder` is called `cifar-10-batches-py`, and one if it holds such a folder."""
    batches = tuple(f"data_batch_{number}" for number in range(1, 6))
    files: dict[Part, tuple[str, ...]] = {"train": batches, "test": ("test_batch",)}
    folders = _folders(folder, "cifar-10-batches-py")
    return [CifarReader(path, files, "labels", "batches.meta", "label_names") for path in folders]


def find_cifar100(folder: Path) -> list[CifarReader]:
    """Return a reader if `folder` is called `cifar-100-python`, and one if it holds such a folder."""
    files: dict[Part, tuple[str, ...]] = {"train": ("train",), "test": ("test",)}
    folders = _folders(folder, "cifar-100-python")
    return [CifarReader(path, files, "fine_labels", "meta", "fine_label_names") for path in folders]


def _folders(folder: Path, name: str) -> list[Path]:
    candidates = [folder / name, folder] if folder.name == name else [folder / name]
    return [candidate for candidate in candidates if is_folder(candidate)]
