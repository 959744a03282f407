"""Images decode as a viewer shows them, or are refused in one sentence, in folders and parquet files alike."""

import io
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmark.data.load import load_training
from benchmark.data.source import find_reader
from benchmark.errors import UserError

H, W = 12, 16  # not square, so that a rotated image has another shape


def picture(seed=0, channels=3):
    shape = (H, W, channels) if channels > 1 else (H, W)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def raw_png(depth, colour_type, rows, *extra, size=(W, H)):
    """Write a PNG file by hand, in variants that pillow does not write."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + data + chunk(b"IEND", b"")


def packed(values, depth):
    """Pack rows of small numbers into bytes."""
    bits = (values[:, :, np.newaxis] >> np.arange(depth)[::-1] & 1).reshape(len(values), -1).astype(np.uint8)
    return [row.tobytes() for row in np.packbits(bits, axis=1)]


def in_folder(folder, contents, suffix):
    for row, content in enumerate(contents):
        class_folder = folder / "train" / f"class{row % 2}"
        class_folder.mkdir(parents=True, exist_ok=True)
        (class_folder / f"{row}.{suffix}").write_bytes(content)


def in_parquet(folder, contents, _):
    pq.write_table(
        pa.table({"image": contents, "label": [row % 2 for row in range(len(contents))]}), folder / "train.parquet"
    )


@pytest.fixture(params=[in_folder, in_parquet])
def load(request, tmp_path):
    """Return a function that stores images in either form and returns the first one, decoded: (C, H, W)."""

    def load(*contents, suffix="png"):
        request.param(tmp_path, contents if len(contents) > 1 else contents * 2, suffix)
        return load_training("own", tmp_path).train.images[0].numpy()

    return load


def channels_first(array):
    return array[np.newaxis] if array.ndim == 2 else array.transpose(2, 0, 1)


TURNED = {  # what a viewer shows for each value of EXIF's orientation
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 95})])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_orientation_in_exif_data_is_applied(load, orientation, kind, options, channels):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(channels=channels), kind, exif=exif, **options)
    with Image.open(io.BytesIO(content)) as image:
        stored = np.asarray(image)

    decoded = load(content, suffix=kind.lower())

    assert np.array_equal(decoded, channels_first(TURNED[orientation](stored)))


def test_an_orientation_stored_after_the_pixels_is_applied(load):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(picture())
    end = content[-12:]
    late = content[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + end

    assert load(late).shape == (3, W, H)


def test_images_whose_orientation_makes_their_sizes_differ_are_refused(load):
    exif = Image.Exif()
    exif[0x0112] = 8

    with pytest.raises(UserError, match=r"is 16x12 pixels but .* is 12x16; all images of a data set"):
        load(encoded(picture()), encoded(picture(1)), encoded(picture(2), exif=exif), encoded(picture(3)))


def transparent(mode):
    image = Image.fromarray(picture()).convert(mode)
    alpha = np.full((H, W), 255, np.uint8)
    alpha[3, 4] = 254
    image.putalpha(Image.fromarray(alpha))
    return image


GREY = np.arange(H * W).reshape(H, W)
PALETTE = chunk(b"PLTE", bytes(range(48)))
TRANSPARENT = {
    "RGBA": encoded(transparent("RGB")),
    "LA": encoded(transparent("L")),
    "WebP": encoded(transparent("RGB"), "WEBP", lossless=True),
    "BMP": encoded(transparent("RGB"), "BMP"),
    "palette": raw_png(4, 3, packed(GREY % 16, 4), PALETTE, chunk(b"tRNS", b"\xff\x80")),
    "palette of which one colour is transparent": encoded(
        Image.fromarray(picture()).convert("P"), transparency=Image.fromarray(picture()).convert("P").getpixel((0, 0))
    ),
    "colour": encoded(picture(), transparency=tuple(int(value) for value in picture()[2, 3])),
    "grey": encoded(picture(channels=1), transparency=int(picture(channels=1)[2, 3])),
    **{
        f"grey of {depth} bits": raw_png(depth, 0, packed(GREY % 2**depth, depth), chunk(b"tRNS", b"\0\1"))
        for depth in (1, 2, 4)
    },
}


@pytest.mark.parametrize("content", TRANSPARENT.values(), ids=TRANSPARENT)
def test_transparency_is_refused_and_never_dropped(load, content):
    with pytest.raises(UserError) as caught:
        load(content)

    assert "has transparent pixels, which a network cannot see; put the images on a background first" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(Image.fromarray(picture()).convert("RGBA")), picture()),
        (encoded(Image.fromarray(picture()).convert("RGBA"), "WEBP", lossless=True), picture()),
        (encoded(Image.fromarray(picture()).convert("RGBA"), "BMP"), picture()),
        (encoded(Image.fromarray(picture(channels=1)).convert("LA")), picture(channels=1)),
        (encoded(picture(), transparency=(1, 2, 3)), picture()),
        (
            raw_png(4, 3, packed(GREY % 8, 4), PALETTE, chunk(b"tRNS", b"\xff" * 8 + b"\0")),
            np.frombuffer(bytes(range(48)), np.uint8).reshape(16, 3)[GREY % 8],
        ),
    ],
    ids=["RGBA", "WebP", "BMP", "LA", "a colour that does not occur", "a palette colour that is not used"],
)
def test_fully_opaque_images_lose_nothing_and_load(load, content, expected):
    assert np.array_equal(load(content), channels_first(expected))


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6], ids=["grey", "RGB", "grey and alpha", "RGBA"])
def test_sixteen_bits_per_channel_are_refused_in_every_mode(load, colour_type):
    per_pixel = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    content = raw_png(16, colour_type, [b"\xff" * (2 * per_pixel * W)] * H)

    with pytest.raises(UserError, match="has 16 bits per channel, but images must have 8; convert them to 8 bits"):
        load(content)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_per_channel_are_scaled_to_the_whole_range(load, depth):
    values = GREY % 2**depth

    assert np.array_equal(load(raw_png(depth, 0, packed(values, depth))), (values * 255 // (2**depth - 1))[np.newaxis])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "MPO"])
def test_several_pictures_in_one_file_are_refused(load, kind):
    others = [Image.fromarray(picture(seed)) for seed in (1, 2)]
    content = encoded(picture(), kind, save_all=True, append_images=others)

    with pytest.raises(UserError, match=r"holds 3 pictures, .*; save the right one as a file of its own"):
        load(content, suffix="jpg" if kind == "MPO" else kind.lower())


@pytest.mark.parametrize("side", [10_000, 60_000], ids=["pillow warns", "pillow refuses"])
def test_an_image_too_large_for_memory_is_refused(load, side):
    with pytest.raises(UserError, match="has more than 89478485 pixels, which is too many; scale the images down"):
        load(raw_png(8, 0, [b""], size=(side, side)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_an_image_truncated_in_its_pixels_is_refused(load, kind):
    content = encoded(picture(), kind)

    with pytest.raises(UserError, match="could not be decoded; it is broken or not one of JPEG, PNG, BMP, WEBP"):
        load(content[: len(content) * 3 // 4], suffix=kind.lower())


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (encoded(picture()), "PNG"),
        (encoded(picture(), "BMP"), "BMP"),
        (encoded(picture(), "JPEG"), "JPEG"),
        (encoded(picture(), "WEBP"), "lossy WebP"),
        (encoded(picture(), "WEBP", lossless=True), "lossless WebP"),
        (encoded(picture(), "WEBP", lossless=True, exif=b"Exif\0\0", icc_profile=b"x" * 7), "lossless WebP"),
        (encoded(picture(), "WEBP", exif=b"Exif\0\0", icc_profile=b"x" * 7), "lossy WebP"),
    ],
)
def test_the_encoding_is_read_from_the_content_not_the_name(tmp_path, content, encoding):
    in_folder(tmp_path, [content] * 2, "png")

    assert find_reader("own", tmp_path).read("train").encodings == {encoding}
