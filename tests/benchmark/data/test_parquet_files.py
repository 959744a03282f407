"""Which parquet files make up a part: the hub's layouts, and ambiguous names."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmark.data.load import load_test, load_training
from benchmark.errors import UserError

pytestmark = pytest.mark.usefixtures("small_sets")


def png(value):
    stream = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), value, dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write(folder, *names, first=0):
    """Write files of two images each, whose pixels and labels count up from `first`."""
    for number, name in enumerate(names):
        values = [first + 2 * number, first + 2 * number + 1]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"img": [png(value) for value in values], "label": values}), folder / name)


@pytest.mark.parametrize(
    ("name", "subfolder"),
    [
        ("cifar10", "plain_text"),
        ("cifar10", "cifar10/plain_text"),
        ("svhn", "cropped_digits"),
        ("cifar10", "cifar10"),
        ("my-set", "my_set"),
        ("my-set", "my-set/my_set"),
        ("my-set", "default"),
        ("my-set", "data"),
    ],
)
@pytest.mark.parametrize(
    ("train", "test"),
    [
        (["train-00000-of-00001.parquet"], "test-00000-of-00001.parquet"),
        (["train/0000.parquet"], "test/0000.parquet"),
        (["train/0000.parquet", "train/0001.parquet"], "validation/0000.parquet"),
        (["train/part-0.parquet", "train/part-1.parquet"], "test/part-0.parquet"),
        (["train/part-00000-2f3a-c000.snappy.parquet"], "test/data.parquet"),
        (["train/train-00000-of-00001.parquet"], "test/test-00000-of-00001.parquet"),
        (
            ["train-00000-of-00002-57eb3d5f6a0ad0a8.parquet", "train-00001-of-00002-a1b2c3d4e5f60718.parquet"],
            "valid-00000-of-00001-70d52db3c749a935.parquet",
        ),
        (["train.parquet"], "val.parquet"),
    ],
)
def test_the_hubs_layouts_load(tmp_path, name, subfolder, train, test):
    write(tmp_path / subfolder, *train)
    write(tmp_path / subfolder, test)

    training = load_training(name, tmp_path)

    assert len(training.train) + len(training.validation) == 2 * len(train)
    assert len(load_test(name, tmp_path).test) == 2


@pytest.mark.parametrize(
    ("name", "folder"), [("cifar10-jpeg", "plain_text"), ("pets", "plain_text"), ("pets", "cropped_digits")]
)
def test_the_hubs_folder_of_another_set_is_not_read_but_named(tmp_path, name, folder):
    write(tmp_path / folder, "train-0.parquet", "test-0.parquet")

    with pytest.raises(UserError, match=f"found no {name} in .*{folder} holds a data set: pass it as --data-dir if"):
        load_training(name, tmp_path)


def test_shards_are_read_in_the_order_of_their_numbers(tmp_path):
    write(tmp_path, *(f"train-{number}.parquet" for number in range(11)))
    write(tmp_path / "one", "train.parquet")
    images = [png(value) for value in range(22)]
    pq.write_table(pa.table({"img": images, "label": list(range(22))}), tmp_path / "one" / "train.parquet")

    assert load_training("own", tmp_path).sha256 == load_training("own", tmp_path / "one").sha256


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train-00001-of-00003-abc.parquet"], r"train-00000-of-00003-abc\.parquet is missing: .* is one of 3 files"),
        (["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"], r"train-00001-of-00003\.parquet is missing"),
        (["train-0.parquet", "train-2.parquet"], r"train-1\.parquet is missing"),
        (["train-1.parquet"], r"train-0\.parquet is missing"),
        (["train/0000.parquet", "train/0002.parquet"], r"train/0001\.parquet is missing"),
        (["train/0003.parquet"], r"train/0000\.parquet is missing"),
        (["train-00000-of-00001-a.parquet", "train-00000-of-00001-b.parquet"], "have the same number"),
        (["train-0.parquet", "train-00.parquet"], "do not belong together"),
        (["train-00000-of-00002-a.parquet", "train-00001-of-00002.parquet"], "do not belong together"),
        (["train-00000-of-00002.parquet", "train-1-of-2.parquet"], "do not belong together"),
        (["train/part-00000-a.parquet", "train/part-00001-b.parquet"], "do not belong together"),
        (["train-00001-of-00002.parquet", "train-00002-of-00002.parquet"], "are numbered from 1; rename them"),
        (["train-1.parquet", "train-2.parquet"], "are numbered from 1; rename them"),
        (["train-00000-of-00001.parquet", "train.parquet"], "do not belong together"),
        (["train-00000-of-00001.parquet", "train-00000-of-00002.parquet"], "do not belong together"),
        (["train-00000-of-00001.parquet", "train-1.parquet"], "do not belong together"),
        (["train-00000-of-00001.parquet", "train-00001-of-00001.parquet"], "out of range; numbers go from 0 to 0"),
        (["train/cats.parquet", "train/dogs.parquet"], "do not belong together"),
        (["train/old-0000.parquet", "train/new-0001.parquet"], "do not belong together"),
        (["train-0.parquet", "train/0000.parquet"], "could both be the part train"),
        (["train-0.parquet", "train-extra-0.parquet"], r"train-extra-0\.parquet looks like a file of the part train"),
        (["train-0.parquet", "train_1.parquet"], r"train_1\.parquet looks like a file of the part train"),
        (["partial-train/0000.parquet"], "partial-train holds only the beginning of the part"),
        (["train-00000-of-99999999999.parquet", "train-00001-of-99999999999.parquet"], "00002-of-.* is missing"),
    ],
)
def test_files_that_are_not_one_whole_set_of_shards_are_refused(tmp_path, names, message):
    write(tmp_path, *names)
    write(tmp_path, "test-0.parquet")

    with pytest.raises(UserError, match=message):
        load_training("own", tmp_path)


@pytest.mark.parametrize("how", ["copy", "link", "hard link"])
def test_a_shard_that_is_another_one_is_refused(tmp_path, how):
    write(tmp_path, "train-0.parquet", "test-0.parquet")
    file, twin = tmp_path / "train-0.parquet", tmp_path / "train-1.parquet"
    make = {"copy": lambda: twin.write_bytes(file.read_bytes()), "link": lambda: twin.symlink_to(file)}
    make.get(how, lambda: twin.hardlink_to(file))()

    with pytest.raises(UserError, match=r"train-0\.parquet and .*train-1\.parquet hold the same images"):
        load_training("own", tmp_path)


def test_a_test_part_wins_over_a_validation_part_but_two_validation_parts_are_refused(tmp_path):
    write(tmp_path, "train-0.parquet")
    write(tmp_path, "validation-0.parquet", "val-0.parquet")
    with pytest.raises(UserError, match=r"validation-0\.parquet and .*val-0\.parquet could both be the test part"):
        load_test("own", tmp_path)

    write(tmp_path, "test-0.parquet")
    assert load_test("own", tmp_path).test.labels.sum() == 1


def test_one_file_under_two_names_is_not_both_parts(tmp_path):
    write(tmp_path, "train-0.parquet")
    (tmp_path / "test-0.parquet").symlink_to("train-0.parquet")

    with pytest.raises(UserError, match=r"test-0\.parquet and .*train-0\.parquet are the same file"):
        load_test("own", tmp_path)


def test_files_of_other_kinds_beside_the_shards_are_ignored(tmp_path):
    write(tmp_path, "train/0000.parquet", "test/0000.parquet")
    for name in ("._0001.parquet", "_SUCCESS", "0000.parquet.crc", ".0000.parquet.crc"):
        (tmp_path / "train" / name).write_bytes(b"")
    (tmp_path / "README.md").write_text("hello")

    assert len(load_training("own", tmp_path).train) == 1


def test_a_broken_link_and_a_git_lfs_pointer_are_reported_as_such(tmp_path):
    write(tmp_path, "test-0.parquet")
    shard = tmp_path / "train-0.parquet"
    shard.symlink_to("../../blobs/abc")
    with pytest.raises(UserError, match=r"train-0\.parquet is a broken link: .*blobs/abc does not exist"):
        load_training("own", tmp_path)

    shard.unlink()
    shard.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2\nsize 120\n")
    with pytest.raises(UserError, match=r"train-0\.parquet is a Git LFS pointer.*git lfs pull"):
        load_training("own", tmp_path)
