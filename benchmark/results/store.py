"""Records on disk: folder/records/<protocol>/<run>.json, one file per record, written whole or not at all.

Those of networks that were trained elsewhere are in folder/external/<protocol>/<run>.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from benchmark.errors import UserError
from benchmark.files.mistakes import first_mistake
from benchmark.files.plain import files_below, open_below, read_below, refuse_links
from benchmark.files.writing import replacing
from benchmark.results.external import FOLDER, AnyRecord, ExternalRecord
from benchmark.results.record import Record

M = TypeVar("M", bound=BaseModel)

RECORD_BYTES = 2**22  # at most, of a record, an evaluation or another JSON file of a board
ARTIFACT_BYTES = 2**30  # at most, of an artifact

# A part starts with a letter or digit, hence neither ".." nor an empty part passes.
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")


def record_path(folder: Path, protocol: str, run: str) -> Path:
    """Return the path of the record of `run`: folder/records/<protocol>/<run, "/" written as "__">.json.

    Raises:
        UserError: if a name could lead outside the folder or be mistaken for another run, or the path is a link.
    """
    return _path(folder, "records", protocol, run)


def external_path(folder: Path, protocol: str, run: str) -> Path:
    """Return the path of the record of a network that was trained elsewhere; raises like `record_path`."""
    return _path(folder, FOLDER, protocol, run)


def _path(folder: Path, kind: str, protocol: str, run: str) -> Path:
    name = f"{_file_name('run', run.split('/'))}.json"
    return refuse_links(folder / kind / _file_name("protocol", [protocol]) / name, folder)


def path_of(folder: Path, record: AnyRecord) -> Path:
    """Return the path of a record below `folder`; raises like `record_path`."""
    kind = FOLDER if isinstance(record, ExternalRecord) else "records"
    return _path(folder, kind, record.protocol, record.run)


def _file_name(what: str, parts: list[str]) -> str:
    # "__" is the separator of the file name, so that no part may contain it.
    if not all(_PART.fullmatch(part) and "__" not in part for part in parts):
        raise UserError(
            f"the {what} name {'/'.join(parts)!r} cannot be a file name: its parts start with a letter or digit "
            f"and continue with letters, digits and . _ = + -, without '__'."
        )
    return "__".join(parts)


def artifact_path(folder: Path, run: str, ending: str = Record.ending) -> Path:
    """Return the path of the network of `run`: folder/artifacts/<run, "/" written as "__"> and the ending.

    Raises:
        UserError: if the name could lead outside the folder or be mistaken for another run, or the path is a link.
    """
    return refuse_links(folder / "artifacts" / f"{_file_name('run', run.split('/'))}{ending}", folder)


def artifact_problem(folder: Path, record: AnyRecord) -> str:
    """Return why the artifact below `folder` is not the file that was measured; empty if it is, or is absent.

    An absent artifact is no problem: large ones may be kept elsewhere, and the hash identifies the right file.

    Raises:
        UserError: if it is a link or not a plain file.
    """
    file = open_below(artifact_path(folder, record.run, record.ending), folder, ARTIFACT_BYTES)
    if file is None:
        return ""
    with file:
        size = os.fstat(file.fileno()).st_size
        if size != record.artifact.size_bytes:
            return f"its artifact has {size:,} bytes, the record was measured on one of {record.artifact.size_bytes:,}"
        if hashlib.file_digest(file, "sha256").hexdigest() != record.artifact.sha256:
            return "its artifact is not the file that the record was measured on"
    return ""


def check_folder(folder: Path, option: str = "--out") -> None:
    """Raise UserError, naming the option, unless the folder of results exists and is not a folder inside one."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give {option} the folder that holds records/")
    if not (folder / "records").is_dir() and (folder.parent / "records").is_dir():
        raise UserError(f"{folder} holds no records/; give {option} the folder that does, {folder.parent}")


def make_folders(folder: Path, *names: str) -> None:
    """Make folders below `folder`, before anything is computed that could not be stored there.

    Raises:
        UserError: if one of them is a link, or cannot be made or written to.
    """
    for place in (folder / name for name in names):
        refuse_links(place, folder)
        try:
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            raise UserError(
                f"--out {folder}: cannot write into {place} ({error.strerror}); name another folder"
            ) from None


