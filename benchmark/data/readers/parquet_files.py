"""Finds the parquet files of each part, in the layouts of the Hugging Face hub, and sorts the shards.

A part consists of `train-00000-of-00002.parquet` and so on, with or without a hash after the numbers, `train-0.parquet`
and so on, one `train.parquet`, or a folder `train/` of such files under any name. Ambiguous folders are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from benchmark.data.readers.listing import distinct, is_file, is_folder, visible
from benchmark.data.readers.part import TEST_STEMS, Part
from benchmark.errors import UserError

STEMS: dict[Part, tuple[str, ...]] = {"train": ("train",), "test": TEST_STEMS}

# Folders in which the hub keeps the files of one data set. For other sets they could hold anything.
_HUB_FOLDERS = {"cifar10": "plain_text", "svhn": "cropped_digits"}

_NUMBERED = re.compile(r"(?:(?P<prefix>.*?)[-_])?(?P<number>\d+)(?:-of-(?P<total>\d+))?(?P<rest>[-_.].*)?")
_HASH = re.compile(r"(?:-[0-9A-Za-z]+)?")


@dataclass(frozen=True)
class _Shard:
    """A file and the parts of its name: its number, from 0, and the number of files; None where the name has none."""

    file: Path
    prefix: str | None
    number: int | None
    total: int | None
    digits: str  # of the number as written
    rest: str  # of the name, after the numbers

    @property
    def form(self) -> tuple[object, ...]:
        """What the file names of one revision have in common; numbered files may have different hashes."""
        return self.prefix, self.total, self.rest if self.total is None else bool(self.rest)


def parquet_folders(folder: Path, name: str) -> list[Path]:
    """Return `folder` and its subfolders in the hub's layouts, if they hold parquet files of the data set."""
    subfolders = dict.fromkeys((".", "data", "default", *same_names(name), _HUB_FOLDERS.get(name, ".")))
    return [path for path in distinct(folder / subfolder for subfolder in subfolders) if holds_parquet(path)]


def same_names(name: str) -> tuple[str, ...]:
    """Return the folder names for a data set: its name, and the name with _ for - as on the hub."""
    return tuple(dict.fromkeys((name, name.replace("-", "_"))))


def holds_parquet(folder: Path) -> bool:
    """Return whether a folder holds parquet files of any part."""
    stems = [stem for stems in STEMS.values() for stem in stems]
    return any(_flat(folder, stem) or _nested(folder, stem) or _nested(folder, f"partial-{stem}") for stem in stems)


def part_files(folder: Path, part: Part) -> list[Path]:
    """Return the files of a part in order; [] if there are none.

    Raises:
        UserError: if files are missing, or several sets of files could be the part.
    """
    by_stem = {stem: files for stem in STEMS[part] if (files := _files_of_stem(folder, stem))}
    # If there is a test part, a validation part beside it is not used.
    if len(by_stem) > 1 and "test" not in by_stem:
        first, second, *_ = (files[0] for files in by_stem.values())
        raise UserError(f"{first} and {second} could both be the {part} part; keep one of them.")
    return next(iter(by_stem.values()), [])


def _files_of_stem(folder: Path, stem: str) -> list[Path]:
    flat, nested = _flat(folder, stem), _nested(folder, stem)
    if flat and nested:
        raise UserError(f"{flat[0]} and {nested[0]} could both be the part {stem}; keep one of them.")
    if not flat and not nested and (partial := _nested(folder, f"partial-{stem}")):
        raise UserError(
            f"{partial[0].parent} holds only the beginning of the part, because the hub truncates large sets; get the "
            f"whole part, or rename the folder to {stem} to use what there is."
        )
    return _in_order([_flat_shard(file, stem) for file in flat] or [_nested_shard(file) for file in nested])


def _flat(folder: Path, stem: str) -> list[Path]:
    """Return the parquet files in `folder` whose names start with the word `stem`."""
    return _parquet_files(folder, re.compile(rf"{stem}(?![A-Za-z]).*"))


def _nested(folder: Path, name: str) -> list[Path]:
    return _parquet_files(folder / name, re.compile(".*")) if is_folder(folder / name) else []


def _parquet_files(folder: Path, names: re.Pattern[str]) -> list[Path]:
    files = [file for file in visible(folder) if file.suffix.lower() == ".parquet" and names.fullmatch(file.name)]
    for file in files:
        if not is_file(file):
            raise UserError(f"{file} has the name of a parquet file but is not a file; move it elsewhere.")
    return files


def _flat_shard(file: Path, stem: str) -> _Shard:
    numbers = re.fullmatch(rf"{stem}(?:-(\d+)(?:-of-(\d+))?({_HASH.pattern}))?\.parquet", file.name)
    if not numbers:
        raise UserError(
            f"{file} looks like a file of the part {stem}, but its name is not of the form {stem}.parquet, "
            f"{stem}-0.parquet or {stem}-00000-of-00001.parquet; rename it or move it elsewhere."
        )
    return _shard(file, stem, *numbers.groups())


def _nested_shard(file: Path) -> _Shard:
    numbers = _NUMBERED.fullmatch(file.stem)
    if not numbers:
        return _shard(file, None, None, None, "")
    return _shard(file, numbers["prefix"], numbers["number"], numbers["total"], numbers["rest"])


def _shard(file: Path, prefix: str | None, number: str | None, total: str | None, rest: str | None) -> _Shard:
    def value(digits: str | None) -> int | None:
        return None if digits is None else int(digits)

    return _Shard(file, prefix, value(number), value(total), number or "", rest or "")


def _in_order(shards: list[_Shard]) -> list[Path]:
    """Return the files in the order of their numbers, which must be 0 to total - 1, each once."""
    if not shards or (len(shards) == 1 and shards[0].number is None):
        return [shard.file for shard in shards]
    first = shards[0]
    by_number: dict[int, Path] = {}
    for shard in shards:
        if shard.number is None or shard.form != first.form or _differ_in_padding(shard.digits, first.digits):
            other = shards[1] if shard is first else first
            raise UserError(
                f"the names of {other.file} and {shard.file.name} do not belong together; keep the files of one "
                "revision only, numbered like 00000-of-00002."
            )
        if shard.number in by_number:
            raise UserError(
                f"{by_number[shard.number]} and {shard.file.name} have the same number; keep the files of one "
                "revision only."
            )
        by_number[shard.number] = shard.file
    count = first.total or max(by_number) + 1
    starts_at_1 = sorted(by_number) == list(range(1, len(by_number) + 1))
    if starts_at_1 and (first.total == len(by_number) or (first.total is None and len(by_number) > 1)):
        raise UserError(f"{by_number[1]} and the other files are numbered from 1; rename them to start at 0.")
    for number in range(count):
        if number not in by_number:
            raise UserError(
                f"{_renumbered(first, number)} is missing: {first.file.name} is one of {count} files; get it."
            )
    if len(by_number) > count:
        raise UserError(f"{by_number[max(by_number)]} has a number out of range; numbers go from 0 to {count - 1}.")
    return [by_number[number] for number in range(count)]


def _differ_in_padding(first: str, second: str) -> bool:
    """Return whether two numbers differ in length and one of them has leading zeros."""
    return len(first) != len(second) and any(digits[0] == "0" and len(digits) > 1 for digits in (first, second))


def _renumbered(shard: _Shard, number: int) -> Path:
    start = len(shard.prefix or "")
    name = shard.file.name
    rest = re.sub(r"\d+", lambda digits: f"{number:0{len(digits[0])}}", name[start:], count=1)
    return shard.file.with_name(name[:start] + rest)
