"""One bit per test image, still right or not: allows paired tests and intersections without the network."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pack_verdicts(right: Sequence[bool] | NDArray[np.bool_]) -> str:
    """Pack one bit per image (True: still right) into base64 text, first image in the highest bit."""
    return base64.b64encode(np.packbits(np.asarray(right, dtype=bool)).tobytes()).decode("ascii")


def unpack_verdicts(text: str, n: int) -> list[bool]:
    """Undo `pack_verdicts` for `n` images.

    Raises:
        ValueError: if the text is not base64, holds another number of bytes or has bits set beyond `n`.
    """
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except binascii.Error as error:
        raise ValueError(f"verdicts are not base64: {error}") from None
    bits = np.unpackbits(packed)
    if len(packed) != math.ceil(n / 8) or bits[n:].any():
        raise ValueError(f"verdicts hold {len(packed)} bytes, not one bit for each of {n} images")
    return [bool(bit) for bit in bits[:n]]
