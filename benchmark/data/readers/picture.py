"""Decodes one compressed image as a viewer shows it, or says in one sentence why it cannot.

The orientation in EXIF data is applied. What an array of grey or RGB bytes cannot hold is refused, never dropped:
transparency, more than 8 bits per channel, several pictures in one file. Colour profiles and gamma are ignored, as is
usual in this field; CMYK is converted without a profile.
"""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from benchmark.errors import UserError

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")

_GREY_MODES = {"1", "L", "LA"}
_COLOUR_MODES = {"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr"}

_PNG_DEPTH = 24  # index of the byte with the number of bits per channel
_BMP_HEADER = struct.Struct("<10xIIii2xHI")  # offset of the pixels, length of the 2nd header, W, H, bits, compression

# Pillow warns about very large images and refuses those twice as large; here both are refused.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class Picture(NamedTuple):
    """One decoded image.

    Attributes:
        pixels: uint8, (H, W, 1) if grey, else (H, W, 3).
        encoding: JPEG, PNG, BMP, lossless WebP or lossy WebP.
    """

    pixels: NDArray[np.uint8]
    encoding: str


LOSSY = {"JPEG", "lossy WebP"}  # encodings that change the pixels


def decode_picture(content: bytes | Path, name: str) -> Picture:
    """Decode one image.

    Args:
        content: content or path of an image file.
        name: name of the image, for error messages.

    Raises:
        UserError: if it is not a complete image, or cannot be decoded without loss.
    """
    try:
        encoded = content if isinstance(content, bytes) else content.read_bytes()
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            _refuse_loss(image, encoded, name)
            return Picture(_pixels(image), _encoding(image, encoded))
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = Image.MAX_IMAGE_PIXELS
        raise UserError(f"{name} has more than {limit} pixels, which is too many; scale the images down.") from error
    except Exception as error:  # pillow's plug-ins raise almost anything on corrupt bytes
        raise UserError(f"{name} could not be decoded; it is broken or not one of {', '.join(_FORMATS)}.") from error


def _refuse_loss(image: Image.Image, encoded: bytes, name: str) -> None:
    """Refuse an image that an array of grey or RGB bytes cannot hold in full."""
    # Pillow reduces PNG files with 16 bits per channel to 8, and the mode does not show it.
    if image.mode.startswith("I") or (image.format == "PNG" and encoded[_PNG_DEPTH] == 16):
        raise UserError(f"{name} has 16 bits per channel, but images must have 8; convert them to 8 bits first.")
    if image.mode not in _GREY_MODES | _COLOUR_MODES:
        raise UserError(f"{name} has pillow mode {image.mode}; images must be grey or colour with 8 bits per channel.")
    if (count := getattr(image, "n_frames", 1)) > 1:
        raise UserError(
            f"{name} holds {count} pictures, as animations and some cameras' files do; "
            "save the right one as a file of its own."
        )
    image.load()
    if _is_transparent(image, encoded):
        raise UserError(
            f"{name} has transparent pixels, which a network cannot see; "
            "put the images on a background first, or save them without transparency."
        )


def _is_transparent(image: Image.Image, encoded: bytes) -> bool:
    """Return whether any pixel of a loaded image is not fully opaque."""
    if image.mode in ("RGBA", "LA", "PA"):
        return _least_alpha(image) < 255
    key = image.info.get("transparency")
    if key is not None and image.mode == "P":
        return _least_alpha(image.convert("RGBA")) < 255
    if key is not None:
        # One colour is transparent. Pillow scales grey pixels of 2 and 4 bits to 8, but not this colour.
        depth = encoded[_PNG_DEPTH] if image.mode == "L" else 8
        pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
        match = pixels == np.multiply(key, 255 // (2**depth - 1))
        return bool((match.all(-1) if match.ndim == 3 else match).any())
    return image.format == "BMP" and _bmp_is_transparent(encoded)


def _least_alpha(image: Image.Image) -> int:
    return int(np.asarray(image.getchannel("A")).min())


def _bmp_is_transparent(encoded: bytes) -> bool:
    """Return whether the alpha bytes of the pixels, which pillow skips, are in use (not all 0) and not all opaque."""
    offset, length, width, height, bits, compression = _BMP_HEADER.unpack_from(encoded)
    if length < 40 or bits != 32 or compression != 0:  # length 12: an OS/2 header, with other fields
        return False
    alpha = np.frombuffer(encoded, np.uint8, 4 * width * abs(height), offset)[3::4]
    return bool(alpha.any() and alpha.min() < 255)


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of a loaded image, upright."""
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in _GREY_MODES:
        return np.asarray(image if image.mode == "L" else image.convert("L"))[:, :, np.newaxis]
    if "transparency" in image.info and image.mode == "P":
        image = image.convert("RGBA")  # pillow needs this step; transparent colours are not used
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _encoding(image: Image.Image, encoded: bytes) -> str:
    if image.format == "WEBP":
        return "lossless WebP" if _webp_chunk(encoded) == b"VP8L" else "lossy WebP"
    return "JPEG" if image.format == "MPO" else str(image.format)


def _webp_chunk(encoded: bytes) -> bytes:
    """Return the name of the chunk with the picture: VP8 for lossy, VP8L for lossless."""
    start = 12
    while (name := encoded[start : start + 4]) not in (b"VP8 ", b"VP8L", b""):
        length = int.from_bytes(encoded[start + 4 : start + 8], "little")
        start += 8 + length + length % 2
    return name
