"""Verdicts: one bit per test image. They allow paired tests and intersections without the network."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verdicts = NDArray[np.bool_]  # (N,), one per test image; True: still classified correctly
Verdict = Literal["pass", "suspect", "fail", "not run"]  # of a check of gradient health


def pack_verdicts(right: Sequence[bool] | Verdicts) -> str:
    """Pack one bit per image (True: still classified correctly) into base64 text, first image in the highest bit."""
    return base64.b64encode(np.packbits(np.asarray(right, dtype=bool)).tobytes()).decode("ascii")


def unpack_verdicts(text: str, n: int) -> Verdicts:
    """Return the (n,) verdicts in a text that `pack_verdicts` made.

    Raises:
        ValueError: if the text is not base64, holds another number of bytes or has bits set beyond `n`.
    """
    return _bits(_packed(text, n), n)


def unpack_common(texts: Iterable[str], n: int) -> Verdicts:
    """Return the (n,) verdicts that all of the packed texts, at least one, agree on as True.

    Raises:
        ValueError: as `unpack_verdicts` does.
    """
    return _bits(np.bitwise_and.reduce([_packed(text, n) for text in texts]), n)


def _packed(text: str, n: int) -> NDArray[np.uint8]:
    try:
        packed = np.frombuffer(binascii.a2b_base64(text, strict_mode=True), dtype=np.uint8)
    except binascii.Error as error:
        raise ValueError(f"verdicts are not base64: {error}") from None
    if len(packed) != math.ceil(n / 8) or packed[-1] & ((1 << -n % 8) - 1):
        raise ValueError(f"verdicts hold {len(packed)} bytes, not one bit for each of {n} images")
    return packed


def _bits(packed: NDArray[np.uint8], n: int) -> Verdicts:
    return np.unpackbits(packed, count=n).view(np.bool_)
