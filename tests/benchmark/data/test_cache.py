"""Decoded images are cached by the content of their files and used only if intact and written by this user."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from benchmark.data import cache
from benchmark.data.load import load_test, load_training
from benchmark.data.readers import decode
from benchmark.data.readers.image_folder import ImageFolderReader
from benchmark.data.readers.parquet import ParquetReader
from benchmark.errors import UserError

pytestmark = pytest.mark.usefixtures("small_sets")


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def pixels(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def write_parquet(folder, seed=0):
    for part in ("train", "test"):
        table = pa.table({"img": [png(image) for image in pixels(6, seed)], "label": list(range(6))})
        pq.write_table(table, folder / f"{part}-00000-of-00001.parquet")


def write_folder(folder):
    for part, seed in (("train", 0), ("test", 1)):
        for row, image in enumerate(pixels(8, seed)):
            class_folder = folder / part / f"class{row % 4}"
            class_folder.mkdir(parents=True, exist_ok=True)
            (class_folder / f"{row}.png").write_bytes(png(image))


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Return the folder of a cache that keeps every decoded part."""
    monkeypatch.setenv("ROBUST_COMPRESSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "MIN_SECONDS", 0)
    return tmp_path / "cache"


@pytest.fixture
def files(tmp_path):
    """Return a folder with a data set as parquet files."""
    folder = tmp_path / "files"
    folder.mkdir()
    write_parquet(folder)
    return folder


@pytest.fixture
def decodings(monkeypatch):
    """Return a list that grows with every decoding of a part."""
    seen = []
    for reader in (ParquetReader, ImageFolderReader):
        monkeypatch.setattr(
            reader, "read", lambda self, part, read=reader.read: (seen.append(part), read(self, part))[1]
        )
    return seen


def same(left, right):
    """Compare two training parts bit by bit."""
    return (
        left.sha256 == right.sha256
        and left.info == right.info
        and torch.equal(left.train.images, right.train.images)
        and torch.equal(left.train.labels, right.train.labels)
        and torch.equal(left.validation.images, right.validation.images)
    )


@pytest.mark.parametrize("layout", ["parquet", "folder"])
def test_the_second_load_decodes_nothing_and_returns_the_same(tmp_path, kept, decodings, layout):
    folder = tmp_path / "own"
    folder.mkdir()
    (write_parquet if layout == "parquet" else write_folder)(folder)

    first, second = load_training("own", folder), load_training("own", folder)

    assert decodings == ["train"]
    assert same(first, second)


def test_training_keeps_and_reads_no_test_image(kept, files, decodings):
    (files / "test-00000-of-00001.parquet").write_bytes(b"unreadable")

    load_training("cifar10", files)
    load_training("cifar10", files)

    assert decodings == ["train"]
    assert len(list(kept.iterdir())) == 1


def test_files_with_other_content_of_the_same_size_and_time_are_decoded(tmp_path, kept):
    write_folder(tmp_path / "own")
    before = load_training("own", tmp_path / "own")
    file = tmp_path / "own" / "train" / "class0" / "0.png"
    stamp, content = file.stat(), bytearray(file.read_bytes())
    content[-4:] = bytes(4)  # the checksum of the last chunk, which holds no pixels
    file.write_bytes(content)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert file.stat().st_size == stamp.st_size

    after = load_training("own", tmp_path / "own")

    assert after.sha256 == before.sha256
    assert len(list(kept.iterdir())) == 2  # decoded again


def test_a_file_that_changes_while_it_is_decoded_is_not_cached(kept, files, monkeypatch):
    def read(self, part, read=ParquetReader.read):
        decoded = read(self, part)
        write_parquet(self.folder, seed=1)
        return decoded

    monkeypatch.setattr(ParquetReader, "read", read)

    load_test("cifar10", str(files))  # a path is a text or a Path

    assert not kept.exists()


def one_pixel(path):
    tensors = load_file(path)
    tensors["images"][0, 0, 0, 0] ^= 1
    with cache.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    save_file(tensors, path, metadata=metadata)
    path.chmod(0o600)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "another pixel": one_pixel,
    "another entry": lambda path: path.write_bytes(
        next(other for other in sorted(path.parent.iterdir()) if other != path).read_bytes()
    ),
    "no tensors": lambda path: (save_file({"labels": np.zeros(1)}, path), path.chmod(0o600)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_swapped_entry_is_not_used_and_is_replaced(kept, files, decodings, damage):
    whole = load_training("cifar10", files)
    (entry,) = kept.iterdir()
    load_test("cifar10", files)
    DAMAGES[damage](entry)

    assert same(load_training("cifar10", files), whole)
    assert same(load_training("cifar10", files), whole)
    assert decodings == ["train", "test", "train"]


def test_an_entry_that_others_may_write_to_is_not_used(kept, files, decodings):
    load_training("cifar10", files)
    (entry,) = kept.iterdir()
    assert entry.stat().st_mode & 0o777 == 0o600
    entry.chmod(0o666)

    load_training("cifar10", files)

    assert decodings == ["train", "train"]


def test_a_cache_that_cannot_be_written_is_reported_in_a_note(tmp_path, kept, files, capsys):
    kept.write_text("in the way")

    loaded = load_training("cifar10", files)

    assert len(loaded.train) == 5
    assert "note: cifar10 could not be cached in" in capsys.readouterr().err


def test_the_cache_drops_the_least_recently_used_entries(kept, files, monkeypatch):
    load_training("cifar10", files)
    (oldest,) = kept.iterdir()
    load_test("cifar10", files)
    load_training("cifar10", files)  # now the test part is the least recently used
    os.utime(oldest, (2e9, 2e9))
    monkeypatch.setattr(cache, "MAX_BYTES", 2 * oldest.stat().st_size)

    write_parquet(files, seed=7)
    load_training("cifar10", files)

    assert len(list(kept.iterdir())) == 2 and oldest.exists()


def test_only_entries_are_deleted_to_make_room(kept, files, monkeypatch):
    load_training("cifar10", files)
    (entry,) = kept.iterdir()
    others = [kept / "weights.safetensors", kept / "notes.txt", kept / "folder"]
    others[0].write_bytes(b"mine")
    others[1].write_text("mine")
    others[2].mkdir()
    for path in (*others, entry):
        os.utime(path, (1e9, 1e9))
    monkeypatch.setattr(cache, "MAX_BYTES", entry.stat().st_size)

    load_test("cifar10", files)

    assert all(path.exists() for path in others)
    assert not entry.exists()
    assert len(list(kept.iterdir())) == 4


def test_a_user_without_a_home_decodes_every_time(tmp_path, files, decodings, monkeypatch):
    monkeypatch.setenv("ROBUST_COMPRESSION_CACHE", "~nobody-of-that-name/cache")

    load_training("cifar10", files)
    load_training("cifar10", files)

    assert decodings == ["train", "train"]


def test_a_part_that_decodes_quickly_is_not_cached(kept, files, monkeypatch):
    monkeypatch.setattr(cache, "MIN_SECONDS", 60)

    load_training("cifar10", files)

    assert not kept.exists()


def test_the_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUST_COMPRESSION_CACHE", "~/mine")
    assert cache.cache_folder() == cache.Path.home() / "mine"
    monkeypatch.delenv("ROBUST_COMPRESSION_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "robust-compression-benchmark"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == cache.Path.home() / ".cache" / "robust-compression-benchmark"


@pytest.fixture
def helpers(monkeypatch):
    """Split the decoding of even a few images among processes; return their results."""
    results = []

    @contextmanager
    def process(encoded, work=decode._process):
        with work(encoded) as result:
            results.append(result())
            yield result

    monkeypatch.setattr(decode, "_IMAGES_PER_PROCESS", 4)
    monkeypatch.setattr(decode.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(decode, "_process", process)
    return results


@pytest.mark.parametrize("grey", ["none", "last half", "all"])
def test_two_processes_decode_what_one_does(tmp_path, helpers, monkeypatch, grey):
    images = pixels(9, seed=3)
    content = [
        png(image[:, :, 0] if grey == "all" or (grey == "last half" and row > 3) else image)
        for row, image in enumerate(images)
    ]
    paths = [tmp_path / f"{row}.png" for row in range(9)]
    for path, one in zip(paths, content, strict=True):
        path.write_bytes(one)

    shared = [decode.decode_images(encoded, str) for encoded in (content, paths)]
    assert len(helpers) == 2 and all(piece is not None for piece in helpers)
    monkeypatch.setattr(decode, "_IMAGES_PER_PROCESS", 100)
    alone = decode.decode_images(content, str)

    assert all(np.array_equal(decoded.images, alone.images) for decoded in shared)
    assert all(decoded.encodings == alone.encodings == {"PNG"} for decoded in shared)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content.__setitem__(7, b"no image"), "row 7 could not be decoded"),
        (lambda content: content.__setitem__(8, png(np.zeros((8, 8, 3), np.uint8))), "row 8 is 8x8 pixels but row 0"),
        (lambda content: content.__setitem__(slice(4, 9), [png(np.zeros((8, 8, 3), np.uint8))] * 5), "row 4 is 8x8"),
    ],
)
def test_a_broken_image_in_another_process_is_named(helpers, spoil, message):
    content = [png(image) for image in pixels(9, seed=3)]
    spoil(content)

    with pytest.raises(UserError, match=message):
        decode.decode_images(content, lambda row: f"row {row}")


def test_without_another_process_this_one_decodes_all(helpers, monkeypatch):
    monkeypatch.setattr(decode.sys, "executable", "/nowhere/python")
    content = [png(image) for image in pixels(9, seed=3)]

    assert np.array_equal(decode.decode_images(content, str).images, pixels(9, seed=3).transpose(0, 3, 1, 2))
    assert helpers == [None]


@pytest.mark.parametrize("step", ["open", "write"])
def test_without_room_for_temporary_files_this_process_decodes_all(helpers, monkeypatch, step):
    class Full(io.BytesIO):
        """A file on a full disk."""

        def write(self, content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def temporary_file(**_):
        if step == "open":
            raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")
        return Full()

    monkeypatch.setattr(decode.tempfile, "TemporaryFile", temporary_file)
    content = [png(image) for image in pixels(9, seed=3)]

    assert np.array_equal(decode.decode_images(content, str).images, pixels(9, seed=3).transpose(0, 3, 1, 2))
    assert helpers == [None]


def test_reading_no_parquet_imports_no_pyarrow():
    code = "import sys, benchmark.data.load; print('pyarrow' in sys.modules)"

    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert finished.stdout == "False\n"
