"""Decodes many small compressed images with pillow in threads, into one array."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.errors import UserError

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")

# Modes with 8 bits per channel; converting others (16-bit, float) would silently clip their values.
_GREY_MODES = {"1", "L", "LA"}
_COLOUR_MODES = {"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr"}

# One task of a few milliseconds; a task per image would cost more in hand-over than in decoding.
_CHUNK = 256

# Below this size pillow spends its time in Python code, where threads only wait for each other.
_PIXELS_WORTH_THREADS = 96 * 96


def decode_images(encoded: Sequence[bytes | Path], where: Callable[[int], str]) -> NDArray[np.uint8]:
    """Decode images of one size.

    Args:
        encoded: content of an image file, or the path of one, for each row; at least one.
        where: names a row in error messages.

    Returns:
        uint8, (N, 1, H, W) if every image is grey, else (N, 3, H, W).

    Raises:
        UserError: naming the first row that is no image, or whose size differs from that of row 0.
    """
    expected = _decode(encoded[0], where(0)).shape[:2]

    def decode_chunk(start: int) -> list[NDArray[np.uint8]]:
        pixels = []
        for row, content in enumerate(encoded[start : start + _CHUNK], start):
            pixels.append(_decode(content, where(row)))
            if (got := pixels[-1].shape[:2]) != expected:
                raise UserError(
                    f"{where(row)} is {_size(got)} pixels but {where(0)} is {_size(expected)}; "
                    "all images of a data set must have one size."
                )
        return pixels

    num_threads = min(16, os.cpu_count() or 1) if expected[0] * expected[1] >= _PIXELS_WORTH_THREADS else 1
    pool = ThreadPoolExecutor(num_threads)
    try:
        chunks = list(pool.map(decode_chunk, range(0, len(encoded), _CHUNK)))
    finally:
        # After an error the remaining chunks would only delay the message.
        pool.shutdown(cancel_futures=True)
    images = [image for chunk in chunks for image in chunk]
    channels = max(image.shape[2] for image in images)
    stacked = np.empty((len(images), channels, *expected), dtype=np.uint8)
    for row, image in enumerate(images):
        stacked[row] = image.transpose(2, 0, 1)  # a grey image among coloured ones is repeated over the channels
    return stacked


def _decode(content: bytes | Path, name: str) -> NDArray[np.uint8]:
    """Return one image as (H, W, 1) or (H, W, 3)."""
    try:
        stream = io.BytesIO(content) if isinstance(content, bytes) else content
        with Image.open(stream, formats=_FORMATS) as image:
            mode = image.mode
            if mode in _GREY_MODES:
                return np.asarray(image if mode == "L" else image.convert("L"))[:, :, np.newaxis]
            if mode in _COLOUR_MODES:
                return np.asarray(image if mode == "RGB" else image.convert("RGB"))
    except Exception as error:  # pillow's plug-ins raise almost anything on corrupt bytes
        raise UserError(f"{name} could not be decoded; it is broken or not one of {', '.join(_FORMATS)}.") from error
    raise UserError(f"{name} has pillow mode {mode}; images must have 8 bits per channel.")


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(length) for length in shape)