def save_record(record: Record, folder: Path) -> Path:
    """Write a record below `folder`, replacing an older one of the same run, and return the path.

    Raises:
        UserError: if the record's protocol or run cannot be a file name.
    """
    path = record_path(folder, record.protocol, record.run)
    write_model(path, record)
    return path


def load_records(folder: Path) -> list[Record]:
    """Read all records below `folder`, ordered by protocol and run; an absent folder holds none.

    Raises:
        UserError: if a file is not a valid record or does not lie where its content says.
    """
    return [record for record, _ in load_hashed_records(folder)]


def load_all(folder: Path) -> list[AnyRecord]:
    """Read all records below `folder`, those of networks trained elsewhere last; raises like `load_records`."""
    return [*load_records(folder), *(record for record, _ in load_hashed_external(folder))]


def load_record(folder: Path, protocol: str, run: str) -> Record:
    """Read the record of a run under a protocol.

    Raises:
        UserError: if it is missing, is not valid or does not lie where its content says.
    """
    return _load(record_path(folder, protocol, run), folder)[0]


def load_hashed_records(folder: Path) -> list[tuple[Record, str]]:
    """Read all records below `folder` like `load_records`, each with the SHA-256 of its file.

    The hash ignores Windows line endings: it is that of the file as `save_record` writes it.

    Raises:
        UserError: if a file is not a valid record or does not lie where its content says.
    """
    records = [_load(path, folder) for path in files_below(folder / "records", folder, ".json")]
    return sorted(records, key=lambda pair: (pair[0].protocol, pair[0].run))


def load_hashed_external(folder: Path) -> list[tuple[ExternalRecord, str]]:
    """Read all records of networks trained elsewhere like `load_hashed_records`."""
    records = []
    for path in files_below(folder / FOLDER, folder, ".json"):
        record, content = load_placed(
            path, folder, ExternalRecord, lambda each: path_of(folder, each), remedy="submit the network again"
        )
        records.append((record, record_digest(content)))
    return sorted(records, key=lambda pair: (pair[0].protocol, pair[0].run))


def model_text(model: BaseModel) -> str:
    """Return a model as sorted, indented JSON."""
    return json.dumps(model.model_dump(mode="json"), indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_model(path: Path, model: BaseModel) -> None:
    """Write a model as `model_text` spells it, whole or not at all; its folder is made if need be."""
    write_atomic(path, model_text(model))


def load_placed(
    path: Path, folder: Path, model: type[M], place: Callable[[M], Path], *, remedy: str
) -> tuple[M, bytes]:
    """Read a JSON file that must lie where its content says; return the content and its bytes.

    Args:
        path: of the file.
        folder: of results; no part of `path` below it may be a link.
        model: of the content.
        place: returns where a file of this content belongs.
        remedy: how to get such a file again.

    Raises:
        UserError: if the file is missing, is not valid or does not lie where its content says.
    """
    content = read_below(path, folder, RECORD_BYTES)
    if content is None:
        raise UserError(f"there is no file {path}; {remedy}")
    try:
        parsed = model.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_mistake(error)}; delete the file, and {remedy}") from None
    try:
        expected = place(parsed)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if path != expected:
        raise UserError(f"{path}: its content belongs to {expected}; move the file back or delete it")
    return parsed, content


def write_atomic(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Write bytes, or text as UTF-8, so that `path` holds either the old or all of the new content, even after a crash.

    Args:
        path: of the file; its folder is made if need be.
        content: the whole file.
        durable: whether it must survive a power cut after this returns.

    Raises:
        UserError: if the system refuses, for example because the disk is full.
    """
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def _load(path: Path, folder: Path) -> tuple[Record, str]:
    record, content = load_placed(
        path, folder, Record, lambda each: record_path(folder, each.protocol, each.run), remedy="repeat the run"
    )
    return record, record_digest(content)


def record_digest(content: bytes) -> str:
    """Return the SHA-256 of a record's file, whatever its line endings."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()
