"""Parquet files in the layouts of the Hugging Face hub, for catalog data sets and one's own."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from benchmark.data.load import load_test, load_training
from benchmark.errors import UserError

pytestmark = pytest.mark.usefixtures("small_sets")


def png(pixels, kind="PNG", mode=None):
    stream = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(stream, kind)
    return stream.getvalue()


def pixels(n, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def write(file, images, labels, image="img", label="label", plain=False, names=None):
    file.parent.mkdir(parents=True, exist_ok=True)
    values = images if plain else [None if i is None else {"bytes": i, "path": "x.png"} for i in images]
    kind = pa.binary() if plain else pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({image: pa.array(values, kind), label: labels})
    if names:
        features = {label: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, file)


def write_both(folder, size=32, **options):
    for part, seed in (("train", 0), ("test", 1)):
        images = [png(array) for array in pixels(6, size, seed)]
        write(folder / f"{part}-00000-of-00001.parquet", images, [0, 1, 2, 3, 4, 5], **options)


@pytest.mark.parametrize("name", ["cifar10", "cifar10-jpeg", "svhn"])
@pytest.mark.parametrize("subfolder", ["", "data", "default", "{name}", "{name}/data", "{name}/default"])
def test_catalog_data_sets_load_from_the_hubs_folders(tmp_path, name, subfolder):
    write_both(tmp_path / subfolder.format(name=name))

    training = load_training(name, tmp_path)
    test = load_test(name, tmp_path)

    assert training.train.images.shape == (5, 3, 32, 32)
    expected = torch.from_numpy(pixels(6, seed=1)).permute(0, 3, 1, 2)
    assert torch.equal(test.test.images, expected[test.index])
    assert torch.equal(test.test.labels, test.index)


def test_files_of_another_data_set_in_the_data_folder_are_ignored(tmp_path):
    write_both(tmp_path / "cifar10-jpeg")

    with pytest.raises(UserError, match="found no svhn-of-my-own"):
        load_training("svhn-of-my-own", tmp_path)


def test_cifar100_takes_the_fine_labels_and_the_hubs_class_names(tmp_path):
    names = [f"class {number}" for number in range(100)]
    images = [png(array) for array in pixels(3)]
    for part in ("train", "test"):
        write(tmp_path / f"{part}-0.parquet", images, [7, 8, 9], label="fine_label", names=names)
        table = pq.read_table(tmp_path / f"{part}-0.parquet")
        pq.write_table(table.append_column("coarse_label", [[1, 1, 1]]), tmp_path / f"{part}-0.parquet")

    test = load_test("cifar100", tmp_path)

    assert sorted(test.test.labels.tolist()) == [7, 8, 9]
    assert test.info.class_names == tuple(names)


@pytest.mark.parametrize(("train", "test"), [(None, "0123456789"), ("0123456789", None)])
def test_the_numbers_of_a_catalog_set_need_names_in_neither_part(tmp_path, train, test):
    write_both(tmp_path)
    for part, names in (("train", train), ("test", test)):
        images = [png(array) for array in pixels(6)]
        write(tmp_path / f"{part}-00000-of-00001.parquet", images, [0, 1, 2, 3, 4, 5], names=names and list(names))

    assert sorted(load_test("cifar10", tmp_path).test.labels.tolist()) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("image", ["img", "image"])
@pytest.mark.parametrize("label", ["label", "labels"])
@pytest.mark.parametrize("plain", [True, False])
def test_the_usual_column_names_and_types_are_read(tmp_path, image, label, plain):
    write_both(tmp_path, image=image, label=label, plain=plain)

    assert len(load_training("cifar10", tmp_path).train) == 5


def test_shards_are_read_in_order_and_give_the_same_data_as_one_file(tmp_path):
    images = [png(array) for array in pixels(6)]
    write(tmp_path / "one" / "train-00000-of-00001.parquet", images, [0, 1, 2, 3, 4, 5])
    for number in range(3):
        part = slice(2 * number, 2 * number + 2)
        write(tmp_path / "three" / f"train-0000{number}-of-00003.parquet", images[part], [0, 1, 2, 3, 4, 5][part])

    one, three = (load_training("cifar10", tmp_path / folder) for folder in ("one", "three"))

    assert one.sha256 == three.sha256


def test_a_missing_shard_is_named(tmp_path):
    write(tmp_path / "train-00001-of-00002.parquet", [png(pixels(1)[0])], [0])

    with pytest.raises(UserError, match=r"train-00000-of-00002\.parquet is missing: .* is one of 2 files"):
        load_training("cifar10", tmp_path)


def test_validation_files_serve_as_test_part_when_there_is_none(tmp_path):
    write_both(tmp_path)
    (tmp_path / "test-00000-of-00001.parquet").rename(tmp_path / "validation-00000-of-00001.parquet")

    assert len(load_test("cifar10", tmp_path).test) == 6


def test_a_missing_part_is_reported(tmp_path):
    write_both(tmp_path)
    (tmp_path / "train-00000-of-00001.parquet").unlink()

    with pytest.raises(UserError, match=r"the train part is missing: no train-\*\.parquet"):
        load_training("cifar10", tmp_path)
    assert len(load_test("cifar10", tmp_path).test) == 6


def test_the_facts_of_ones_own_set_come_from_the_training_files(tmp_path):
    names = ["ant", "bee", "cow", "dog", "emu", "fox"]
    write_both(tmp_path, size=16, names=names)

    training = load_training("my-set", tmp_path)
    test = load_test("my-set", tmp_path)

    info = training.info
    assert (info.num_classes, info.channels, info.height, info.width) == (6, 3, 16, 16)
    assert info.class_names == tuple(names) == test.info.class_names
    assert (info.epsilon, info.flip, info.crop_padding) == (None, True, 2)
    floats = training.train.images.double() / 255
    assert info.mean == pytest.approx(floats.mean((0, 2, 3)).tolist(), abs=6e-5)
    assert info.std == pytest.approx(floats.std((0, 2, 3), correction=0).tolist(), abs=6e-5)
    assert all(value == round(value, 4) for value in info.mean + info.std)


def test_the_statistics_of_ones_own_set_are_the_same_for_a_subset(tmp_path):
    write_both(tmp_path)

    assert load_training("own", tmp_path, limit=2).info == load_training("own", tmp_path).info


def test_a_constant_channel_does_not_give_a_standard_deviation_of_zero(tmp_path):
    write(tmp_path / "train-0.parquet", [png(np.zeros((8, 8, 3), np.uint8))] * 3, [0, 1, 1])

    assert load_training("own", tmp_path).info.std == (0.0039, 0.0039, 0.0039)


def test_a_test_label_that_training_does_not_have_is_refused(tmp_path):
    write_both(tmp_path)
    write(tmp_path / "test-00000-of-00001.parquet", [png(array) for array in pixels(2)], [0, 6])

    with pytest.raises(UserError, match="row 1 has label 6; own has labels 0 to 5"):
        load_test("own", tmp_path)


def test_a_gigantic_label_of_ones_own_set_is_refused(tmp_path):
    write(tmp_path / "train-0.parquet", [png(array) for array in pixels(2)], [0, 10**12])

    with pytest.raises(UserError, match="row 1 has label 1000000000000; labels must number the classes from 0"):
        load_training("own", tmp_path)


def test_grey_images_stay_grey_and_a_mixture_becomes_colour(tmp_path):
    grey, colour = png(pixels(1)[0], mode="L"), png(pixels(1)[0])
    write(tmp_path / "a" / "train-0.parquet", [grey] * 3, [0, 1, 0])
    write(tmp_path / "b" / "train-0.parquet", [grey, colour, colour], [0, 1, 0])

    assert load_training("own", tmp_path / "a").info.channels == 1
    assert load_training("own", tmp_path / "b").info.channels == 3


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "P"), ("PNG", "RGBA"), ("PNG", "1"), ("WEBP", None), ("BMP", None)])
def test_other_modes_and_formats_are_converted(tmp_path, kind, mode):
    write(tmp_path / "train-0.parquet", [png(array, kind, mode) for array in pixels(3)], [0, 1, 0])

    assert load_training("own", tmp_path).info.channels == (1 if mode == "1" else 3)


def test_large_images_are_decoded_in_threads_with_the_same_result(tmp_path):
    arrays = pixels(3, size=100)
    write(tmp_path / "test-0.parquet", [png(array) for array in arrays], [0, 1, 0])
    write(tmp_path / "train-0.parquet", [png(array) for array in arrays], [0, 1, 0])

    test = load_test("own", tmp_path)

    assert torch.equal(test.test.images, torch.from_numpy(arrays).permute(0, 3, 1, 2)[test.index])


GOOD = png(pixels(1)[0])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ([GOOD, None], [0, 1], "row 1 has no image"),
        ([GOOD, b""], [0, 1], "row 1 could not be decoded"),
        ([GOOD, GOOD[:200]], [0, 1], "row 1 could not be decoded"),
        ([GOOD, b"text"], [0, 1], "row 1 could not be decoded"),
        ([GOOD, png(pixels(1, 30)[0])], [0, 1], "row 1 is 30x30 pixels but .*row 0 is 32x32"),
        ([GOOD, png(np.zeros((32, 32), np.uint16))], [0, 1], "row 1 has 16 bits per channel"),
        ([GOOD, GOOD], [0, None], "row 1 has no label"),
        ([GOOD, GOOD], [0, 10], "row 1 has label 10; cifar10 has labels 0 to 9"),
        ([GOOD, GOOD], [-1, 0], "row 0 has label -1"),
        ([GOOD, GOOD], [[0], [1]], "one integer label per image"),
        ([GOOD, GOOD], [0.0, 1.0], "one integer label per image"),
        ([GOOD, GOOD], [True, False], "one integer label per image"),
        ([], [], "holds no images|one integer label"),
        ([png(pixels(1, 28)[0])] * 2, [0, 1], "28x28 pixels, but cifar10 has 3 of 32x32"),
        ([png(pixels(1)[0], mode="L")] * 2, [0, 1], "1 channels of 32x32 pixels, but cifar10 has 3"),
    ],
)
@pytest.mark.parametrize("plain", [True, False])
def test_a_broken_row_is_named(tmp_path, images, labels, message, plain):
    write(tmp_path / "train-0.parquet", images, labels, plain=plain)

    with pytest.raises(UserError, match=r"train-0\.parquet.*" + f"({message})"):
        load_training("cifar10", tmp_path)


def test_the_row_is_counted_within_its_shard(tmp_path):
    write(tmp_path / "train-0.parquet", [GOOD] * 3, [0, 1, 2])
    write(tmp_path / "train-1.parquet", [GOOD, GOOD[:100]], [0, 1])

    with pytest.raises(UserError, match=r"train-1\.parquet, row 1 could not be decoded"):
        load_training("cifar10", tmp_path)


def test_a_struct_without_bytes_is_refused(tmp_path):
    pq.write_table(pa.table({"img": [{"path": "a.png"}], "label": [0]}), tmp_path / "train-0.parquet")

    with pytest.raises(UserError, match="images must be binary or a struct with the field 'bytes', got struct"):
        load_training("cifar10", tmp_path)


def test_an_image_with_only_a_path_counts_as_missing(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": GOOD, "path": "a"}, {"bytes": None, "path": "b"}], kind)
    pq.write_table(pa.table({"img": images, "label": [0, 1]}), tmp_path / "train-0.parquet")

    with pytest.raises(UserError, match="row 1 has no image"):
        load_training("cifar10", tmp_path)


def test_a_missing_column_is_reported_with_the_existing_columns(tmp_path):
    write(tmp_path / "a" / "train-0.parquet", [GOOD], [0], image="photo")
    write(tmp_path / "b" / "train-0.parquet", [GOOD], [0], label="coarse_label")

    with pytest.raises(UserError, match="has no column img or image, only: photo, label"):
        load_training("cifar10", tmp_path / "a")
    with pytest.raises(UserError, match="has no column fine_label or label or labels, only: img, coarse_label"):
        load_training("cifar100", tmp_path / "b")


def test_a_truncated_or_empty_parquet_file_names_itself(tmp_path):
    write(tmp_path / "train-0.parquet", [GOOD] * 3, [0, 1, 2])
    whole = (tmp_path / "train-0.parquet").read_bytes()
    for length in (0, 4, 100, len(whole) - 8):
        (tmp_path / "train-0.parquet").write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"train-0\.parquet could not be read as a parquet file"):
            load_training("cifar10", tmp_path)


def test_broken_metadata_names_the_file(tmp_path):
    table = pa.table({"img": [GOOD] * 2, "label": [0, 1]}).replace_schema_metadata({"huggingface": "{"})
    pq.write_table(table, tmp_path / "train-0.parquet")

    with pytest.raises(UserError, match=r"train-0\.parquet could not be read as a parquet file"):
        load_training("cifar10", tmp_path)
