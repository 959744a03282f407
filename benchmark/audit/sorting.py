"""What an audit has to look at: files to check, and files that are refused, or left to people, by their kind alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmark.audit.changes import Change, History
from benchmark.audit.places import place_of
from benchmark.leaderboard.find import find_records
from benchmark.plain_files import read_plain
from benchmark.results.record import Record
from benchmark.results.store import artifact_path, record_path
from benchmark.submission.files import LIMITS, RECORD
from benchmark.submission.reading import read_model
from benchmark.submission.schema import Submission

_NOT_PLAIN = "it is a link, an executable or another repository; boards hold plain files"
ItemKind = Literal["record", "evaluation", "challenge"]


@dataclass(frozen=True, order=True)
class Item:
    """A file whose content is checked."""

    kind: ItemKind
    path: Path
    name: str  # from the board, printable


@dataclass
class Sorted:
    """The work of an audit, and what is decided without opening a file."""

    items: list[Item] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)  # name and reason
    unchecked: list[tuple[str, str]] = field(default_factory=list)
    pages: bool = False  # a page changed

    def add(self, kind: ItemKind, path: Path, board: Path) -> None:
        """Add a file once."""
        item = Item(kind, path, _printable(path.relative_to(board).as_posix()))
        if item not in self.items:
            self.items.append(item)


def everything(board: Path) -> Sorted:
    """Return all records, evaluations and challenges of a board."""
    work = Sorted()
    kinds: tuple[tuple[ItemKind, str], ...] = (
        *(("record", "records"), ("evaluation", "evaluations"), ("challenge", "challenges")),
    )
    for kind, folder in kinds:
        for path in _files(board / folder, work, board):
            name = path.relative_to(board).as_posix()
            if place_of(name) == kind:
                work.add(kind, path.with_suffix(".json"), board)
            else:
                work.refused.append((_printable(name), f"it is no name of a file below {folder}/"))
    return work


def _files(place: Path, work: Sorted, board: Path) -> Iterator[Path]:
    """Yield the files in a folder and in those inside it; a link is refused and not followed."""
    if place.is_symlink():
        work.refused.append((_printable(place.relative_to(board).as_posix()), _NOT_PLAIN))
        return
    for folder, folders, names in os.walk(place):
        folders.sort()
        for path in (Path(folder, name) for name in sorted([*folders, *names])):
            if path.is_symlink():
                work.refused.append((_printable(path.relative_to(board).as_posix()), _NOT_PLAIN))
            elif not path.is_dir():
                yield path


def of_rows(names: Sequence[str], records: Mapping[Path, Record], board: Path) -> Sorted:
    """Return the records of the rows that a user named, with the challenges to them.

    Raises:
        UserError: if a name means no row, or several.
    """
    work = Sorted()
    for name in names:
        for record in find_records(list(records.values()), name):
            path = record_path(board, record.protocol, record.run)
            work.add("record", path, board)
            for challenge in sorted((board / "challenges" / record.protocol / path.stem).glob("*.json")):
                work.add("challenge", challenge, board)
    return work


def since(history: History, records: Mapping[Path, Record]) -> Sorted:
    """Return what changed on a board since a commit.

    Raises:
        UserError: if git cannot tell.
    """
    work, board = Sorted(), history.board
    removed = set[str]()
    for change in history.changes():
        place, name = place_of(change.name), _printable(change.name)
        if place is None:
            if not change.gone:
                work.refused.append((name, "it is no part of a board"))
        elif not change.plain:
            work.refused.append((name, _NOT_PLAIN))
        elif place == "submission":
            removed |= _submission(work, change, name)
        elif place in ("record", "challenge", "evaluation") and change.gone:
            work.refused.append((name, f"the {place} was taken away; what is on a board stays"))
        elif place == "record":
            work.add("record", board / change.name, board)
        elif place == "evaluation":
            work.add("evaluation", board / change.name, board)
        elif place == "challenge":
            work.add("challenge", (board / change.name).with_suffix(".json"), board)
        elif place == "artifact":
            _artifact(work, change, name, records, board)
        elif place == "published":
            work.unchecked.append((name, "published numbers and questions are read by people, with their sources"))
        elif place == "figure":
            work.unchecked.append((name, "a picture cannot be compared; draw it with `python -m benchmark figures`"))
        elif place == "page":
            work.pages = True
    for folder in sorted(removed):
        _removed_submission(work, folder, history)
    # A challenge lowers a number of its record, which is checked in any case; the record need not be.
    work.items.sort(key=lambda item: (("record", "evaluation", "challenge").index(item.kind), item.path))
    return work


def _artifact(work: Sorted, change: Change, name: str, records: Mapping[Path, Record], board: Path) -> None:
    path = board / change.name
    owners = [place for place, record in records.items() if artifact_path(board, record.run) == path]
    for owner in owners:
        work.add("record", owner, board)
    if change.gone:
        work.refused.append((name, "the artifact was taken away; what is on a board stays"))
    elif not owners:
        work.refused.append((name, "the artifact belongs to no valid record"))


def _submission(work: Sorted, change: Change, name: str) -> set[str]:
    folder = "/".join(change.name.split("/")[:2])
    if change.gone:
        return {folder}
    work.refused.append((name, "a submission is a proposal of its own, which `python -m benchmark verify` checks"))
    return set()


def _removed_submission(work: Sorted, folder: str, history: History) -> None:
    """Refuse that a pending submission goes before its record is on the board, byte for byte."""
    content = history.content(f"{folder}/{RECORD}")
    submission = read_model(Submission, folder, history.content(f"{folder}/submission.json") or b"")[0]
    if content is None or submission is None:
        work.unchecked.append((_printable(folder), "it was taken away and was no whole submission; look at it"))
        return
    there = read_plain(record_path(history.board, submission.protocol, submission.run), LIMITS[RECORD])
    if there != content:
        work.refused.append((_printable(folder), "the submission was taken away and its record is not on the board"))


def _printable(name: str) -> str:
    return ascii(name)[1:-1]
