"""Recognises file types by content, not by name; nothing is executed, unpickled or unpacked."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import IO, NamedTuple

EVALUATE = "and call benchmark.evaluate(network, dataset, protocol)"
ONNX_NETWORK = "an ONNX network"
TORCHSCRIPT = "a TorchScript network"
EXPORTED = "a torch.export program"
CHECKPOINT = "a PyTorch checkpoint, as torch.save writes around a pickle"
OLD_CHECKPOINT = "a pickle of an old PyTorch version"
MEASURE = "`evaluate FILE --dataset NAME` measures it"
MEASURE_WEIGHTS = "`evaluate FILE --dataset NAME --arch ARCHITECTURE` measures it if it holds a state dict alone"
UNPICKLE = f"build the network in Python, load its weights, only from files you trust, {EVALUATE}"
WEIGHTS = f"build the network in Python, load these weights {EVALUATE}"
UNPACK = "unpack it first"
EVALUATED = "a result of `evaluate`"
ADVERSARIAL = "a file of adversarial images"

# First bytes that identify a file type. Pickles of protocols 0 and 1 have none.
_BEGINNINGS = (
    *((b"\x80" + bytes([version]) + b"\x8a\nl\xfc\x9cF\xf9", OLD_CHECKPOINT) for version in range(2, 6)),
    *((b"\x80" + bytes([version]), "a pickle") for version in range(2, 6)),
    (b"PK\x03\x04", "a zip archive, as torch.save writes around a pickle"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\x93NUMPY", "a numpy file, which may hold a pickle"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x7fELF", "an executable"),
    (b"MZ", "an executable"),
    (b"\xcf\xfa\xed\xfe", "an executable"),
    (b"#!", "a script"),
    (b"GGUF", "a GGUF file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"version https://git-lfs", "a Git LFS pointer"),
)
_ACTIONS = {
    OLD_CHECKPOINT: MEASURE_WEIGHTS,
    "a pickle": UNPICKLE,
    "an HDF5 file": f"build the network in PyTorch with the weights from this file {EVALUATE}",
    "a Git LFS pointer": "fetch the file itself by `git lfs pull`",
}
BEGINNING = 512  # bytes to inspect; the mark of a tar archive is at byte 257
_JSON_LIMIT = 2**26  # bytes; records have some thousands
_HEADER_LIMIT = 2**26  # bytes of a safetensors header


class Kind(NamedTuple):
    """The type of a file, with its article, and what the user can do with it."""

    name: str
    action: str
    safetensors: bool = False  # whether its tensors can be read


def kind_of_beginning(beginning: bytes) -> Kind | None:
    """Return the type of a file from its first bytes, up to `BEGINNING` of them; None if they do not identify it."""
    if is_safetensors(beginning):  # its length may look like another type
        return None
    for magic, name in _BEGINNINGS:
        if beginning.startswith(magic):
            return Kind(name, _ACTIONS.get(name, UNPACK if "archive" in name else "give another file"))
    if beginning[257:262] == b"ustar":
        return Kind("a tar archive", UNPACK)
    if beginning[4:8] == b"TFL3":
        return Kind("a TensorFlow Lite network", f"build the network in PyTorch {EVALUATE}")
    return None


def is_safetensors(beginning: bytes) -> bool:
    """Return whether a file's first bytes are those of a safetensors file: JSON after its length in eight bytes."""
    return beginning[8:9] == b"{"


