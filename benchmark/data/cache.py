"""Caches decoded images on disk, so that compressed files are decoded once and not by every experiment.

The key of an entry is the content of the files it was decoded from, hashed in full every time: a file can change while
its size and time stay the same, and hashing takes a twentieth of the time of decoding. An entry is used only if it
belongs to this user, nobody else may write to it, and its images and labels still have the hash they were stored with;
otherwise the files are decoded again. A cache that cannot be written is reported in a note, not as an error.

The folder is `$ROBUST_COMPRESSION_CACHE`, else `robust-compression-benchmark` in `$XDG_CACHE_HOME` or `~/.cache`. It
may be deleted at any time, and holds at most 4 GB, the most recently used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from benchmark.data.readers.part import DecodingReader, Part, RawPart, Reader
from benchmark.files.text import terminal_line
from benchmark.files.writing import temporary_folder

VERSION = 2  # raise it when a reader returns something else for the same files
MAX_BYTES = 4_000_000_000
MIN_SECONDS = 0.5  # of decoding; faster parts are not cached
ENTRY = re.compile(r"[0-9a-f]{32}\.safetensors")  # name of an entry


def read_part(reader: Reader, name: str, part: Part) -> RawPart:
    """Return what `reader.read(part)` returns, from the cache if it is there.

    Args:
        reader: reader of the data set.
        name: name of the data set.
        part: the part to read; no file of the other one is touched.

    Raises:
        UserError: if the data are missing or broken.
    """
    if not isinstance(reader, DecodingReader):
        return reader.read(part)
    key = _key(reader, name, part)
    if key is None:
        return reader.read(part)
    try:
        path = cache_folder() / f"{key}.safetensors"
    except RuntimeError:  # a user without a home, as in some containers
        return reader.read(part)
    cached = _load(path, key, reader.encoded_files(part))
    if cached is not None:
        return cached
    started = time.perf_counter()
    decoded = reader.read(part)
    # The key again, as the files may have changed between hashing and decoding.
    if time.perf_counter() - started >= MIN_SECONDS and _key(reader, name, part) == key:
        try:
            _store(path, key, decoded)
        except (OSError, SafetensorError) as error:
            note = f"note: {name} could not be cached in {path.parent} and is decoded every time ({error})"
            print(terminal_line(note), file=sys.stderr)
    return decoded


def cache_folder() -> Path:
    """Return the folder of the entries, which may not exist yet.

    Raises:
        RuntimeError: if it would lie in the home folder and the user has none.
    """
    if own := os.environ.get("ROBUST_COMPRESSION_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "robust-compression-benchmark"


def _key(reader: DecodingReader, name: str, part: Part) -> str | None:
    """Hash everything that the decoded part depends on; None if a file cannot be read, which the reader reports."""
    settings = [VERSION, PIL.__version__, type(reader).__name__, name, part, reader.class_names()]
    digest = hashlib.sha256(json.dumps(settings).encode())
    try:
        for path in reader.encoded_files(part):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(json.dumps([path.parent.name, path.name, content]).encode())
    except OSError:
        return None
    return digest.hexdigest()[:32]


def _load(path: Path, key: str, files: tuple[Path, ...]) -> RawPart | None:
    """Return an entry; None if it is missing or cannot be trusted."""
    try:
        status = path.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            return None
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            images, labels = file.get_tensor("images"), file.get_tensor("labels")
        rows = tuple(zip(files, json.loads(metadata.get("counts", "[]")), strict=True))
        encodings = frozenset(json.loads(metadata.get("encodings", "[]")))
    except (OSError, SafetensorError, ValueError, TypeError):
        return None
    if images.dtype != np.uint8 or images.ndim != 4 or labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        return None
    stored = RawPart(images, labels, rows, encodings)
    if metadata.get("key") != key or metadata.get("sha256") != stored.sha256:
        return None
    with suppress(OSError):
        os.utime(path)  # marks it as recently used
    return stored


def _store(path: Path, key: str, part: RawPart) -> None:
    size = part.images.nbytes + part.labels.nbytes
    if size > MAX_BYTES:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_room(path.parent, size)
    metadata = {
        "key": key,
        "sha256": part.sha256,
        "counts": json.dumps([count for _, count in part.files]),
        "encodings": json.dumps(sorted(part.encodings)),
    }
    tensors: dict[str, NDArray[Any]] = {"images": np.ascontiguousarray(part.images), "labels": part.labels}
    with temporary_folder(path.parent) as folder:  # safetensors writes a temporary file of its own
        entry = folder / path.name
        save_file(tensors, entry, metadata=metadata)
        entry.chmod(0o600)
        os.replace(entry, path)


def _make_room(folder: Path, size: int) -> None:
    """Delete the least recently used entries until `size` bytes fit; other files do not count and are kept."""
    entries = []
    for entry in folder.iterdir():
        with suppress(FileNotFoundError):  # another process has replaced or deleted it
            if ENTRY.fullmatch(entry.name):
                status = entry.stat()
                entries.append((status.st_mtime, status.st_size, entry))
    entries.sort()
    total = sum(entry_size for _, entry_size, _ in entries)
    for _, entry_size, entry in entries:
        if total + size <= MAX_BYTES:
            return
        entry.unlink(missing_ok=True)
        total -= entry_size
