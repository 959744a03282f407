"""The bytes of an artifact: a safetensors file with fixed tensors, a canonical header and a hash at the end."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.errors import UserError
from benchmark.files.mistakes import first_mistake

FORMAT: Final = "robust-compression-artifact"  # the only key of the file's metadata; its value is the manifest
MAX_BYTES = 2**30
MAX_HEADER = 2**14
SEAL_BYTES = 32
ALIGNMENT = 8  # bytes; alignment of the first tensor
_BEGIN = f'{{"__metadata__":{{"{FORMAT}":'.encode()  # start of every file, after the length of the header

# Tensors in file order. Larger types come first, so that every tensor is aligned.
DTYPES = {
    "kept": ("U32",),
    "levels": ("F32",),
    "values": ("F32",),
    "norm": ("F32", "F16", "U8"),
    "exponents": ("I8",),
    "signs": ("U8",),
    "positions": ("U8",),
    "sha256": ("U8",),
}
_NUMPY = {"U32": "<u4", "F32": "<f4", "F16": "<f2", "I8": "i1", "U8": "u1"}
_SAFETENSORS = {np.dtype(numpy): name for name, numpy in _NUMPY.items()}

Tensors = dict[str, NDArray[Any]]
Length = Annotated[int, Field(ge=0, le=MAX_BYTES)]


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    dtype: Literal["U32", "F32", "F16", "I8", "U8"]
    shape: Annotated[tuple[Length, ...], Field(max_length=2)]
    data_offsets: tuple[Length, Length]


class _Header(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    metadata: dict[Literal["robust-compression-artifact"], str] = Field(alias="__metadata__", min_length=1)
    kept: _Entry
    levels: _Entry
    values: _Entry
    norm: _Entry
    exponents: _Entry
    signs: _Entry
    positions: _Entry
    sha256: _Entry


def refused(reason: str) -> UserError:
    """Return the error for content that is not a valid artifact."""
    return UserError(f"the artifact is refused because {reason}: fetch the file again or pack the network again.")


def check_shape(tensors: Tensors, name: str, shape: tuple[int, ...]) -> None:
    """Raise UserError for a tensor of another shape than a network needs."""
    if tensors[name].shape != shape:
        raise refused(f"tensor {name} has shape {tensors[name].shape}, but its network needs {shape}")


def write(manifest: str, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the content of the file for a manifest and all tensors of `DTYPES` except the seal."""
    sealed = {**tensors, "sha256": np.zeros(SEAL_BYTES, np.uint8)}
    shapes = {name: (_SAFETENSORS[sealed[name].dtype], sealed[name].shape) for name in DTYPES}
    body = _header(manifest, shapes) + b"".join(sealed[name].tobytes() for name in DTYPES)
    body = body[:-SEAL_BYTES]
    return body + hashlib.sha256(body).digest()


def read(content: bytes) -> tuple[str, Tensors]:
    """Return the manifest and the tensors of a file, as views of `content`; the seal is checked first.

    Raises:
        UserError: for any content that `write` does not write.
    """
    if len(content) > MAX_BYTES:
        raise refused(f"it has {len(content):,} bytes, more than {MAX_BYTES:,}")
    if not content.startswith(_BEGIN, 8):
        raise refused("it does not start like one")
    if hashlib.sha256(memoryview(content)[:-SEAL_BYTES]).digest() != content[-SEAL_BYTES:]:
        raise refused("its SHA-256 does not match its content, as after a broken transfer")
    length = int.from_bytes(content[:8], "little")
    if length > MAX_HEADER:
        raise refused(f"its header claims {length:,} bytes, more than {MAX_HEADER:,}")
    try:
        header = _Header.model_validate_json(content[8 : 8 + length])
    except ValidationError as error:
        raise refused(f"its header is wrong ({first_mistake(error)})") from None
    entries: dict[str, _Entry] = {name: getattr(header, name) for name in DTYPES}
    for name, entry in entries.items():
        if entry.dtype not in DTYPES[name]:
            raise refused(f"tensor {name} has type {entry.dtype} instead of {' or '.join(DTYPES[name])}")
    shapes = {name: (entry.dtype, entry.shape) for name, entry in entries.items()}
    manifest = header.metadata[FORMAT]
    expected = _header(manifest, shapes)
    if content[: 8 + length] != expected:
        raise refused("its header is not written as the format requires")
    if len(content) != len(expected) + sum(_bytes(*shape) for shape in shapes.values()):
        raise refused("it is longer or shorter than its header says")
    if shapes["sha256"][1] != (SEAL_BYTES,):
        raise refused(f"tensor sha256 does not have {SEAL_BYTES} bytes")
    position, tensors = len(expected), {}
    for name, (dtype, shape) in shapes.items():
        flat = np.frombuffer(content, _NUMPY[dtype], math.prod(shape), position)
        tensors[name] = flat.reshape(shape)
        position += _bytes(dtype, shape)
    return manifest, tensors


def _header(manifest: str, shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> bytes:
    """Return the length and the JSON of a safetensors header, padded with spaces."""
    entries: dict[str, Any] = {"__metadata__": {FORMAT: manifest}}
    position = 0
    for name, (dtype, shape) in shapes.items():
        end = position + _bytes(dtype, shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": (position, end)}
        position = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _bytes(dtype: str, shape: tuple[int, ...]) -> int:
    return np.dtype(_NUMPY[dtype]).itemsize * math.prod(shape)
