"""Image files in one folder per class."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.data.load import load_test, load_training
from benchmark.errors import UserError

pytestmark = pytest.mark.usefixtures("small_sets")


def write(folder, part="train", classes=("cat", "dog"), n=3, size=(16, 12), suffix="png"):
    random = np.random.default_rng(0)
    for name in classes:
        (folder / part / name).mkdir(parents=True, exist_ok=True)
        for number in range(n):
            image = Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8))
            image.save(folder / part / name / f"{number}.{suffix}")
    return folder


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "webp", "PNG"])
@pytest.mark.parametrize("test_part", ["test", "val", "valid"])
def test_ones_own_folders_load(tmp_path, suffix, test_part):
    write(tmp_path, suffix=suffix)
    write(tmp_path, test_part, suffix=suffix, n=2)

    training = load_training("pets", tmp_path)
    test = load_test("pets", tmp_path)

    info = training.info
    assert (info.num_classes, info.channels, info.height, info.width) == (2, 3, 16, 12)
    assert info.class_names == test.info.class_names == ("cat", "dog")
    assert (info.epsilon, info.crop_padding) == (None, 1)
    assert (len(training.train), len(training.validation), len(test.test)) == (5, 1, 4)


def test_images_and_labels_belong_together(tmp_path):
    write(tmp_path)
    write(tmp_path, "test", classes=("dog",))

    test = load_test("pets", tmp_path)

    assert test.test.labels.tolist() == [1, 1, 1]
    first = np.asarray(Image.open(tmp_path / "test" / "dog" / f"{int(test.index[0])}.png"))
    assert torch.equal(test.test.images[0], torch.from_numpy(first.copy()).permute(2, 0, 1))


def test_loading_the_training_part_never_opens_the_test_part(tmp_path):
    write(tmp_path)
    write(tmp_path, "test")
    (tmp_path / "test" / "cat" / "0.png").write_bytes(b"broken")

    assert len(load_training("pets", tmp_path).train) == 5


def test_a_catalog_data_set_loads_from_folders_with_all_its_classes(tmp_path):
    write(tmp_path, classes=tuple("0123456789"), size=(32, 32), n=1)

    assert load_training("svhn", tmp_path).info.class_names == tuple("0123456789")


def test_a_catalog_data_set_with_too_few_classes_is_refused(tmp_path):
    write(tmp_path, size=(32, 32))

    with pytest.raises(UserError, match="names 2 classes, but cifar10 has 10"):
        load_training("cifar10", tmp_path)


def test_a_class_that_is_a_link_to_another_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "train" / "lion").symlink_to(tmp_path / "train" / "cat")

    with pytest.raises(UserError, match=r"cat and .*lion are the same folder, but classes must not share images"):
        load_training("own", tmp_path)


def test_a_class_that_only_the_test_part_has_is_reported(tmp_path):
    write(tmp_path)
    write(tmp_path, "test", classes=("cat", "dgo"))

    with pytest.raises(UserError, match=r"train has no class dgo\. Did you mean dog\?"):
        load_test("pets", tmp_path)


def test_the_first_image_of_another_size_is_named_with_both_sizes(tmp_path):
    write(tmp_path)
    Image.new("RGB", (9, 7)).save(tmp_path / "train" / "dog" / "1.png")

    with pytest.raises(UserError, match=r"dog/1\.png is 7x9 pixels but .*cat/0\.png is 16x12"):
        load_training("pets", tmp_path)


def test_a_file_that_is_no_image_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "train" / "dog" / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"notes\.txt is not an image file"):
        load_training("pets", tmp_path)

    (tmp_path / "train" / "dog" / "notes.txt").rename(tmp_path / "train" / "dog" / "3.png")
    with pytest.raises(UserError, match=r"dog/3\.png could not be decoded"):
        load_training("pets", tmp_path)


def test_a_truncated_image_is_named(tmp_path):
    write(tmp_path)
    file = tmp_path / "train" / "dog" / "2.png"
    file.write_bytes(file.read_bytes()[:-60])

    with pytest.raises(UserError, match=r"dog/2\.png could not be decoded"):
        load_training("pets", tmp_path)


def test_hidden_files_are_ignored(tmp_path):
    write(tmp_path)
    (tmp_path / "train" / ".DS_Store").write_bytes(b"")
    (tmp_path / "train" / "dog" / ".DS_Store").write_bytes(b"")

    assert len(load_training("pets", tmp_path).train) == 5


def test_empty_folders_and_stray_files_are_named(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="train is empty"):
        load_training("pets", tmp_path)

    (tmp_path / "train" / "ant").mkdir()
    with pytest.raises(UserError, match="ant holds no images"):
        load_training("pets", tmp_path)

    (tmp_path / "train" / "readme.txt").write_text("hello")
    with pytest.raises(UserError, match=r"readme\.txt is not a folder"):
        load_training("pets", tmp_path)


def test_a_folder_inside_a_class_folder_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "train" / "dog" / "images").mkdir()

    with pytest.raises(UserError, match="images is a folder, not an image file"):
        load_training("pets", tmp_path)


def test_a_missing_part_is_reported(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match="has no folder test or validation or val or valid"):
        load_test("pets", tmp_path)

    write(tmp_path / "other", "test")
    with pytest.raises(UserError, match="has no folder train"):
        load_test("pets", tmp_path / "other")


def test_class_names_match_whatever_their_unicode_normal_form(tmp_path):
    write(tmp_path, classes=("bar", "caf\u00e9", "cag"))
    write(tmp_path, "test", classes=("cafe\u0301",))

    test = load_test("places", tmp_path)

    assert test.info.class_names == ("bar", "caf\u00e9", "cag")
    assert test.test.labels.tolist() == [1, 1, 1]


@pytest.mark.parametrize("part", ["train", "test"])
def test_two_class_folders_of_one_name_are_refused(tmp_path, part):
    write(tmp_path, classes=("caf\u00e9", "bar"))
    write(tmp_path, part, classes=("caf\u00e9", "cafe\u0301"))

    with pytest.raises(UserError, match=f"{part} holds two folders named caf\u00e9 that differ only in the Unicode"):
        load_test("places", tmp_path)


def test_class_names_that_differ_only_in_case_are_refused_with_a_suggestion(tmp_path):
    write(tmp_path)
    write(tmp_path, "test", classes=("cat", "Dog"))

    with pytest.raises(UserError, match=r"train has no class Dog\. Did you mean dog\?"):
        load_test("pets", tmp_path)


def test_a_class_without_test_images_is_reported(tmp_path, capsys):
    write(tmp_path, classes=("cat", "dog", "emu"))
    write(tmp_path, "test", classes=("cat",))
    (tmp_path / "test" / "emu").mkdir()

    assert len(load_test("zoo", tmp_path).test) == 3
    assert capsys.readouterr().err == "note: the test part of zoo has no image of 2 of 3 classes: dog, emu\n"


def test_a_class_without_training_images_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "train" / "emu").mkdir()

    with pytest.raises(UserError, match="emu holds no images"):
        load_training("pets", tmp_path)


def test_a_test_folder_without_any_image_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "test" / "cat").mkdir(parents=True)

    with pytest.raises(UserError, match="test holds no images"):
        load_test("pets", tmp_path)


@pytest.mark.parametrize("path", ["train/cat/9.png", "train/emu", "test"])
def test_a_broken_link_is_named(tmp_path, path):
    write(tmp_path)
    (tmp_path / path).symlink_to("nowhere")

    with pytest.raises(UserError, match=f"{path} is a broken link: nowhere does not exist; restore"):
        load_training("pets", tmp_path)


@pytest.mark.parametrize("name", ["9.gif", "9.tif", "9.heic", "Thumbs.db", "png"])
def test_a_file_of_another_format_is_refused_with_those_allowed(tmp_path, name):
    write(tmp_path)
    (tmp_path / "train" / "cat" / name).write_bytes(b"")

    with pytest.raises(
        UserError, match=rf"cat/{name} is not an image file of an allowed format \(\.bmp, \.jpeg, \.jpg,"
    ):
        load_training("pets", tmp_path)


def test_a_folder_named_like_an_image_and_an_empty_file_are_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "train" / "cat" / "9.png").mkdir()
    with pytest.raises(UserError, match=r"9\.png is a folder, not an image file"):
        load_training("pets", tmp_path)

    (tmp_path / "train" / "cat" / "9.png").rmdir()
    (tmp_path / "train" / "cat" / "9.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"9\.png could not be decoded"):
        load_training("pets", tmp_path)


def test_one_image_under_two_names_is_two_images(tmp_path):
    write(tmp_path)
    (tmp_path / "train" / "cat" / "copy.png").symlink_to("0.png")

    assert len(load_training("pets", tmp_path).train) == 6


def test_one_folder_is_not_both_parts(tmp_path):
    write(tmp_path)
    (tmp_path / "test").symlink_to("train")

    with pytest.raises(UserError, match=r"test and .*train are the same folder; provide separate test images"):
        load_test("pets", tmp_path)


def test_a_test_part_wins_over_a_validation_part_but_two_validation_parts_are_refused(tmp_path):
    for part in ("train", "val", "valid"):
        write(tmp_path, part)
    with pytest.raises(UserError, match=r"/val and .*/valid could both be the test part; keep one of them"):
        load_test("pets", tmp_path)

    write(tmp_path, "test", n=1)
    assert len(load_test("pets", tmp_path).test) == 2
