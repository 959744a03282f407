"""Labels in parquet files: class names of both parts, numbers without names, text."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmark.data.load import load_test, load_training
from benchmark.errors import UserError

NAMES = ["ant", "bee", "cow", "dog"]


def png(value):
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write(file, labels, names=None, column="label"):
    """Write one image per label, all of whose pixels equal its row number."""
    table = pa.table({"img": [png(row) for row in range(len(labels))], column: labels})
    if names is not None:
        features = {column: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, file)


def labels_of_test(folder):
    """Return the test labels by row of the file."""
    test = load_test("own", folder)
    return [label for _, label in sorted(zip(test.index.tolist(), test.test.labels.tolist(), strict=True))]


def test_labels_in_another_column_are_refused(tmp_path):
    write(tmp_path / "train-0.parquet", [0, 1, 2, 3])
    write(tmp_path / "test-0.parquet", [3, 2, 1, 0], column="fine_label")

    with pytest.raises(UserError, match=r"train-0.* labels in the column label, but .*test-0.* in fine_label; rename"):
        load_test("own", tmp_path)


def test_test_labels_that_start_at_1_are_reported_as_such(tmp_path):
    write(tmp_path / "train-0.parquet", [0, 1, 2, 3])
    write(tmp_path / "test-0.parquet", [4, 3, 2, 1])

    with pytest.raises(UserError, match=r"row 0 has label 4; own has labels 0 to 3; these start at 1: subtract 1 from"):
        load_test("own", tmp_path)


def test_test_labels_follow_the_class_names_of_training(tmp_path):
    write(tmp_path / "train-0.parquet", [0, 1, 2, 3], NAMES)
    write(tmp_path / "test-0.parquet", [0, 1, 2, 3, 0], ["dog", "bee", "ant", "cow"])

    assert labels_of_test(tmp_path) == [3, 1, 0, 2, 3]
    assert load_test("own", tmp_path).info.class_names == tuple(NAMES)


def test_class_names_match_whatever_their_unicode_normal_form(tmp_path):
    write(tmp_path / "train-0.parquet", [0, 1], ["caf\u00e9", "bar"])
    write(tmp_path / "test-0.parquet", [0, 1], ["bar", "cafe\u0301"])

    assert labels_of_test(tmp_path) == [1, 0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["ant", "bee", "cow", "Dog"], r"test-0\.parquet: .*train-0.parquet has no class Dog\. Did you mean dog\?"),
        ([*NAMES, "emu"], "train-0.parquet has no class emu"),
        (["ant", "bee", "cow"], "names the class dog in its metadata, but .*test-0.parquet does not; both must"),
        (None, "train-0.parquet names its classes, but .*test-0.parquet has only numbers"),
        (["ant", "ant", "bee", "cow", "dog"], "names two classes ant"),
        ({"0": "ant"}, "the class names in its metadata must be a list"),
    ],
)
def test_test_parts_with_other_class_names_are_refused(tmp_path, names, message):
    write(tmp_path / "train-0.parquet", [0, 1, 2, 3], NAMES)
    write(tmp_path / "test-0.parquet", [0, 1, 2, 0], names)

    with pytest.raises(UserError, match=message):
        load_test("own", tmp_path)


def test_names_in_the_test_part_alone_cannot_be_matched(tmp_path):
    write(tmp_path / "train-0.parquet", [0, 1, 2, 3])
    write(tmp_path / "test-0.parquet", [0, 1, 2, 3], NAMES[::-1])

    with pytest.raises(UserError, match=r"test-0\.parquet names its classes, but .*train-0.parquet has only numbers"):
        load_test("own", tmp_path)


def test_shards_of_one_part_must_agree_on_the_names(tmp_path):
    write(tmp_path / "train-0.parquet", [0, 1], NAMES)
    write(tmp_path / "train-1.parquet", [2, 3], NAMES[::-1])

    with pytest.raises(UserError, match=r"train-0\.parquet and .*train-1\.parquet differ in the class names"):
        load_training("own", tmp_path)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (
            [1, 2, 3, 4],
            None,
            "labels in .* start at 1, not at 0; map them to 0 to 3, or, if a class without images is intended, declare",
        ),
        ([1, 2, 3, 4], NAMES, "row 3 has label 4, but its metadata names 4 classes, numbered from 0"),
        (
            [0, 1, 3, 4],
            None,
            "no training image in .* has label 2, but labels go to 4; map them to 0 to 3",
        ),
        ([0, 1, -1, 2], NAMES, "row 2 has label -1 .the hub's marker for unlabelled images"),
        ([0, 1, -7, 2], None, "row 2 has label -7; use files in which every image"),
        (["ant", "", "bee", "cow"], None, "row 1 has the label ''; give a class name"),
        (
            ["ant", "bee", "ant ", "cow"],
            None,
            "row 2 has the label 'ant '; give a class name without surrounding blanks",
        ),
    ],
)
def test_numbers_that_do_not_number_the_classes_are_refused(tmp_path, labels, names, message):
    write(tmp_path / "train-0.parquet", labels, names)

    with pytest.raises(UserError, match=message):
        load_training("own", tmp_path)


def test_an_unlabelled_test_part_is_refused(tmp_path):
    write(tmp_path / "train-0.parquet", [0, 1, 2, 3], NAMES)
    write(tmp_path / "test-0.parquet", [-1, -1], NAMES)

    with pytest.raises(UserError, match=r"test-0\.parquet, row 0 has label -1 .*unlabelled images"):
        load_test("own", tmp_path)


def test_a_declared_class_without_images_is_reported(tmp_path, capsys):
    write(tmp_path / "train-0.parquet", [1, 2, 3, 3], ["background", *NAMES[:3]])
    write(tmp_path / "test-0.parquet", [1, 1], ["background", *NAMES[:3]])

    assert load_training("own", tmp_path).info.num_classes == 4
    assert capsys.readouterr().err == "note: the training part of own has no image of 1 of 4 classes: background\n"
    load_test("own", tmp_path)
    assert (
        capsys.readouterr().err == "note: the test part of own has no image of 3 of 4 classes: background, bee, cow\n"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([0, 2**63 + 1], pa.uint64()), "row 1 has label 9223372036854775809; labels must number the classes"),
        (pa.array([b"ant", b"bee"]), "one integer label per image, or the name of its class, got binary"),
        (pa.array([{"a": 0}, {"a": 1}]), "one integer label per image, or the name of its class, got struct"),
    ],
)
def test_labels_of_other_kinds_are_refused(tmp_path, values, message):
    write(tmp_path / "train-0.parquet", values)

    with pytest.raises(UserError, match=message):
        load_training("own", tmp_path)


@pytest.mark.parametrize(
    "metadata", ["[]", "null", '{"info": {"features": []}}', '{"info": {"features": {"label": 3}}}']
)
def test_malformed_metadata_are_refused(tmp_path, metadata):
    table = pa.table({"img": [png(0), png(1)], "label": [0, 1]}).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, tmp_path / "train-0.parquet")

    with pytest.raises(UserError, match="its 'huggingface' metadata are malformed; write the file again"):
        load_training("own", tmp_path)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_text_labels_are_class_names(tmp_path, kind):
    write(tmp_path / "train-0.parquet", pa.array(["dog", "ant"], kind))
    write(tmp_path / "train-1.parquet", pa.array(["cow", "bee", "ant"], kind))
    write(tmp_path / "train-2.parquet", pa.array([], kind))
    write(tmp_path / "test-0.parquet", pa.array(["bee", "dog", "bee"], kind))

    assert load_training("own", tmp_path).info.class_names == tuple(NAMES)
    assert labels_of_test(tmp_path) == [1, 3, 1]


def test_text_labels_of_the_test_part_follow_the_names_in_the_training_parts_metadata(tmp_path):
    write(tmp_path / "train-0.parquet", [0, 1, 2, 3], NAMES[::-1])
    write(tmp_path / "test-0.parquet", ["ant", "dog"])

    assert labels_of_test(tmp_path) == [3, 0]


def test_text_in_one_shard_and_numbers_in_another_are_refused(tmp_path):
    write(tmp_path / "train-0.parquet", ["ant", "bee"])
    write(tmp_path / "train-1.parquet", [0, 1])

    with pytest.raises(UserError, match="differ in their labels: one has text, the other numbers"):
        load_training("own", tmp_path)


def test_dictionaries_and_chunks_give_the_same_data(tmp_path):
    images, labels = [png(row) for row in range(4)], [0, 1, 2, 3]
    for name in ("plain", "other"):
        (tmp_path / name).mkdir()
    pq.write_table(pa.table({"img": images, "label": labels}), tmp_path / "plain" / "train-0.parquet")
    table = pa.table({"img": pa.array(images).dictionary_encode(), "label": pa.array(labels).dictionary_encode()})
    pq.write_table(table, tmp_path / "other" / "train-0.parquet", row_group_size=1)

    assert load_training("own", tmp_path / "plain").sha256 == load_training("own", tmp_path / "other").sha256


@pytest.mark.parametrize("columns", [["img", "label", "label"], ["img", "image", "label"], ["img", "label", "labels"]])
def test_two_columns_that_could_be_meant_are_refused(tmp_path, columns):
    values = [[png(0), png(1)] if name.startswith("im") else [0, 1] for name in columns]
    pq.write_table(
        pa.Table.from_arrays([pa.array(value) for value in values], names=columns), tmp_path / "train.parquet"
    )

    with pytest.raises(UserError, match=r"train\.parquet has the columns .* and .*, which could both be meant"):
        load_training("own", tmp_path)
