"""Checks that the images under the name of a published data set are that data set, and if not, says which one they are.

No option turns this off: a data set that differs needs a name of its own. Without a published digest, a set is
recognised by class names, counts, encoding, pixel sums and the mean colours of its classes. A few labels swapped
between classes go unnoticed then, but not in the hash that every record keeps.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmark.data.published import LOOKALIKES, PUBLISHED, PublishedPart, PublishedSet
from benchmark.data.readers.part import Part, RawPart
from benchmark.data.readers.picture import LOSSY
from benchmark.errors import UserError

# The class means are those of the JPEG images. JPEG moved the mean of all images by at most 0.00015, and at quality 75
# and 90 that of a class by at most 0.0004, while the closest two classes differ by 0.008.
_CLASS_TOLERANCE = 0.003
_ALGORITHMS = {"sha256": "SHA-256", "md5": "MD5"}
_FOUR_DECIMALS = 0.00011  # tolerance for a mean that was rounded or truncated


def check_identity(name: str, part: Part, raw: RawPart, class_names: tuple[str, ...]) -> None:
    """Refuse a part that differs from what was published under the name of its data set.

    Args:
        name: name of the data set; any name but the published ones and mnist passes.
        part: the part.
        raw: the decoded part, with labels in range.
        class_names: names in the order of the labels; () if the files have none.

    Raises:
        UserError: naming the difference and the name to use instead.
    """
    if name not in PUBLISHED and name not in LOOKALIKES:
        return
    difference = next(_differences(name, part, raw, class_names), None)
    if difference is None:
        return
    other = _other_name(name, part, raw)
    remedy = (
        f"these are the images of {other}, so use --dataset {other}"
        if other
        else f"use the published files, or a name of your own, such as --dataset my-{name}"
    )
    title = "training" if part == "train" else "test"
    raise UserError(f"{_location(raw)} is not the {title} part of {name}: {difference}; {remedy}.")


def content_sha256(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """Return a hash of labelled images that does not depend on their order.

    Args:
        images: (N, C, H, W).
        labels: (N,).

    Returns:
        The SHA-256 digest of the sorted SHA-256 digests of all images, each with its label as 8 little-endian bytes.
    """
    rows = []
    for image, label in zip(np.ascontiguousarray(images), labels.astype("<i8"), strict=True):
        digest = hashlib.sha256(image.data)
        digest.update(label.tobytes())
        rows.append(digest.digest())
    return hashlib.sha256(b"".join(sorted(rows))).hexdigest()


def _differences(name: str, part: Part, raw: RawPart, class_names: tuple[str, ...]) -> Iterator[str]:
    """Yield what differs from the published part, in words, the most informative difference first."""
    published_set = PUBLISHED.get(name) or LOOKALIKES[name]
    published = published_set.part(part)
    named = bool(class_names) and class_names != tuple(str(number) for number in range(len(class_names)))
    if named:
        for number, (got, want) in enumerate(zip(class_names, published_set.class_names, strict=True)):
            if _plain(published_set.spellings.get(got, got)) != _plain(want):
                yield f"its class {number} is called {got!r} instead of {want!r}"
    if published.content is not None and published.content == content_sha256(raw.images, raw.labels):
        return
    if published_set.jpeg and raw.encodings - {"JPEG"}:
        yield f"it has {_words(raw.encodings - {'JPEG'})} images, but {name} has JPEG images only"
    if not published_set.jpeg and raw.encodings & LOSSY:
        yield f"it has {_words(raw.encodings & LOSSY)} images, but the originals of {name} are lossless"
    yield from _count_differences(raw, published)
    if not raw.encodings and published.files and all(file.name in published.files for file, _ in raw.files):
        yield from _file_differences(raw, published)
        return
    yield from _sum_differences(raw, published)
    yield from _class_differences(raw, published, published_set, named)
    if published.content is not None:
        decoder = ", or this machine decodes JPEG differently" if published_set.jpeg else ""
        yield f"some of its images or labels are not the published ones{decoder}"


def _count_differences(raw: RawPart, published: PublishedPart) -> Iterator[str]:
    total = sum(published.counts)
    if len(raw.labels) != total:
        yield f"it holds {len(raw.labels)} images instead of {total}"
    for label, (got, want) in enumerate(zip(_counts(raw, published), published.counts, strict=True)):
        if got != want:
            yield f"its class {label} has {got} images instead of {want}"


def _file_differences(raw: RawPart, published: PublishedPart) -> Iterator[str]:
    for path, _ in raw.files:
        algorithm, _, want = published.files[path.name].partition(":")
        with path.open("rb") as file:
            got = hashlib.file_digest(file, algorithm).hexdigest()
        if got != want:
            yield f"its file {path.name} has the {_ALGORITHMS[algorithm]} {got} instead of {want}"


def _sum_differences(raw: RawPart, published: PublishedPart) -> Iterator[str]:
    sums, squares = _sums(raw.images)
    for channel, (got, want) in enumerate(zip(sums, published.sums, strict=False)):
        if got != want:
            yield f"the pixel values of its channel {channel} add up to {got} instead of {want}"
    for channel, (got, want) in enumerate(zip(squares, published.squares, strict=False)):
        if got != want:
            yield f"the squared pixel values of its channel {channel} add up to {got} instead of {want}"
    pixels = 255 * raw.images.size / raw.images.shape[1]
    for channel, (total, mean) in enumerate(zip(sums, published.mean, strict=False)):
        if abs(total / pixels - mean) > _FOUR_DECIMALS:
            yield f"the mean of its channel {channel} is {total / pixels:.4f} instead of {mean:.4f}"


def _class_differences(
    raw: RawPart, published: PublishedPart, published_set: PublishedSet, named: bool
) -> Iterator[str]:
    """Yield classes in the wrong order; without names and colours, only distinct counts would show it."""
    if not published.class_means:
        if published.content is None and not named and len(set(published.counts)) < len(published.counts):
            yield "it names no classes, so their order cannot be checked"
        return
    colours = np.array(published.class_means)
    for label, name in enumerate(published_set.class_names):
        distances = np.abs(colours - raw.images[raw.labels == label].mean((0, 2, 3)) / 255).max(1)
        if distances[label] > _CLASS_TOLERANCE:
            likely = int(distances.argmin())
            if likely == label or distances[likely] > _CLASS_TOLERANCE:
                yield f"the mean colour of its class {label} is not that of {name!r}"
            yield f"its class {label} has the mean colour of {published_set.class_names[likely]!r} instead of {name!r}"


def _other_name(name: str, part: Part, raw: RawPart) -> str | None:
    """Return the name of the published data set that these images belong to, None if they belong to none."""
    content = None
    for other, published_set in {**PUBLISHED, **LOOKALIKES}.items():
        published = published_set.part(part)
        if other == name or len(raw.labels) != sum(published.counts) or _counts(raw, published) != published.counts:
            continue
        if published.content is not None:
            content = content or content_sha256(raw.images, raw.labels)
            if content == published.content:
                return other
        elif not next(_sum_differences(raw, published), None):
            return other
    return None


def _counts(raw: RawPart, published: PublishedPart) -> tuple[int, ...]:
    """Return the number of images of each published class."""
    return tuple(np.bincount(raw.labels, minlength=len(published.counts))[: len(published.counts)].tolist())


def _sums(images: NDArray[np.uint8]) -> tuple[list[int], list[int]]:
    """Return the sum of the values of each channel, and of their squares."""
    values = np.arange(256)
    counts = np.array([np.bincount(images[:, channel].ravel(), minlength=256) for channel in range(images.shape[1])])
    return (counts @ values).tolist(), (counts @ values**2).tolist()


def _plain(name: str) -> str:
    """Return a class name without case, spaces and punctuation, which vary among copies of a data set."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _words(encodings: frozenset[str] | set[str]) -> str:
    return " and ".join(sorted(encodings))


def _location(raw: RawPart) -> str:
    """Return the path of the only file of a part, or of the folder that holds all its files."""
    first, last = raw.files[0][0], raw.files[-1][0]
    return str(first) if first == last else os.path.commonpath([first.parent, last.parent])
