"""Unpickles CIFAR's files and nothing else: a pickle from the internet could otherwise run any program.

Not even numpy's own classes are available to the pickle: flags that it passes to `numpy.dtype` can make numpy treat
arbitrary bytes as addresses. The substitutes below take only type, shape and bytes. `pickle_machine` bounds the result.
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
    """Substitute for `numpy.dtype`; numbers only."""

    def __init__(self, spec: Any, align: Any = False, copy: Any = False) -> None:
        name = text(spec)
        if not re.fullmatch(r"[<>|=]?[biuf]\d{1,2}", name):
            raise pickle.UnpicklingError(f"an array holds {name} instead of numbers")
        self.dtype: np.dtype[Any] = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        byte_order = text(state[1])
        self.dtype = self.dtype if byte_order == "|" else self.dtype.newbyteorder(byte_order)  # type: ignore[arg-type]


class _Array:
    """Substitute for `numpy.ndarray`; `values` is the array."""

    values: NDArray[Any]

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, content = state
        self._fill(content, dtype, shape, "F" if is_fortran else "C")

    def _fill(self, content: Any, dtype: _Dtype, shape: Any, order: Any) -> None:
        # A Python 2 string is what Python 3 calls bytes.
        content = content.encode("latin1") if isinstance(content, str) else content
        self.values = np.frombuffer(content, dtype.dtype).reshape(shape, order=order)


def _reconstruct(subtype: Any, shape: Any, kind: Any) -> _Array:
    return _Array()  # filled by `__setstate__`


def _frombuffer(content: Any, dtype: _Dtype, shape: Any, order: Any) -> _Array:
    # Protocol 5 stores arrays this way.
    array = _Array()
    array._fill(content, dtype, shape, order)
    return array


def _scalar(dtype: _Dtype, content: Any) -> Any:
    array = _Array()
    array._fill(content, dtype, (), "C")
    return array.values.item()


def _encode(value: str, encoding: str) -> bytes:
    # Protocols 0 to 2 store bytes this way under Python 3. No other codec is needed.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are encoded as {text(encoding)!r}")
    return value.encode("latin1")


def _empty_bytes() -> bytes:
    # Protocols 0 to 2 store empty bytes this way.
    return b""


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _empty_bytes,
    # Numpy 1 and numpy 2 have different names for these modules.
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
}


def load_dict(file: Path) -> dict[str, Any]:
    """Unpickle a dictionary with text keys and values made of arrays, lists, text and numbers.

    The result takes at most a few times the memory of the file; lists may be nested to any depth.

    Args:
        file: a pickle of any protocol, written by Python 2 or 3; its keys may be bytes.

    Raises:
        UserError: if the file is broken, holds something else or requests any other global.
    """

    def find(module: str, name: str) -> Any:
        allowed = _ALLOWED.get((module, name))
        if allowed is None:
            raise UserError(
                f"{file} was refused: it requests {text(module)}.{text(name)}, which no image file needs and "
                "which could run a program. Download the file again from its official source."
            )
        return allowed

    with reading(file, "a CIFAR pickle"), file.open("rb") as stream:
        # Mapped, so that a false length in the pickle allocates nothing.
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            loaded = build(content, find)  # type: ignore[arg-type]
        if not isinstance(loaded, dict):
            raise UserError(f"{file} must hold a dictionary, got {type(loaded).__name__}.")
        if len(loaded) > _MAX_KEYS:
            raise UserError(f"{file} holds a dictionary of {len(loaded)} entries; the maximum is {_MAX_KEYS}.")
        return {text(key): value.values if isinstance(value, _Array) else value for key, value in loaded.items()}


def text(value: Any) -> str:
    """Return a key or class name as text, whether it was pickled as bytes or as text.

    Raises:
        UnpicklingError: if it is neither, or longer than any name.
    """
    if not isinstance(value, str | bytes) or len(value) > _MAX_TEXT:
        got = f"{len(value)} characters long" if isinstance(value, str | bytes) else type(value).__name__
        raise pickle.UnpicklingError(f"a name is {got} instead of text of at most {_MAX_TEXT} characters")
    return value.decode("latin1") if isinstance(value, bytes) else value


def entry(content: dict[str, Any], key: str, file: Path) -> Any:
    """Return `content[key]`; raises UserError listing the keys if it is missing."""
    if key not in content:
        raise UserError(f"{file} has no entry '{key}', only: {', '.join(sorted(content)) or 'nothing'}.")
    return content[key]


def image_rows(value: Any, file: Path) -> NDArray[np.uint8]:
    """Return CIFAR's rows of 3072 bytes as uint8 (N, 3, 32, 32); raises UserError for another shape."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.shape[1:] != (3072,):
        got = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise UserError(f"{file}: 'data' must be uint8 of shape (N, 3072), got {got}.")
    return value.reshape(-1, 3, 32, 32)
