"""Tiny-ImageNet in the layout of its archive."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.data import cache
from benchmark.data.load import load_test, load_training
from benchmark.errors import UserError

WNIDS = ("n01443537", "n01629819", "n01641577")


def save(file, value):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((64, 64, 3), value, dtype=np.uint8)).save(file, "JPEG")


@pytest.fixture
def tiny(tmp_path):
    """Write two training images per class and four validation images, not in the order of the classes."""
    folder = tmp_path / "tiny-imagenet-200"
    for number, wnid in enumerate(WNIDS):
        for image in range(2):
            save(folder / "train" / wnid / "images" / f"{wnid}_{image}.JPEG", 10 * number + image)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t62\t62\n")
    lines = []
    for image, number in enumerate((2, 0, 1, 2)):
        save(folder / "val" / "images" / f"val_{image}.JPEG", 100 + image)
        lines.append(f"val_{image}.JPEG\t{WNIDS[number]}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(reversed(WNIDS)) + "\n")
    (folder / "words.txt").write_text("n01443537\tgoldfish, Carassius auratus\n")
    save(folder / "test" / "images" / "test_0.JPEG", 200)
    return folder


@pytest.mark.parametrize(("name", "inside"), [("tiny-imagenet", False), ("tiny-imagenet-200", False), ("own", True)])
def test_the_layout_of_the_archive_loads(tmp_path, tiny, name, inside, capsys):
    training = load_training(name, tiny if inside else tmp_path)
    test = load_test(name, tiny if inside else tmp_path)

    assert training.info.class_names == WNIDS == test.info.class_names
    assert (len(training.train), len(training.validation), training.info.height) == (5, 1, 64)
    labels = dict(zip(test.test.images[:, 0, 0, 0].tolist(), test.test.labels.tolist(), strict=True))
    assert labels == {100: 2, 101: 0, 102: 1, 103: 2}
    assert capsys.readouterr().err == ""


def test_another_data_set_does_not_take_the_folder_of_tiny_imagenet(tmp_path, tiny):
    with pytest.raises(UserError, match="found no pets"):
        load_training("pets", tmp_path)


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("part", ["val", "test"])
def test_a_test_part_that_was_sorted_into_class_folders_loads(tiny, nested, part):
    for folder in ("val", "test"):
        shutil.rmtree(tiny / folder)
    for number, wnid in enumerate(WNIDS):
        save(tiny / part / wnid / ("images" if nested else "") / f"{number}.JPEG", 50 + number)

    test = load_test("tiny-imagenet", tiny)

    assert torch.equal(test.test.images[:, 0, 0, 0].long() - 50, test.test.labels)


def test_changed_annotations_are_read_again(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUST_COMPRESSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "MIN_SECONDS", 0)
    annotations = tiny / "val" / "val_annotations.txt"
    before = load_test("tiny-imagenet", tiny)
    annotations.write_text(annotations.read_text().replace(WNIDS[0], WNIDS[1]))

    after = load_test("tiny-imagenet", tiny)

    assert sorted(before.test.labels.tolist()) == [0, 1, 2, 2]
    assert (
        sorted(after.test.labels.tolist())
        == [1, 1, 2, 2]
        == sorted(load_test("tiny-imagenet", tiny).test.labels.tolist())
    )


def spoil_annotations(old, new):
    def spoil(folder):
        file = folder / "val" / "val_annotations.txt"
        file.write_text(file.read_text().replace(old, new))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "val" / "val_annotations.txt").unlink(),
            r"val_annotations\.txt is missing; it holds",
        ),
        (lambda folder: shutil.rmtree(folder / "val"), "val is missing; it is the test part of Tiny-ImageNet"),
        (
            lambda folder: (folder / "val" / "images" / "val_1.JPEG").unlink(),
            "val_1.JPEG is listed, but .* not hold it",
        ),
        (lambda folder: save(folder / "val" / "images" / "val_9.JPEG", 0), "val_9.JPEG is not listed"),
        (spoil_annotations("val_1", "val_0"), "line 2 lists val_0.JPEG a second time"),
        (spoil_annotations(f"\t{WNIDS[0]}", ""), "val: .*train has no class 0"),
        (spoil_annotations("\t", " "), "line 1 must hold a file name and a wnid, separated by a tab"),
        (spoil_annotations(WNIDS[0], "n09999999"), "train has no class n09999999"),
        (lambda folder: (folder / "wnids.txt").write_text(WNIDS[0]), "wnids.txt lists 1 classes and .* holds 3"),
        (lambda folder: save(folder / "test" / WNIDS[0] / "0.JPEG", 0), "val and .*test could both be the test part"),
    ],
)
def test_inconsistent_files_are_named(tiny, spoil, message):
    spoil(tiny)

    with pytest.raises(UserError, match=message):
        load_test("tiny-imagenet", tiny)


def test_a_training_class_without_images_or_with_other_folders_is_named(tiny):
    extra = tiny / "train" / WNIDS[1] / "more"
    extra.mkdir()
    with pytest.raises(UserError, match=f"{WNIDS[1]}/more is not used"):
        load_training("tiny-imagenet", tiny)

    extra.rmdir()
    for image in (tiny / "train" / WNIDS[1] / "images").iterdir():
        image.unlink()
    with pytest.raises(UserError, match=f"{WNIDS[1]} holds no images"):
        load_training("tiny-imagenet", tiny)
