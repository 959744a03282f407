"""The work of an audit: files to check, and files that are refused, or left to people, by their kind alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from benchmark.audit.changes import Change, History
from benchmark.audit.places import place_of
from benchmark.files.plain import read_plain
from benchmark.leaderboard.board.find import find_records
from benchmark.results.addresses import ArtifactAddress
from benchmark.results.citations import citation_path
from benchmark.results.external import FOLDER, AnyRecord, ExternalRecord
from benchmark.results.rechecks import rechecked_path
from benchmark.results.record import Record
from benchmark.results.store import external_path, path_of, record_path
from benchmark.submission.files import LIMITS, RECORD, SUBMISSION
from benchmark.submission.reading import read_model
from benchmark.submission.schema import ExternalSubmission, Submission

_NOT_PLAIN = "it is a link, an executable or another repository; boards hold plain files"
_FOREIGN = "it does not belong to a board"
_NO_RECORD = "the artifact belongs to no valid record"
_NO_ROW = "the address of an artifact belongs to no valid record"
_LASTING = ("record", "artifact", "challenge", "evaluation", "check")
ItemKind = Literal["record", "evaluation", "challenge", "check", "citation"]


@dataclass(frozen=True)
class Item:
    """A file whose content is checked."""

    kind: ItemKind
    path: Path
    name: str  # from the board, printable

    @property
    def beside(self) -> tuple[Path, ...]:
        """Other files that its outcome depends on; they may be absent."""
        if self.kind == "challenge":
            return (self.path.with_suffix(".safetensors"),)
        if self.kind == "record":
            return (_artifact_beside(self.path),)
        if self.kind == "check":
            protocol = self.path.parent.name
            return (self.path.parents[2] / "records" / protocol / self.path.name, _artifact_beside(self.path))
        return ()


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


def everything(board: Path, records: Mapping[Path, AnyRecord]) -> Sorted:
    """Return all records, evaluations, challenges and checks of a board; files that do not belong there are refused."""
    work = Sorted()
    runs = {path.stem for path in records}
    owned = {f"artifacts/{path.stem}{record.ending}" for path, record in records.items()}
    for path in _files(board, work):
        name = path.relative_to(board).as_posix()
        place = place_of(name)
        if place in ("record", "evaluation", "challenge", "check", "citation"):
            work.add(place, _item_path(place, path), board)
        elif place == "artifact" and name not in owned:
            work.refused.append((_printable(name), _NO_RECORD))
        elif place == "address":
            _address(work, path, board, runs)
        elif place is None:
            work.refused.append((_printable(name), _FOREIGN))
    return work


def _files(board: Path, work: Sorted) -> Iterator[Path]:
    """Yield the plain files of a board; anything else is refused, and no link is followed."""
    for folder, folders, names in os.walk(board):
        if Path(folder) == board:  # what a run leaves beside its results is not part of the board
            folders[:] = [name for name in folders if name != "work"]
            names = [name for name in names if name != "bench.json"]
        folders.sort()
        for path in (Path(folder, name) for name in sorted([*folders, *names])):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and not mode & 0o111:
                yield path
            elif not stat.S_ISDIR(mode):
                work.refused.append((_printable(path.relative_to(board).as_posix()), _NOT_PLAIN))


def of_rows(names: Sequence[str], records: Mapping[Path, AnyRecord], board: Path) -> Sorted:
    """Return the records of the rows that a user named, with the challenges to them and their later checks.

    Raises:
        UserError: if a name matches no row, or several.
    """
    work = Sorted()
    for name in names:
        for record in find_records(list(records.values()), name):
            path = path_of(board, record)
            work.add("record", path, board)
            for challenge in sorted((board / "challenges" / record.protocol / path.stem).glob("*.json")):
                work.add("challenge", challenge, board)
            checks = rechecked_path(board, record.protocol, record.run)
            if checks.exists():
                work.add("check", checks, board)
            if (citation := citation_path(board, record.run)).exists():
                work.add("citation", citation, board)
    return work


def since(history: History, records: Mapping[Path, AnyRecord]) -> Sorted:
    """Return what changed on a board since a commit.

    Raises:
        UserError: if git fails.
    """
    work, board = Sorted(), history.board
    removed = set[str]()
    for change in history.changes():
        place, name = place_of(change.name), _printable(change.name)
        if place in _LASTING and not change.gone and history.content(change.name) is not None:
            work.unchecked.append((name, "it was on the board and was changed; what is on a board stays as it is"))
        if place is None:
            if not change.gone:
                work.refused.append((name, _FOREIGN))
        elif not change.plain:
            work.refused.append((name, _NOT_PLAIN))
        elif place == "submission":
            removed |= _submission(work, change)
        elif place == "citation" and change.gone:
            continue  # it may be corrected, and withdrawn
        elif place in ("record", "evaluation", "challenge", "check", "citation"):
            if change.gone:
                work.refused.append((name, f"the {place} was removed; what is on a board must stay"))
                continue
            work.add(place, _item_path(place, board / change.name), board)
        elif place == "artifact":
            _artifact(work, change, name, records, board)
        elif place == "address":
            if change.gone:
                work.unchecked.append((name, "the address of an artifact was removed; review whether it is elsewhere"))
            else:
                _address(work, board / change.name, board, {path.stem for path in records})
        elif place == "published":
            work.unchecked.append(
                (name, "published numbers and questions are for people to review, with their sources")
            )
        elif place == "figure":
            work.unchecked.append((name, "a picture cannot be compared; draw it with `python -m benchmark figures`"))
        elif place == "prose":
            work.unchecked.append((name, "prose is for people to review"))
        elif place == "speed":
            work.unchecked.append((name, "times cannot be checked on another machine; review who measured them"))
            work.pages = True  # their form, and whether the pages show them
        elif place == "page":
            work.pages = True
    for folder in sorted(removed):
        _removed_submission(work, folder, history)
    # A challenge lowers a number of its record, as checks do; both are checked even if the record is not.
    work.items.sort(key=lambda item: (get_args(ItemKind).index(item.kind), item.path))
    return work


def _artifact(work: Sorted, change: Change, name: str, records: Mapping[Path, AnyRecord], board: Path) -> None:
    changed = Path(change.name)
    owners = [path for path, record in records.items() if f"{path.stem}{record.ending}" == changed.name]
    for owner in owners:
        work.add("record", owner, board)
    if change.gone:
        work.refused.append((name, "the artifact was removed; what is on a board must stay"))
    elif not owners:
        work.refused.append((name, _NO_RECORD))


def _address(work: Sorted, path: Path, board: Path, runs: Set[str]) -> None:
    """Refuse an address that is not valid or belongs to no record; what lies there must have the record's hash."""
    reasons = [_NO_ROW] if path.stem not in runs else []
    reasons = reasons or read_model(ArtifactAddress, path.name, read_plain(path, LIMITS[SUBMISSION]) or b"")[1]
    work.refused += [(_printable(path.relative_to(board).as_posix()), reason) for reason in reasons]


