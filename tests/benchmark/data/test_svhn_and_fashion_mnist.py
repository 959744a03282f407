"""SVHN as MATLAB files and Fashion-MNIST as idx files."""

import contextlib
import gzip
import struct

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch

from benchmark.data.load import load_test, load_training
from benchmark.errors import UserError

pytestmark = pytest.mark.usefixtures("small_sets")


def write_svhn(folder, n=5, part="train", compressed=True, label_type=np.uint8):
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
    labels = np.arange(1, n + 1, dtype=label_type)[:, np.newaxis]
    content = {"X": images, "y": labels}
    scipy.io.savemat(folder / f"{part}_32x32.mat", content, do_compression=compressed)
    return images


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("label_type", [np.uint8, np.int16, np.int64])
def test_svhn_loads_with_label_ten_as_zero(tmp_path, compressed, label_type):
    write_svhn(tmp_path)
    images = write_svhn(tmp_path, 10, "test", compressed, label_type)

    test = load_test("svhn", tmp_path)

    assert test.test.labels.tolist() == [(row + 1) % 10 for row in test.index.tolist()]
    row = int(test.index[0])
    assert torch.equal(test.test.images[0], torch.from_numpy(images[..., row].transpose(2, 0, 1).copy()))
    assert len(load_training("svhn", tmp_path).train) == 4
    assert load_training("svhn", tmp_path).info.flip is False


def test_a_matlab_file_with_a_single_image_loads(tmp_path):
    write_svhn(tmp_path, n=1, part="test")

    assert load_test("svhn", tmp_path).test.images.shape == (1, 3, 32, 32)


def test_a_missing_svhn_file_is_named(tmp_path):
    write_svhn(tmp_path, part="test")

    with pytest.raises(UserError, match=r"train_32x32\.mat is missing"):
        load_training("svhn", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"X": np.zeros((32, 32, 3, 2), np.uint8)}, "has no variable y"),
        ({"a": 1}, "has no variable X and no y"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([1, 2, 3])}, "3 labels for 2 images"),
        ({"X": np.zeros((2, 32, 32, 3), np.uint8), "y": np.array([1, 2])}, "X must be uint8"),
        ({"X": np.zeros((32, 32, 3, 2)), "y": np.array([1, 2])}, "X must be uint8"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([1, 11])}, "row 1 has label 11"),
        (
            {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([0, 10])},
            "labels 0 and 10, which both mean the digit",
        ),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([1.5, 2])}, "one integer label per image"),
    ],
)
def test_wrong_content_of_a_matlab_file_is_one_sentence(tmp_path, content, message):
    scipy.io.savemat(tmp_path / "train_32x32.mat", content)

    with pytest.raises(UserError, match=message):
        load_training("svhn", tmp_path)


@pytest.mark.parametrize(
    "content",
    [{"X": "text"}, {"X": {"a": 1}}, {"X": np.zeros(3) + 1j}, {"X": scipy.sparse.eye_array(3, format="csc")}],
    ids=["text", "struct", "complex", "sparse"],
)
def test_anything_but_a_real_array_is_refused(tmp_path, content):
    scipy.io.savemat(tmp_path / "train_32x32.mat", content)

    with pytest.raises(UserError, match=r"train_32x32\.mat"):
        load_training("svhn", tmp_path)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_truncated_matlab_file_names_itself(tmp_path, compressed):
    write_svhn(tmp_path, compressed=compressed)
    file = tmp_path / "train_32x32.mat"
    whole = file.read_bytes()
    for length in (0, 1, 100, 127, 130, 5000, len(whole) - 20):
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"train_32x32\.mat could not be read as a MATLAB file"):
            load_training("svhn", tmp_path)


def test_a_matlab_file_with_a_wrong_byte_in_its_structure_raises_nothing_but_user_errors(tmp_path):
    """Scipy's reader crashes the process on some of these."""
    write_svhn(tmp_path, n=2, compressed=False)
    file = tmp_path / "train_32x32.mat"
    whole = file.read_bytes()
    for index in range(124, 208):
        for value in (0, 1, 5, 8, 15, 255):
            broken = bytearray(whole)
            broken[index] = value
            file.write_bytes(broken)
            with contextlib.suppress(UserError):
                load_training("svhn", tmp_path)


def idx(array):
    head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_fashion(folder, n=6, size=28, compressed=False):
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(3)
    for prefix in ("train", "t10k"):
        images = random.integers(0, 256, (n, size, size))
        for name, array in (("images-idx3", images), ("labels-idx1", np.arange(n) % 10)):
            content = gzip.compress(idx(array)) if compressed else idx(array)
            (folder / f"{prefix}-{name}-ubyte{'.gz' if compressed else ''}").write_bytes(content)


@pytest.mark.parametrize("subfolder", ["", "raw", "FashionMNIST/raw", "fashion-mnist", "fashion-mnist/raw"])
@pytest.mark.parametrize("compressed", [True, False])
def test_fashion_mnist_loads_from_every_usual_folder(tmp_path, subfolder, compressed):
    write_fashion(tmp_path / subfolder, compressed=compressed)

    training = load_training("fashion-mnist", tmp_path)
    test = load_test("fashion-mnist", tmp_path)

    assert training.train.images.shape == (5, 1, 28, 28)
    assert sorted(test.test.labels.tolist()) == [0, 1, 2, 3, 4, 5]


def test_a_compressed_file_beside_the_unpacked_one_must_be_the_same(tmp_path):
    write_fashion(tmp_path)
    for file in list(tmp_path.iterdir()):
        (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    assert len(load_test("fashion-mnist", tmp_path).test) == 6

    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(6))))
    with pytest.raises(UserError, match=r"labels-idx1-ubyte and t10k-labels-idx1-ubyte\.gz have different content"):
        load_test("fashion-mnist", tmp_path)


def test_a_missing_idx_file_is_named(tmp_path):
    write_fashion(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()

    with pytest.raises(UserError, match="train-labels-idx1-ubyte is missing, with or without"):
        load_training("fashion-mnist", tmp_path)


def test_fashion_mnist_of_another_size_is_refused(tmp_path):
    write_fashion(tmp_path, size=20)

    with pytest.raises(UserError, match="1 channels of 20x20 pixels, but fashion-mnist has 1 of 28x28"):
        load_training("fashion-mnist", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an idx file"),
        (b"\0\0\x08\x01\0\0\0\x06", "is not an idx file of bytes with 3 axes"),
        (b"\0\0\x0d\x03" + bytes(12), "is not an idx file"),
        (idx(np.zeros((6, 28, 28)))[:-1], "is truncated or too long"),
        (idx(np.zeros((6, 28, 28))) + b"x", "is truncated or too long"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "is truncated or too long"),
        (idx(np.zeros((5, 28, 28))), "labels-idx1-ubyte has 6 labels for 5 images"),
    ],
)
def test_a_broken_idx_file_is_one_sentence(tmp_path, content, message):
    write_fashion(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)

    with pytest.raises(UserError, match=message):
        load_training("fashion-mnist", tmp_path)


def test_a_truncated_gz_file_names_itself(tmp_path):
    write_fashion(tmp_path, compressed=True)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    for length in (1, 5, 20, len(whole) // 2, len(whole) - 4):
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz could not be read as an idx file"):
            load_training("fashion-mnist", tmp_path)
    file.write_bytes(b"not gzip at all")
    with pytest.raises(UserError, match="could not be read as an idx file"):
        load_training("fashion-mnist", tmp_path)