def kind_of_content(path: Path) -> Kind | None:
    """Return the type of a regular file; None if it is not recognised.

    Raises:
        OSError: if it cannot be read.
    """
    # O_NONBLOCK: opening a pipe without a writer would otherwise block.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        beginning = file.read(BEGINNING)
        if not beginning:
            return Kind("an empty file", "fetch or write it again")
        if is_safetensors(beginning):
            return _safetensors_kind(file, size)
        if beginning.startswith(b"PK\x03\x04"):
            return _zip_kind(file)
        if (kind := kind_of_beginning(beginning)) is not None:
            return kind
        text = beginning.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if text.startswith((b"{", b"[")):
            return _json_kind(file)
        if text.startswith((b"<!doctype html", b"<html")):
            return Kind("a web page", "fetch the file itself: a server sent this page instead of it")
        if _is_onnx(file, size):
            return Kind(ONNX_NETWORK, MEASURE)
    return Kind("a text file", "give another file") if _is_text(beginning) else None


def _zip_kind(file: IO[bytes]) -> Kind:
    """Distinguish the archive types of PyTorch and numpy by the names in them."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name.partition("/")[2] or name for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return Kind("a damaged zip archive", "fetch or write it again")
    if any(name.startswith("code/") for name in names) and "constants.pkl" in names:
        return Kind(TORCHSCRIPT, MEASURE)
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return Kind(EXPORTED, MEASURE)
    if "data.pkl" in names:
        return Kind(CHECKPOINT, MEASURE_WEIGHTS)
    if names and all(name.endswith(".npy") for name in names):
        return Kind("a numpy archive of arrays", WEIGHTS)
    return Kind("a zip archive", UNPACK)


def _safetensors_kind(file: IO[bytes], size: int) -> Kind | None:
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > min(_HEADER_LIMIT, size):
        return None
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or "robust-compression-artifact" in (header.get("__metadata__") or {}):
        return None  # the reader of artifacts reports what is wrong
    if "x_adv" in header:
        return Kind(ADVERSARIAL, "pass it to `challenge`", safetensors=True)
    tensors = len(header.keys() - {"__metadata__"})
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    if 8 + length + max(ends, default=0) > size:
        return Kind("a truncated safetensors file", "fetch or write it again")
    return Kind(f"a safetensors file of {tensors} tensors without a network", MEASURE_WEIGHTS, safetensors=True)


def _json_kind(file: IO[bytes]) -> Kind:
    file.seek(0)
    try:
        document = json.loads(file.read(_JSON_LIMIT))
    except (ValueError, RecursionError):
        return Kind("a text file", "give another file")
    keys = set(document) if isinstance(document, dict) else set()
    if {"run", "artifact", "evaluation", "provenance"} <= keys and isinstance(document["run"], str):
        name = document["run"].replace("/", "__")
        return Kind("a record", f"its artifact is artifacts/{name}.safetensors below the same folder of results")
    if {"record_sha256", "sample"} <= keys:
        return Kind("the description of a submission", "pass its folder to `verify`")
    if {"artifact", "protocol", "machine"} <= keys:
        return Kind(EVALUATED, "give the artifact that was measured")
    return Kind("a JSON file", "give another file")


def _is_onnx(file: IO[bytes], size: int) -> bool:
    """Return whether the top-level field numbers of a protobuf file are those of ONNX's ModelProto."""
    lengths, numbers = {2, 3, 4, 6, 7, 8, 14, 20, 25, 26}, {1, 5}  # numbers of the fields that hold bytes, and integers
    file.seek(0)
    present, position = set(), 0
    while position < size:
        tag = _varint(file)
        value = _varint(file)
        if tag is None or value is None:
            return False
        field, wire = tag >> 3, tag & 7
        if (wire, field in lengths, field in numbers) not in ((2, True, False), (0, False, True)):
            return False
        present.add(field)
        position = file.tell() + (value if wire == 2 else 0)
        file.seek(position)
    return position == size and {1, 7} <= present


def _varint(file: IO[bytes]) -> int | None:
    """Read a protobuf varint; None if there is none."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None


def _is_text(beginning: bytes) -> bool:
    text = beginning.decode("utf-8", errors="ignore")  # the last character may be truncated
    whole = len(text.encode()) > len(beginning) - 4
    return whole and all(character.isprintable() or character in "\t\n\r\f" for character in text)
