"""Reads plain numeric arrays from MATLAB 5 files, which is all that SVHN needs.

`scipy.io.loadmat` is not used because some broken files crash the whole process (scipy 1.17: an array that claims to
be sparse or complex). The format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
# Storage types by their number in the file.
_INTEGERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 12: "i8", 13: "u8"}
_DTYPES = {**_INTEGERS, 7: "f4", 9: "f8"}


def read_mat(file: Path) -> dict[str, NDArray[Any]]:
    """Return the numeric arrays of a little-endian MATLAB 5 file by name, in their storage type.

    Raises:
        ValueError, OSError, struct.error, zlib.error: if the file is of another kind, truncated or inconsistent.
    """
    content = memoryview(file.read_bytes())
    if bytes(content[126:_HEADER]) != b"IM":
        raise ValueError("the header is not that of a little-endian MATLAB 5 file")
    arrays = {}
    for kind, payload in _elements(content[_HEADER:]):
        if kind == _COMPRESSED:
            ((kind, payload),) = _elements(memoryview(zlib.decompress(payload)))
        if kind == _MATRIX:
            name, array = _matrix(payload)
            arrays[name] = array
    return arrays


def _elements(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Split into (type, payload); type and length are 32-bit numbers, or 16-bit for payloads of up to 4 bytes."""
    start = 0
    while start < len(content):
        kind, size = struct.unpack_from("<II", content, start)
        if kind >> 16:
            kind, size, first, end = kind & 0xFFFF, kind >> 16, start + 4, start + 8
        else:
            first = start + 8
            # All elements except compressed ones are padded to a multiple of 8 bytes.
            end = first + size + (0 if kind == _COMPRESSED else -size % 8)
        if first + size > len(content):
            raise ValueError("it is truncated")
        yield kind, content[first : first + size]
        start = end


def _matrix(payload: memoryview) -> tuple[str, NDArray[Any]]:
    (_, _flags), (_, shape), (_, name), *data = _elements(payload)
    if len(data) != 1 or data[0][0] not in _DTYPES:
        raise ValueError(f"{bytes(name).decode('latin1')!r} is not an array of real numbers")
    kind, values = data[0]
    array = np.frombuffer(values, dtype=f"<{_DTYPES[kind]}")
    # Unsigned, because numpy takes a length of -1 for "whatever fits".
    return bytes(name).decode("latin1"), array.reshape(np.frombuffer(shape, dtype="<u4").tolist(), order="F")