def _submission(work: Sorted, change: Change) -> set[str]:
    folder = "/".join(change.name.split("/")[:2])
    if change.gone:
        return {folder}
    reason = "submissions need a separate proposal; check them with `python -m benchmark verify`"
    if (refusal := (_printable(folder), reason)) not in work.refused:
        work.refused.append(refusal)
    return set()


def _removed_submission(work: Sorted, folder: str, history: History) -> None:
    """Refuse the removal of a pending submission unless its record is on the board, byte for byte."""
    content = history.content(f"{folder}/{RECORD}")
    described = history.content(f"{folder}/submission.json") or b""
    external = read_model(ExternalSubmission, folder, described)[0]
    submission = external or read_model(Submission, folder, described)[0]
    if content is None or submission is None:
        work.unchecked.append(
            (_printable(folder), "it was removed and was not a complete submission; review it by hand")
        )
        return
    path = record_path if external is None else external_path
    accepted = read_plain(path(history.board, submission.protocol, submission.run), LIMITS[RECORD])
    if accepted != content:
        work.refused.append((_printable(folder), "the submission was removed although its record is not on the board"))


def _artifact_beside(path: Path) -> Path:
    """Return the path of the artifact for the file of a record or of its later checks."""
    ending = ExternalRecord.ending if path.parents[1].name == FOLDER else Record.ending
    return path.parents[2] / "artifacts" / f"{path.stem}{ending}"


def _item_path(kind: ItemKind, path: Path) -> Path:
    """Return the file that an item is about: that of a challenge's images is its JSON."""
    return path if kind == "citation" else path.with_suffix(".json")


def _printable(name: str) -> str:
    return ascii(name)[1:-1]
