"""Decodes one compressed image as the picture that a viewer shows, or says in one sentence why it cannot.

What a viewer applies is applied (the orientation in EXIF data), and what an array of grey or RGB bytes cannot hold is
refused and never dropped: transparency, more than 8 bits per channel, several pictures in one file. Colour profiles
and gamma are ignored, as everywhere in this field; CMYK is converted without one.
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

_PNG_DEPTH = 24  # place of the byte that says how many bits a channel has
_BMP_HEADER = struct.Struct("<10xIIii2xHI")  # place of the pixels, length of the second header, W, H, bits, compression

# Pillow warns of images that would fill the memory; here they are refused, as those twice as large are by pillow.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class Picture(NamedTuple):
    """One decoded image.

    Attributes:
        pixels: uint8, (H, W, 1) if grey, else (H, W, 3).
        encoding: how the file holds it: JPEG, PNG, BMP, lossless WebP or lossy WebP.
    """

    pixels: NDArray[np.uint8]
    encoding: str


LOSSY = {"JPEG", "lossy WebP"}  # encodings that give other pixels than were put in


def decode_picture(content: bytes | Path, name: str) -> Picture:
    """Decode one image.

    Args:
        content: of an image file, or the path of one.
        name: names the image in error messages.

    Raises:
        UserError: if it is no whole image, or one that would lose something.
    """
    try:
        encoded = content if isinstance(content, bytes) else content.read_bytes()
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            _refuse_loss(image, encoded, name)
            return Picture(_pixels(image), _encoding(image, encoded))
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = Image.MAX_IMAGE_PIXELS
        raise UserError(f"{name} has more than {most} pixels, which is too many; scale the images down.") from error
    except Exception as error:  # pillow's plug-ins raise almost anything on corrupt bytes
        raise UserError(f"{name} could not be decoded; it is broken or not one of {', '.join(_FORMATS)}.") from error


def _refuse_loss(image: Image.Image, encoded: bytes, name: str) -> None:
    """Refuse an image of which an array of grey or RGB bytes holds only a part."""
    # Pillow makes 8 bits of PNG files with 16 per channel, and the mode does not show it.
    if image.mode.startswith("I") or (image.format == "PNG" and encoded[_PNG_DEPTH] == 16):
        raise UserError(f"{name} has 16 bits per channel, and images must have 8; convert them to 8 bits first.")
    if image.mode not in _GREY_MODES | _COLOUR_MODES:
        raise UserError(f"{name} has pillow mode {image.mode}; images must be grey or colour with 8 bits per channel.")
    if (count := getattr(image, "n_frames", 1)) > 1:
        raise UserError(
            f"{name} holds {count} pictures, as animations and some cameras' files do; "
            "save the one that is meant as a file with one picture."
        )
    image.load()
    if _is_transparent(image, encoded):
        raise UserError(
            f"{name} has transparent pixels, which a network cannot see; "
            "put the images on a background first, or save them without transparency."
        )


def _is_transparent(image: Image.Image, encoded: bytes) -> bool:
    """Return whether any pixel of a loaded image is less than opaque."""
    if image.mode in ("RGBA", "LA", "PA"):
        return _least_alpha(image) < 255
    key = image.info.get("transparency")
    if key is not None and image.mode == "P":
        return _least_alpha(image.convert("RGBA")) < 255
    if key is not None:
        # One colour is transparent. Pillow widens grey pixels of 2 and 4 bits to 8, but not this colour.
        depth = encoded[_PNG_DEPTH] if image.mode == "L" else 8
        pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
        match = pixels == np.multiply(key, 255 // (2**depth - 1))
        return bool((match.all(-1) if match.ndim == 3 else match).any())
    return image.format == "BMP" and _bmp_is_transparent(encoded)


def _least_alpha(image: Image.Image) -> int:
    return int(np.asarray(image.getchannel("A")).min())


def _bmp_is_transparent(encoded: bytes) -> bool:
    """Return whether the fourth bytes of the pixels, which pillow skips, are in use (not all 0) and not all opaque."""
    offset, length, width, height, bits, compression = _BMP_HEADER.unpack_from(encoded)
    if length < 40 or bits != 32 or compression != 0:  # 12: a header of OS/2, with other fields
        return False
    fourth = np.frombuffer(encoded, np.uint8, 4 * width * abs(height), offset)[3::4]
    return bool(fourth.any() and fourth.min() < 255)


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of a loaded image, upright."""
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in _GREY_MODES:
        return np.asarray(image if image.mode == "L" else image.convert("L"))[:, :, np.newaxis]
    if "transparency" in image.info and image.mode == "P":
        image = image.convert("RGBA")  # pillow asks for this step; the transparent colours are not used
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _encoding(image: Image.Image, encoded: bytes) -> str:
    if image.format == "WEBP":
        return "lossless WebP" if _webp_chunk(encoded) == b"VP8L" else "lossy WebP"
    return "JPEG" if image.format == "MPO" else str(image.format)


def _webp_chunk(encoded: bytes) -> bytes:
    """Return the name of the chunk with the picture: VP8 for lossy, VP8L for lossless."""
    place = 12
    while (name := encoded[place : place + 4]) not in (b"VP8 ", b"VP8L", b""):
        length = int.from_bytes(encoded[place + 4 : place + 8], "little")
        place += 8 + length + length % 2
    return name
