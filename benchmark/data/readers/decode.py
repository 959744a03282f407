"""Decodes many small compressed images with pillow, in threads or processes, into one array.

Run as a program, it is such a process: it reads one message from standard input and writes one array and its encodings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.data.readers.picture import Picture, decode_picture
from benchmark.errors import UserError
from benchmark.runtime.interpreters import module_command, module_environment

# Images per task, a few milliseconds; one task per image would cost more in overhead than in decoding.
_CHUNK = 256

# Below this size pillow spends its time in Python code, where threads only wait for the lock.
_MIN_PIXELS_FOR_THREADS = 96 * 96

# Small images per process: they take about a second, and a process needs a fifth of one to start.
_IMAGES_PER_PROCESS = 10_000


class Decoded(NamedTuple):
    """Decoded images.

    Attributes:
        images: uint8, (N, 1, H, W) if all images are grey, else (N, 3, H, W).
        encodings: the encodings that occur, see `Picture.encoding`.
    """

    images: NDArray[np.uint8]
    encodings: frozenset[str]


def decode_images(encoded: Sequence[bytes | Path], where: Callable[[int], str]) -> Decoded:
    """Decode images of one size.

    Args:
        encoded: content or path of an image file for each row; at least one.
        where: returns the name of a row for error messages.

    Raises:
        UserError: naming the first row that is not an image, would lose information, or has another size than row 0.
    """
    height, width = decode_picture(encoded[0], where(0)).pixels.shape[:2]
    cores = min(16, os.cpu_count() or 1)
    small = height * width < _MIN_PIXELS_FOR_THREADS
    shares = max(1, min(cores, len(encoded) // _IMAGES_PER_PROCESS)) if small else 1
    bounds = [len(encoded) * share // shares for share in range(shares + 1)]
    with ExitStack() as running:
        others = [running.enter_context(_process(encoded[start:end])) for start, end in pairwise(bounds[1:])]
        pieces = [_decode_rows(encoded, range(bounds[1]), (height, width), where, threads=1 if small else cores)]
        for (start, end), result in zip(pairwise(bounds[1:]), others, strict=True):
            piece = result()
            if piece is None or piece.images.shape[2:] != (height, width):
                # Decode again in this process, for the images or for the error message.
                piece = _decode_rows(encoded, range(start, end), (height, width), where, threads=1)
            pieces.append(piece)
    if shares == 1:
        return pieces[0]
    channels = max(piece.images.shape[1] for piece in pieces)
    joined = np.empty((len(encoded), channels, height, width), dtype=np.uint8)
    for start, (images, _) in zip(bounds, pieces, strict=False):
        joined[start : start + len(images)] = images  # grey images among coloured ones are repeated across the channels
    return Decoded(joined, frozenset().union(*(piece.encodings for piece in pieces)))


def _decode_rows(
    encoded: Sequence[bytes | Path], rows: range, size: tuple[int, int], where: Callable[[int], str], *, threads: int
) -> Decoded:
    """Decode some rows, at least one; all must have this height and width."""

    def decode_chunk(start: int) -> list[Picture]:
        pictures = []
        for row in rows[start : start + _CHUNK]:
            pictures.append(decode_picture(encoded[row], where(row)))
            if (got := pictures[-1].pixels.shape[:2]) != size:
                raise UserError(
                    f"{where(row)} is {_size(got)} pixels but {where(0)} is {_size(size)}; "
                    "all images of a data set must have one size."
                )
        return pictures

    pool = ThreadPoolExecutor(threads)
    try:
        chunks = list(pool.map(decode_chunk, range(0, len(rows), _CHUNK)))
    finally:
        # After an error the remaining chunks would only delay the message.
        pool.shutdown(cancel_futures=True)
    pictures = [picture for chunk in chunks for picture in chunk]
    channels = max(picture.pixels.shape[2] for picture in pictures)
    stacked = np.empty((len(pictures), channels, *size), dtype=np.uint8)
    for row, picture in enumerate(pictures):
        stacked[row] = picture.pixels.transpose(2, 0, 1)  # broadcast: grey to all channels
    return Decoded(stacked, frozenset(picture.encoding for picture in pictures))


@contextmanager
def _process(encoded: Sequence[bytes | Path]) -> Iterator[Callable[[], Decoded | None]]:
    """Decode in another process, which ends with the context.

    Yields:
        A function that waits for the images and returns them; None if anything failed, such as a broken image.
    """
    contents = [content if isinstance(content, bytes) else os.fsencode(content) for content in encoded]
    header = {"lengths": [len(content) for content in contents], "paths": isinstance(encoded[0], Path)}
    with ExitStack() as running:
        process = None
        with suppress(OSError):  # no room for the files or for another process
            # Files, because a pipe would need a thread at this end, which would slow down the decoding.
            message, answer = (running.enter_context(tempfile.TemporaryFile(buffering=0)) for _ in range(2))
            for content in (json.dumps(header).encode() + b"\n", *contents):
                message.write(content)
            message.seek(0)
            process = subprocess.Popen(
                module_command("benchmark.data.readers.decode"),
                env=module_environment(),
                stdin=message,
                stdout=answer,
                stderr=subprocess.DEVNULL,
            )
            running.callback(process.wait)
            running.callback(process.kill)

        def result() -> Decoded | None:
            if process is None or process.wait():
                return None
            answer.seek(0)
            images: NDArray[np.uint8] = np.load(answer, allow_pickle=False)
            return Decoded(images, frozenset(json.loads(answer.read())))

        yield result


def _serve() -> None:
    """Run as the other process."""
    header = json.loads(sys.stdin.buffer.readline())
    contents: list[bytes | Path] = []
    for length in header["lengths"]:
        content = sys.stdin.buffer.read(length)
        contents.append(Path(os.fsdecode(content)) if header["paths"] else content)
    height, width = decode_picture(contents[0], "").pixels.shape[:2]
    decoded = _decode_rows(contents, range(len(contents)), (height, width), str, threads=1)
    np.save(sys.stdout.buffer, decoded.images)
    sys.stdout.buffer.write(json.dumps(sorted(decoded.encodings)).encode())


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(length) for length in shape)


if __name__ == "__main__":
    _serve()
