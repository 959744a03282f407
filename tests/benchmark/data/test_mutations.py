"""A data set with one change decodes to the same images and labels, or is refused in one sentence.

Each mutation is applied to parquet files or image folders, of a set with a published digest and of a user's own. In a
user's own set a changed label may be intended, so a change of the data must change the hash of the part, to which
trainings and records are bound.
"""

from __future__ import annotations

import io
import json
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmark.data import identity
from benchmark.data.load import load_test, load_training
from benchmark.data.published import PublishedPart, PublishedSet
from benchmark.errors import UserError

NAMES = ("ant", "bee", "cow", "d\u00f6g")  # in form C of Unicode
H, W = 8, 12
PARQUET, FOLDER = "parquet", "folder"


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


@dataclass(eq=False)
class Row:
    """An image and its class; `content` is the encoded image."""

    pixels: np.ndarray
    name: str
    content: bytes | None

    def encode(self, image=None, kind="PNG", **options):
        self.content = encoded(self.pixels if image is None else image, kind, **options)


@cache
def pictures(part: str) -> list[tuple[np.ndarray, str, bytes]]:
    """Return the images of a part as pixels, class name and PNG file."""
    random = np.random.default_rng(len(part))
    names = [name for name in NAMES for _ in range(3 if part == "train" else 2)]
    pixels = random.integers(0, 256, (len(names), H, W, 3), dtype=np.uint8)
    return [(image, name, encoded(image)) for image, name in zip(pixels, names, strict=True)]


