"""Unpickles CIFAR's files, and nothing else: a pickle from the internet may otherwise run any program.

Not even numpy's own classes are offered to the pickle. `numpy.dtype` takes flags from it that make numpy follow
any bytes as addresses; the stand-ins below take only type, shape and bytes. `pickle_machine` bounds what is built.
"""

from __future__ import annotations

import mmap
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.readers.part import reading
from benchmark.data.readers.pickle_machine import build
from benchmark.errors import UserError

_MAX_KEYS = 100  # entries of a dictionary; the official files have up to five
_MAX_TEXT = 200  # characters of a key or a class name


class _Dtype:
    """Stands in for `numpy.dtype`; numbers only."""

    def __init__(self, spec: Any, align: Any = False, copy: Any = False) -> None:
        name = text(spec)
        if not re.fullmatch(r"[<>|=]?[biuf]\d{1,2}", name):
            raise pickle.UnpicklingError(f"an array holds {name} instead of numbers")
        self.dtype: np.dtype[Any] = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        byte_order = text(state[1])
        self.dtype = self.dtype if byte_order == "|" else self.dtype.newbyteorder(byte_order)  # type: ignore[arg-type]


class _Array:
    """Stands in for `numpy.ndarray`; `values` is the array."""

    values: NDArray[Any]

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, content = state
        self._fill(content, dtype, shape, "F" if is_fortran else "C")

    def _fill(self, content: Any, dtype: _Dtype, shape: Any, order: Any) -> None:
        # Python 2's text is what Python 3 calls bytes.
        content = content.encode("latin1") if isinstance(content, str) else content
        self.values = np.frombuffer(content, dtype.dtype).reshape(shape, order=order)


def _reconstruct(subtype: Any, shape: Any, kind: Any) -> _Array:
    return _Array()  # filled by `__setstate__`


def _frombuffer(content: Any, dtype: _Dtype, shape: Any, order: Any) -> _Array:
    # How protocol 5 stores arrays.
    array = _Array()
    array._fill(content, dtype, shape, order)
    return array


def _scalar(dtype: _Dtype, content: Any) -> Any:
    array = _Array()
    array._fill(content, dtype, (), "C")
    return array.values.item()


def _encode(value: str, encoding: str) -> bytes:
    # How protocols 0 to 2 store bytes under Python 3. Other codecs are not needed, so they are not offered.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are encoded as {text(encoding)!r}")
    return value.encode("latin1")


def _empty_bytes() -> bytes:
    # How protocols 0 to 2 store empty bytes.
    return b""


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _empty_bytes,
    # Numpy 1 and numpy 2 call the same modules differently.
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
}


def load_dict(file: Path) -> dict[str, Any]:
    """Unpickle a dictionary with text keys and values made of arrays, lists, text and numbers.

    What is built takes no more memory than a few times the file; lists may be nested as deep as the file says.

    Args:
        file: a pickle of any protocol, written by Python 2 or 3; its keys may be bytes.

    Raises:
        UserError: if the file is broken, holds something else or asks for any other global.
    """

    def find(module: str, name: str) -> Any:
        allowed = _ALLOWED.get((module, name))
        if allowed is None:
            raise UserError(
                f"{file} was refused: it asks for {text(module)}.{text(name)}, which no image file needs and "
                "which could run a program. Fetch the file again from its official source."
            )
        return allowed

    with reading(file, "a CIFAR pickle"), file.open("rb") as stream:
        # Mapped, so that a length in the pickle that the file does not have allocates nothing.
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            loaded = build(content, find)  # type: ignore[arg-type]
        if not isinstance(loaded, dict):
            raise UserError(f"{file} must hold a dictionary, got {type(loaded).__name__}.")
        if len(loaded) > _MAX_KEYS:
            raise UserError(f"{file} holds a dictionary of {len(loaded)} entries, at most {_MAX_KEYS} are read.")
        return {text(key): value.values if isinstance(value, _Array) else value for key, value in loaded.items()}


def text(value: Any) -> str:
    """Return a key or class name as text, whether it was pickled as bytes or as text.

    Raises:
        UnpicklingError: if it is neither, or longer than any name.
    """
    if not isinstance(value, str | bytes) or len(value) > _MAX_TEXT:
        got = f"{len(value)} characters" if isinstance(value, str | bytes) else type(value).__name__
        raise pickle.UnpicklingError(f"a name is {got} instead of a text of at most {_MAX_TEXT} characters")
    return value.decode("latin1") if isinstance(value, bytes) else value


def entry(content: dict[str, Any], key: str, file: Path) -> Any:
    """Return `content[key]`; raises UserError listing the keys there are."""
    if key not in content:
        raise UserError(f"{file} has no entry '{key}', only: {', '.join(sorted(content)) or 'nothing'}.")
    return content[key]


def image_rows(value: Any, file: Path) -> NDArray[np.uint8]:
    """Return CIFAR's rows of 3072 bytes as uint8 (N, 3, 32, 32); raises UserError for another shape."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.shape[1:] != (3072,):
        got = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise UserError(f"{file}: 'data' must be uint8 of shape (N, 3072), got {got}.")
    return value.reshape(-1, 3, 32, 32)
