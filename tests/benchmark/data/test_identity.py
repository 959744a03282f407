"""A data set under a published name is that data set, or is refused with the name to use instead."""

import hashlib
import io
import json
import pickle
import struct
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.data import identity
from benchmark.data.catalog import DATASETS
from benchmark.data.identity import content_sha256
from benchmark.data.load import load_test, load_training
from benchmark.data.published import LOOKALIKES, PUBLISHED, PublishedPart, PublishedSet
from benchmark.errors import UserError

LOSSLESS = ["cifar10", "cifar100", "svhn"]
PER_CLASS = 6


def encoded(pixels, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def write_parquet(folder, contents, labels, *, names=None, label="label"):
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"img": contents, label: [int(number) for number in labels]})
    if names:
        features = {label: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    for part in ("train", "test"):
        pq.write_table(table, folder / f"{part}-00000-of-00001.parquet")


def small_set(seed=0):
    """Return images (N, 32, 32, 3) of ten classes with one colour each, and their labels, shuffled."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(10), PER_CLASS))
    images = random.integers(0, 30, (len(labels), 32, 32, 3)) + 20 * labels[:, np.newaxis, np.newaxis, np.newaxis]
    return images.astype(np.uint8), labels


def facts(images, labels):
    """Return the facts that would be published about these images."""
    values = images.astype(np.int64)
    return PublishedPart(
        counts=tuple(np.bincount(labels, minlength=10).tolist()),
        sums=tuple(values.sum((0, 1, 2)).tolist()),
        squares=tuple((values**2).sum((0, 1, 2)).tolist()),
        class_means=tuple(tuple(images[labels == label].mean((0, 1, 2)) / 255) for label in range(10)),
    )


def publish(monkeypatch, part, name="cifar10", jpeg=False):
    names = PUBLISHED["cifar10"].class_names
    monkeypatch.setattr(identity, "PUBLISHED", {name: PublishedSet(names, jpeg, part, part)})


def message(load, *arguments):
    with pytest.raises(UserError) as caught:
        load(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_catalog_data_set_has_published_facts_that_agree_with_the_catalog():
    assert set(PUBLISHED) == set(DATASETS)
    for name, published in PUBLISHED.items():
        dataset = DATASETS[name]
        assert len(published.class_names) == len(set(published.class_names)) == dataset.num_classes
        for part in (published.train, published.test):
            assert len(part.counts) == dataset.num_classes
            assert part.content or (part.sums and part.squares) or part.mean
        if published.train.sums:
            pixels = sum(published.train.counts) * dataset.size**2
            means = [total / (255 * pixels) for total in published.train.sums]
            assert means == pytest.approx(dataset.mean, abs=2e-4)
            assert all(mean**2 < s / (255**2 * pixels) for mean, s in zip(means, published.train.squares, strict=True))


def test_the_mean_colours_distinguish_the_classes_of_cifar10():
    for part in (PUBLISHED["cifar10"].train, PUBLISHED["cifar10"].test):
        means = np.array(part.class_means)
        distances = np.abs(means[:, np.newaxis] - means).max(2) + np.eye(10)
        assert distances.min() > 2 * identity._CLASS_TOLERANCE


@pytest.mark.parametrize("load", [load_training, load_test])
@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize(("kind", "words"), [("JPEG", "JPEG"), ("WEBP", "lossy WebP")])
def test_lossy_files_under_a_name_whose_originals_are_lossless_are_refused(tmp_path, load, name, kind, words):
    """The content decides, not the file name: in parquet files the images have none."""
    images, labels = small_set()
    write_parquet(tmp_path, [encoded(image, kind) for image in images], labels, label=DATASETS[name].label_column)

    text = message(load, name, tmp_path)

    assert f"it has {words} images, but the originals of {name} are lossless" in text
    assert f"use the published files, or a name of your own, such as --dataset my-{name}." in text


def test_jpeg_files_called_png_are_refused_from_folders_too(tmp_path):
    images, labels = small_set()
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "train" / PUBLISHED["cifar10"].class_names[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row}.png").write_bytes(encoded(image, "JPEG"))

    assert "it has JPEG images, but the originals of cifar10 are lossless" in message(
        load_training, "cifar10", tmp_path
    )


def test_lossless_files_under_the_name_of_the_jpeg_set_are_refused(tmp_path):
    images, labels = small_set()
    contents = [encoded(image, "JPEG") for image in images]
    write_parquet(tmp_path, [*contents[:-1], encoded(images[-1])], labels)

    assert "it has PNG images, but cifar10-jpeg has JPEG images only" in message(
        load_training, "cifar10-jpeg", tmp_path
    )


@pytest.mark.parametrize("name", [*LOSSLESS, "cifar10-jpeg"])
def test_a_subset_is_refused(tmp_path, name):
    images, labels = small_set()
    kind = "JPEG" if name == "cifar10-jpeg" else "PNG"
    write_parquet(tmp_path, [encoded(image, kind) for image in images], labels, label=DATASETS[name].label_column)

    assert f"it holds 60 images instead of {sum(PUBLISHED[name].train.counts)}" in message(
        load_training, name, tmp_path
    )


@pytest.mark.parametrize("name", ["dog", "tiger"])
def test_class_names_in_another_order_or_of_another_set_are_refused(tmp_path, name):
    images, labels = small_set()
    names = list(_names())
    names[3] = name
    if name == "dog":
        names[5] = "cat"
    write_parquet(tmp_path, [encoded(image) for image in images], labels, names=names)

    text = message(load_training, "cifar10", tmp_path)

    assert f"its class 3 is called '{name}' instead of 'cat'" in text


def test_numbered_folders_that_sort_as_text_are_refused(tmp_path):
    """With folders 0, 1, 10, 11 ..., class 10 would get the label 2."""
    image = np.zeros((32, 32, 3), np.uint8)
    for number in range(100):
        (tmp_path / "train" / str(number)).mkdir(parents=True)
        (tmp_path / "train" / str(number) / "0.png").write_bytes(encoded(image))

    assert "its class 0 is called '0' instead of 'apple'" in message(load_training, "cifar100", tmp_path)


def test_folders_of_fashion_mnist_that_sort_in_another_order_are_refused(tmp_path):
    for name in PUBLISHED["fashion-mnist"].class_names:
        folder = tmp_path / "train" / name.replace("/", " ")
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(encoded(np.zeros((28, 28), np.uint8)))

    assert "its class 0 is called 'Ankle boot' instead of 'T-shirt/top'" in message(
        load_training, "fashion-mnist", tmp_path
    )


def write_idx(folder, counts):
    folder.mkdir(exist_ok=True)
    labels = np.repeat(np.arange(10, dtype=np.uint8), counts)
    head = struct.pack(">BBBBI", 0, 0, 8, 1, len(labels))
    (folder / "train-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    head = struct.pack(">BBBBIII", 0, 0, 8, 3, len(labels), 28, 28)
    (folder / "train-images-idx3-ubyte").write_bytes(head + bytes(len(labels) * 28 * 28))


def test_mnist_under_the_file_names_of_fashion_mnist_is_refused_and_named(tmp_path):
    write_idx(tmp_path, LOOKALIKES["mnist"].train.counts)

    text = message(load_training, "fashion-mnist", tmp_path)

    assert "is not the training part of fashion-mnist: its class 0 has 5923 images instead of 6000" in text
    assert "these are the images of mnist, so use --dataset mnist." in text


def test_other_images_with_the_counts_of_fashion_mnist_are_refused(tmp_path):
    write_idx(tmp_path, (6000,) * 10)

    assert "some of its images or labels are not the published ones; use the published files" in message(
        load_training, "fashion-mnist", tmp_path
    )


def test_the_published_images_pass_in_any_order_and_any_lossless_encoding(tmp_path, monkeypatch):
    images, labels = small_set()
    whole = facts(images, labels)
    channels_first = images.transpose(0, 3, 1, 2)
    order = np.random.default_rng(1).permutation(len(labels))
    for published in (whole, replace(whole, content=content_sha256(channels_first, labels))):
        publish(monkeypatch, published)
        for rows in (np.arange(len(labels)), order):
            for kind, options in (("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})):
                contents = [encoded(image, kind, **options) for image in images[rows]]
                for names in (None, PUBLISHED["cifar10"].class_names, [name.upper() for name in _names()]):
                    write_parquet(tmp_path, contents, labels[rows], names=names)
                    load_training("cifar10", tmp_path), load_test("cifar10", tmp_path)


def _names():
    return PUBLISHED["cifar10"].class_names


def one_pixel(images, labels):
    images[7, 3, 4, 1] += 1


def two_pixels(images, labels):
    images[7, 3, 4, 1] += 1
    images[8, 3, 4, 1] -= 1


def channels(images, labels):
    images[:] = images[..., ::-1]


def one_label(images, labels):
    labels[0] = (labels[0] + 1) % 10


def class_order(images, labels):
    labels[:] = (labels + 1) % 10


def two_classes(images, labels):
    labels[:] = np.array([0, 1, 2, 5, 4, 3, 6, 7, 8, 9])[labels]


def swapped_labels(images, labels):
    first, second = np.flatnonzero(labels == 3)[0], np.flatnonzero(labels == 5)[0]
    labels[[first, second]] = labels[[second, first]]


MUTATIONS = {  # changes that both the sums and the digest detect
    one_pixel: "the pixel values of its channel 1 add up to",
    two_pixels: "the squared pixel values of its channel 1 add up to",
    channels: "the pixel values of its channel 0 add up to",
    one_label: "images instead of 6",
    class_order: "its class 0 has the mean colour of 'truck' instead of 'airplane'",
    two_classes: "its class 3 has the mean colour of 'dog' instead of 'cat'",
    swapped_labels: "the mean colour of its class 3 is not that of 'cat'",
}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
@pytest.mark.parametrize("digest", [True, False], ids=["digest", "sums"])
@pytest.mark.parametrize("names", [None, _names()], ids=["unnamed", "named"])
def test_a_published_set_that_was_changed_is_refused(tmp_path, monkeypatch, mutation, digest, names):
    images, labels = small_set()
    published = facts(images, labels)
    if digest:
        content = content_sha256(images.transpose(0, 3, 1, 2), labels)
        published = PublishedPart(published.counts, content=content)
    publish(monkeypatch, published)
    mutation(images, labels)
    write_parquet(tmp_path, [encoded(image) for image in images], labels, names=names)

    for load in (load_training, load_test):
        text = message(load, "cifar10", tmp_path)
        if digest and mutation is not one_label:
            assert "some of its images or labels are not the published ones" in text
        else:
            assert MUTATIONS[mutation] in text


def test_a_set_with_a_published_digest_may_be_reencoded_losslessly(tmp_path, monkeypatch):
    images, labels = small_set()
    decoded = np.stack([np.asarray(Image.open(io.BytesIO(encoded(image, "JPEG")))) for image in images])
    content = content_sha256(decoded.transpose(0, 3, 1, 2), labels)
    publish(monkeypatch, PublishedPart((PER_CLASS,) * 10, content=content), name="cifar10-jpeg", jpeg=True)
    for contents in ([encoded(image, "JPEG") for image in images], [encoded(image) for image in decoded]):
        write_parquet(tmp_path, contents, labels)
        load_training("cifar10-jpeg", tmp_path)


def test_without_names_colours_or_distinct_counts_the_class_order_cannot_be_checked(tmp_path, monkeypatch):
    images, labels = small_set()
    publish(monkeypatch, replace(facts(images, labels), class_means=()))
    contents = [encoded(image) for image in images]
    write_parquet(tmp_path, contents, labels)
    assert "it names no classes, so their order cannot be checked" in message(load_training, "cifar10", tmp_path)

    write_parquet(tmp_path, contents, labels, names=_names())
    load_training("cifar10", tmp_path)


def test_images_of_another_published_set_are_identified(tmp_path, monkeypatch):
    images, labels = small_set()
    other, other_labels = small_set(seed=1)
    content = content_sha256(other.transpose(0, 3, 1, 2), other_labels)
    both = {
        "cifar10": PublishedSet(_names(), False, *[facts(images, labels)] * 2),
        "svhn": PublishedSet(_names(), False, *[replace(facts(other, other_labels), content=content)] * 2),
    }
    monkeypatch.setattr(identity, "PUBLISHED", both)
    write_parquet(tmp_path, [encoded(image) for image in other], other_labels)

    assert "these are the images of svhn, so use --dataset svhn." in message(load_test, "cifar10", tmp_path)


@pytest.mark.parametrize(("algorithm", "title"), [("sha256", "SHA-256"), ("md5", "MD5")])
def test_the_official_files_are_recognised_by_their_hash(tmp_path, monkeypatch, algorithm, title):
    images, labels = small_set()
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    content = {"data": images.transpose(0, 3, 1, 2).reshape(60, -1), "labels": labels.tolist()}
    whole = pickle.dumps(content)
    (folder / "test_batch").write_bytes(whole)
    want = hashlib.new(algorithm, whole).hexdigest()
    publish(monkeypatch, PublishedPart((PER_CLASS,) * 10, files={"test_batch": f"{algorithm}:{want}"}, sums=(1, 2, 3)))
    load_test("cifar10", tmp_path)

    swapped_labels(images, labels)
    (folder / "test_batch").write_bytes(pickle.dumps(content | {"labels": labels.tolist()}))

    got = hashlib.new(algorithm, (folder / "test_batch").read_bytes()).hexdigest()
    assert f"its file test_batch has the {title} {got} instead of {want}" in message(load_test, "cifar10", tmp_path)


def test_a_name_of_ones_own_is_not_compared_with_anything(tmp_path):
    images, labels = small_set()
    write_parquet(tmp_path, [encoded(image, "JPEG") for image in images], labels)

    assert len(load_test("my-cifar10", tmp_path).test) == 60


def test_mnist_is_never_read_from_the_files_of_fashion_mnist(tmp_path):
    (tmp_path / "FashionMNIST").mkdir()
    write_idx(tmp_path / "FashionMNIST" / "raw", (6000,) * 10)
    assert "are fashion-mnist: use --dataset fashion-mnist" in message(load_training, "mnist", tmp_path)

    (tmp_path / "MNIST").mkdir()
    write_idx(tmp_path / "MNIST" / "raw", LOOKALIKES["mnist"].train.counts)
    assert len(load_training("mnist", tmp_path).train) == 58_800

    write_idx(tmp_path / "MNIST" / "raw", (6000,) * 10)
    assert "is not the training part of mnist: its class 0 has 6000 images" in message(load_training, "mnist", tmp_path)


def test_two_layouts_under_a_name_of_ones_own_are_refused(tmp_path):
    images, labels = small_set()
    write_parquet(tmp_path, [encoded(image) for image in images], labels)
    (tmp_path / "cifar-10-batches-py").mkdir()

    text = message(load_test, "my-cifar10", tmp_path)

    assert "pickled batches in" in text and "parquet files in" in text and "could both be my-cifar10" in text


def test_the_official_layouts_load_under_a_name_of_ones_own(tmp_path):
    """A set refused under the published name is read under the name that the message suggests."""
    write_idx(tmp_path / "mnist", LOOKALIKES["mnist"].train.counts)
    training = load_training("mnist", tmp_path)
    assert training.info.class_names == tuple("0123456789")
    assert len(training.train) + len(training.validation) == 60_000

    images, labels = small_set()
    data = images.transpose(0, 3, 1, 2).reshape(60, -1)
    for name in ("train", "test"):
        (tmp_path / "cifar-100-python").mkdir(exist_ok=True)
        content = pickle.dumps({"data": data, "fine_labels": labels.tolist()})
        (tmp_path / "cifar-100-python" / name).write_bytes(content)
    assert len(load_test("my-cifar100", tmp_path).test) == 60
    assert load_test("my-cifar100", tmp_path).info.num_classes == 10
    pets = tmp_path / "pets"
    for name in ("pets", "cifar100.1", "cifar100-c"):
        text = message(load_test, name, tmp_path)
        assert f"in {tmp_path / 'cifar-100-python'} are cifar100: use --dataset cifar100, or move" in text
    pets.mkdir()
    (pets / "cifar-100-python").symlink_to(tmp_path / "cifar-100-python")
    assert len(load_test("pets", tmp_path).test) == 60

    content = pickle.dumps({"data": data, "fine_labels": [10**9] * 60})
    (tmp_path / "cifar-100-python" / "train").write_bytes(content)
    assert "row 0 has label 1000000000; labels must number the classes from 0" in message(
        load_training, "my-cifar100", tmp_path
    )


def test_the_command_refuses_another_set_under_a_published_name_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "benchmark.launch.engines.local.ForkServer", lambda device: nullcontext()
    )  # no worker can be started
    images, labels = small_set()
    write_parquet(tmp_path / "data", [encoded(image, "JPEG") for image in images], labels)
    command = ["run", "--dataset", "cifar10", "--methods", "at", "--preset", "smoke"]

    finished = CliRunner().invoke(app, [*command, "--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "out")])

    assert isinstance(finished.exception, UserError)  # which `python -m benchmark` turns into exit code 2
    assert "\n" not in str(finished.exception)
    assert "the originals of cifar10 are lossless; use the published files, or a name of your own" in str(
        finished.exception
    )
    assert not list((tmp_path / "out").rglob("*.json"))