@dataclass
class Files:
    """The files of both parts, one of which mutations change."""

    form: str
    seed: int
    part: str
    rows: dict[str, list[Row]] = field(default_factory=dict)
    names: dict[str, list[str] | None] = field(default_factory=dict)  # in the metadata of parquet files
    label_type: pa.DataType | None = None
    labels: Callable[[list[int | str | None]], list[int | str | None]] = list
    struct: bool = False
    shards: list[str] | None = None  # names of parquet files, which share the rows
    suffix: str = "png"
    extra: dict[str, bytes] = field(default_factory=dict)  # other files in the folder

    def __post_init__(self):
        for part in ("train", "test"):
            self.rows[part] = [Row(pixels.copy(), name, content) for pixels, name, content in pictures(part)]
            self.names[part] = list(NAMES)
        self.random = np.random.default_rng(self.seed)

    @property
    def changed(self) -> list[Row]:
        """The rows of the part that the mutation changes."""
        return self.rows[self.part]

    def one(self) -> Row:
        """Return one of these rows at random."""
        return self.changed[self.random.integers(len(self.changed))]

    def other_class(self, row: Row) -> str:
        return str(self.random.choice([name for name in NAMES if name != row.name]))

    def write(self, folder: Path) -> None:
        for part in ("train", "test"):
            (self._write_parquet if self.form == PARQUET else self._write_folder)(folder, part)
        for name, content in self.extra.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    def _write_parquet(self, folder, part):
        names = self.names[part]
        order = [unicodedata.normalize("NFC", name) for name in names or NAMES]
        labels = [order.index(row.name) if row.name in order else None for row in self.rows[part]]
        contents = [row.content for row in self.rows[part]]
        kind = None
        if part == self.part:
            labels, kind = self.labels(labels), self.label_type
            if self.struct:
                contents = [{"bytes": content, "path": "x.jpg"} for content in contents]
        files = self.shards if self.shards and part == self.part else [f"{part}-00000-of-00001.parquet"]
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        for number, file in enumerate(files):
            start, end = (len(labels) * bound // len(files) for bound in (number, number + 1))
            table = pa.table({"image": contents[start:end], "label": pa.array(labels[start:end], kind)})
            if names:
                table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
            pq.write_table(table, folder / file)

    def _write_folder(self, folder, part):
        names = self.names[part] or NAMES
        for name in names:
            (folder / part / name).mkdir(parents=True)
        folders = {unicodedata.normalize("NFC", name): name for name in names}
        for number, row in enumerate(self.rows[part]):
            file = folder / part / folders.get(row.name, row.name) / f"{number:03}.{self.suffix}"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(row.content)


@dataclass(frozen=True)
class Mutation:
    """A change of the files.

    Attributes:
        apply: makes the change.
        forms: forms of files it applies to.
        published: expected outcome for a set with a published digest: same (also in row order), reordered or refused.
        own: expected outcome for a user's own set; changed means another hash or refused.
    """

    apply: Callable[[Files], None]
    forms: tuple[str, ...]
    published: str
    own: str


MUTATIONS: dict[str, Mutation] = {}


def mutation(published, own=None, forms=(PARQUET, FOLDER)):
    def register(apply):
        MUTATIONS[apply.__name__] = Mutation(apply, forms, published, own or published)
        return apply

    return register


@mutation("refused", "changed")
def one_label(files):
    row = files.one()
    row.name = files.other_class(row)


@mutation("refused", "changed")
def labels_of_two_rows_swapped(files):
    row = files.one()
    others = [other for other in files.changed if other.name != row.name]
    other = others[files.random.integers(len(others))]
    row.name, other.name = other.name, row.name


@mutation("refused", forms=(PARQUET,))
def labels_from_one(files):
    files.labels = lambda labels: [label + 1 for label in labels]


@mutation("refused", forms=(PARQUET,))
def labels_from_one_without_names(files):
    files.names = {"train": None, "test": None}
    files.labels = lambda labels: [label + 1 for label in labels]


@mutation("refused", forms=(PARQUET,))
def a_label_below_zero(files):
    files.labels = lambda labels: [-1, *labels[1:]]


@mutation("refused", forms=(PARQUET,))
def a_label_of_no_class(files):
    files.labels = lambda labels: [*labels[:-1], 2**40]


@mutation("refused", forms=(PARQUET,))
def a_missing_label(files):
    files.labels = lambda labels: [None, *labels[1:]]


@mutation("refused", forms=(PARQUET,))
def a_missing_image(files):
    files.one().content = None


@mutation("same", forms=(PARQUET,))
def labels_of_another_type(files):
    files.label_type = [pa.int8(), pa.uint16(), pa.int32(), pa.uint64()][files.seed % 4]


@mutation("same", forms=(PARQUET,))
def labels_as_text(files):
    files.names = {"train": list(NAMES), "test": list(NAMES)}
    files.names[files.part] = None
    files.labels = lambda labels: [NAMES[label] for label in labels]


@mutation("same", forms=(PARQUET,))
def images_in_a_struct(files):
    files.struct = True


@mutation("refused", "changed")
def a_class_without_images(files):
    name = files.one().name
    files.rows[files.part] = [row for row in files.changed if row.name != name]


@mutation("refused", "changed")
def a_row_left_out(files):
    files.changed.remove(files.one())


@mutation("refused", "changed")
def a_row_twice(files):
    row = files.one()
    files.changed.insert(files.changed.index(row), row)


@mutation("reordered")
def the_order_of_rows(files):
    files.rows[files.part] = [files.changed[index] for index in files.random.permutation(len(files.changed))]


@mutation("same", forms=(PARQUET,))
def several_shards(files):
    count = 2 + files.seed % 3
    files.shards = [f"{files.part}-{number:05}-of-{count:05}.parquet" for number in range(count)]


@mutation("refused", forms=(PARQUET,))
def a_gap_among_shards(files):
    files.shards = [f"{files.part}-{number:05}-of-00003.parquet" for number in ((0, 1), (0, 2), (1, 2))[files.seed % 3]]


@mutation("refused", forms=(PARQUET,))
def a_shard_of_another_revision(files):
    files.shards = [f"{files.part}-00000-of-00002-0a1b.parquet", f"{files.part}-00001-of-00002-0a1b.parquet"]
    files.shards.append(f"{files.part}-00001-of-00002-ffff.parquet")


@mutation("refused", forms=(PARQUET,))
def two_numberings_side_by_side(files):
    files.shards = [f"{files.part}-00000-of-00001.parquet", f"{files.part}.parquet"]


@mutation("refused")
def two_formats_side_by_side(files):
    files.form = FOLDER
    files.extra["train-00000-of-00001.parquet"] = _parquet_file()


def _parquet_file():
    stream = io.BytesIO()
    pq.write_table(pa.table({"image": [encoded(np.zeros((H, W, 3), np.uint8))], "label": [0]}), stream)
    return stream.getvalue()


@mutation("same")
def files_of_other_kinds_beside(files):
    files.extra = {"README.md": b"about", ".DS_Store": b"hidden", "dataset_infos.json": b"{}"}


@mutation("refused", forms=(FOLDER,))
def a_text_among_the_images(files):
    files.extra[f"{files.part}/ant/notes.txt"] = b"notes"


@mutation("same")
def classes_in_another_order_in_the_test_part(files):
    files.names["test"] = list(reversed(NAMES))


@mutation("refused", "changed", forms=(PARQUET,))
def class_names_swapped_in_the_test_part(files):
    """Swap two names but not the numbers, so that images change their class."""
    files.names["test"] = ["bee", "ant", *NAMES[2:]]
    for row in files.rows["test"]:
        row.name = {"ant": "bee", "bee": "ant"}.get(row.name, row.name)


@mutation("refused", "changed", forms=(PARQUET,))
def classes_numbered_in_another_order(files):
    files.names = {part: list(reversed(NAMES)) for part in files.names}


@mutation("refused", forms=(PARQUET,))
def class_names_of_one_part_only(files):
    files.names[files.part] = None


@mutation("refused")
def a_class_renamed_in_one_part(files):
    files.names[files.part] = ["ants", *NAMES[1:]]
    for row in files.changed:
        row.name = "ants" if row.name == "ant" else row.name


@mutation("same")
def class_names_in_another_unicode_form(files):
    files.names[files.part] = [unicodedata.normalize("NFD", name) for name in NAMES]


@mutation("same")
def another_compression(files):
    for row in files.changed:
        kind, options = [
            *(("PNG", {"compress_level": 0}), ("PNG", {"optimize": True}), ("BMP", {})),
            ("WEBP", {"lossless": True}),
        ][files.random.integers(4)]
        row.encode(kind=kind, **options)


@mutation("same", forms=(FOLDER,))
def files_named_like_another_format(files):
    files.suffix = ["jpg", "webp", "BMP"][files.seed % 3]


@mutation("refused", "changed")
def lossy_compression(files):
    files.one().encode(kind="JPEG")


@mutation("same")
def an_opaque_alpha_channel(files):
    row = files.one()
    row.encode(Image.fromarray(row.pixels).convert("RGBA"))


@mutation("refused")
def a_transparent_pixel(files):
    row = files.one()
    image = Image.fromarray(row.pixels).convert("RGBA")
    image.putpixel((files.seed % W, files.seed % H), (1, 2, 3, files.seed % 255))
    row.encode(image)


@mutation("same")
def a_palette(files):
    row = files.one()
    colours, numbers = np.unique(row.pixels.reshape(-1, 3), axis=0, return_inverse=True)
    image = Image.fromarray(numbers.reshape(H, W).astype(np.uint8)).convert("P")
    image.putpalette(colours.tobytes())
    row.encode(image)


@mutation("refused")
def sixteen_bits(files):
    row = files.one()
    row.encode(row.pixels[..., 0].astype(np.uint16) * 257)


@mutation("refused")
def an_animation(files):
    row = files.one()
    row.encode(save_all=True, append_images=[Image.fromarray(row.pixels[::-1])])


@mutation("refused")
def a_truncated_file(files):
    row = files.one()
    row.content = row.content[: len(row.content) // 2]


@mutation("same")
def stored_turned_with_the_orientation_in_exif_data(files):
    row = files.one()
    turned, orientation = [(np.rot90(row.pixels), 6), (row.pixels[::-1, ::-1], 3), (row.pixels[:, ::-1], 2)][
        files.seed % 3
    ]
    exif = Image.Exif()
    exif[0x0112] = orientation
    row.encode(np.ascontiguousarray(turned), exif=exif)


@mutation("refused", "changed")
def turned_upside_down_by_exif_data(files):
    exif = Image.Exif()
    exif[0x0112] = 3
    files.one().encode(exif=exif)


@mutation("refused")
def turned_on_its_side_by_exif_data(files):
    exif = Image.Exif()
    exif[0x0112] = 5 + files.seed % 4
    files.one().encode(exif=exif)


@mutation("refused", "changed")
def a_grey_image(files):
    row = files.one()
    row.encode(Image.fromarray(row.pixels).convert("L"))


@mutation("refused", "changed")
def a_part_in_grey(files):
    for row in files.changed:
        row.encode(Image.fromarray(row.pixels).convert("L"))


@mutation("refused", "changed")
def channels_in_another_order(files):
    for row in files.changed:
        row.encode(np.ascontiguousarray(row.pixels[..., ::-1]))


@mutation("refused")
def an_image_of_another_size(files):
    row = files.one()
    row.encode(np.ascontiguousarray(row.pixels[:, 1:]))


@mutation("refused", "changed")
def a_part_of_another_size(files):
    for row in files.changed:
        row.encode(np.ascontiguousarray(row.pixels[:, 2:]))


@mutation("refused", "changed")
def one_pixel(files):
    row = files.one()
    row.pixels[files.seed % H, files.seed % W] ^= 1
    row.encode()


@dataclass(frozen=True)
class Outcome:
    """What was loaded: class names, hashes of both parts, and the count of each image with each class name."""

    class_names: tuple[str, ...]
    hashes: tuple[str, str]
    images: tuple[Counter[tuple[bytes, str]], Counter[tuple[bytes, str]]]


def load(files: Files) -> Outcome | str:
    """Write and load the files; return the message if they are refused."""
    with tempfile.TemporaryDirectory() as folder:
        files.write(Path(folder))
        try:
            training, test = load_training("pets", Path(folder)), load_test("pets", Path(folder))
        except UserError as error:
            return str(error)
    names = training.info.class_names
    assert test.info.class_names == names
    parts = ([training.train, training.validation], [test.test])
    images = tuple(
        Counter(
            (image.numpy().tobytes(), names[label])
            for piece in pieces
            for image, label in zip(piece.images, piece.labels.tolist(), strict=True)
        )
        for pieces in parts
    )
    return Outcome(names, (training.sha256, test.sha256), images)


@cache
def unchanged(form: str) -> Outcome:
    """Return the outcome for unchanged files."""
    loaded = load(Files(form, 0, "train"))
    assert isinstance(loaded, Outcome)
    return loaded


@pytest.fixture(params=["published", "own"])
def kind(request, monkeypatch):
    """Return whether `pets` has a published digest or is a user's own data set."""
    published = {}
    if request.param == "published":
        files = Files(PARQUET, 0, "train")
        published["pets"] = PublishedSet(NAMES, False, *(_published(files.rows[part]) for part in ("train", "test")))
    monkeypatch.setattr(identity, "PUBLISHED", published)
    return request.param


def _published(rows):
    images = np.stack([row.pixels.transpose(2, 0, 1) for row in rows])
    labels = np.array([NAMES.index(row.name) for row in rows])
    return PublishedPart(tuple(np.bincount(labels).tolist()), content=identity.content_sha256(images, labels))


CASES = [(name, form) for name, case in MUTATIONS.items() for form in case.forms]


def test_there_are_mutations_of_every_kind():
    assert len(MUTATIONS) >= 20
    assert {case.published for case in MUTATIONS.values()} == {"same", "reordered", "refused"}


@pytest.mark.parametrize(("name", "form"), CASES, ids=[f"{name}-{form}" for name, form in CASES])
def test_a_mutated_data_set_is_the_same_or_refused_in_one_sentence(name, form, kind):
    case = MUTATIONS[name]
    expected = case.published if kind == "published" else case.own

    @settings(max_examples=1)
    @given(seed=st.integers(0, 2**16), part=st.sampled_from(["train", "test"]))
    @example(seed=1, part="train")
    @example(seed=2, part="test")
    def check(seed, part):
        files = Files(form, seed, part)
        case.apply(files)
        loaded, original = load(files), unchanged(form)
        if isinstance(loaded, str):
            assert loaded and "\n" not in loaded
            assert expected in ("refused", "changed"), loaded
        elif expected == "changed":
            assert loaded.hashes != original.hashes
        else:
            assert expected in ("same", "reordered")
            assert loaded.class_names == original.class_names
            assert loaded.images == original.images
            assert expected == "reordered" or loaded.hashes == original.hashes

    check()
