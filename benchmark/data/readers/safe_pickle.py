"""Unpickles CIFAR's files, and nothing else: a pickle from the internet may otherwise run any program.

Not even numpy's own classes are offered to the pickle. `numpy.dtype` takes flags from it that make numpy follow
any bytes as addresses; the stand-ins below take only type, shape and bytes.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.readers.part import reading
from benchmark.errors import UserError


class _Dtype:
    """Stands in for `numpy.dtype`; numbers only."""

    def __init__(self, spec: Any, align: Any = False, copy: Any = False) -> None:
        self.dtype: np.dtype[Any] = np.dtype(text(spec))
        if self.dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"an array holds {self.dtype} instead of numbers")

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
        raise pickle.UnpicklingError(f"bytes are encoded as {encoding!r}")
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


class _Unpickler(pickle.Unpickler):
    """Knows the stand-ins above and the built-in containers only; `file` is named in errors."""

    file: Path

    def find_class(self, module: str, name: str) -> Any:
        allowed = _ALLOWED.get((module, name))
        if allowed is None:
            raise UserError(
                f"{self.file} was refused: it asks for {module}.{name}, which no image file needs and "
                "which could run a program. Fetch the file again from its official source."
            )
        return allowed


def load_dict(file: Path) -> dict[str, Any]:
    """Unpickle a dictionary with text keys and values made of arrays, lists, text and numbers.

    Args:
        file: a pickle of any protocol, written by Python 2 or 3; its keys may be bytes.

    Raises:
        UserError: if the file is broken, holds something else or asks for any other global.
    """
    with reading(file, "a CIFAR pickle"), file.open("rb") as stream:
        unpickler = _Unpickler(stream, encoding="latin1")
        unpickler.file = file
        content = unpickler.load()
        if not isinstance(content, dict):
            raise UserError(f"{file} must hold a dictionary, got {type(content).__name__}.")
        return {text(key): value.values if isinstance(value, _Array) else value for key, value in content.items()}


def text(value: Any) -> str:
    """Return a key or class name as text, whether it was pickled as bytes or as text."""
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


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
