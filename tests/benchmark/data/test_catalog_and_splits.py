"""The catalog's facts, the fixed splits and the embedded digits."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.data.catalog import DATASETS
from benchmark.data.load import load_test, load_training
from benchmark.data.splits import hash_order, order_of_test, training_split


def test_the_catalog_imports_neither_torch_nor_numpy():
    code = "import benchmark.data.catalog, sys; assert not {'torch', 'numpy', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize("facts", DATASETS.values(), ids=DATASETS)
def test_the_facts_of_every_data_set_are_consistent(facts):
    assert len(facts.mean) == len(facts.std) == facts.channels
    assert all(0 < value < 1 for value in facts.mean + facts.std)
    assert re.fullmatch(r"\d+/255", facts.epsilon)
    assert facts.label_column == ("fine_label" if facts.name == "cifar100" else "label")
    assert not (facts.flip and facts.name in ("digits", "svhn"))


def test_hash_order_is_a_permutation_that_never_changes():
    assert hash_order("digits/validation", 10).tolist() == [4, 6, 9, 2, 3, 7, 8, 5, 0, 1]
    assert hash_order("digits/test", 10).tolist() == [5, 2, 6, 4, 1, 8, 7, 0, 3, 9]
    assert hash_order("cifar10/validation", 1437)[:5].tolist() == [817, 789, 758, 515, 497]
    assert sorted(hash_order("any", 1000)) == list(range(1000))
    assert hash_order("any", 0).shape == (0,)


@pytest.mark.parametrize(("n", "num_validation"), [(2, 1), (10, 1), (74, 1), (76, 2), (1437, 29), (50_000, 1000)])
def test_validation_has_two_percent_of_the_images_but_at_least_one(n, num_validation):
    train, validation = training_split("cifar10", n)

    assert len(validation) == num_validation
    assert sorted([*train, *validation]) == list(range(n))
    assert validation.tolist() == hash_order("cifar10/validation", n)[:num_validation].tolist()


def test_the_digits_have_1437_training_and_360_test_images():
    training = load_training("digits", None)
    test = load_test("digits", None)

    assert len(training.train) + len(training.validation) == 1437
    assert len(training.validation) == 29
    assert len(test.test) == 360
    assert training.train.images.shape == (1408, 1, 8, 8)
    assert training.train.images.dtype == torch.uint8
    assert training.train.labels.dtype == torch.int64
    assert training.train.images.max() == 255
    assert sorted(set(training.train.labels.tolist())) == list(range(10))
    assert training.info.class_names == tuple("0123456789") == test.info.class_names


def test_the_digits_statistics_in_the_catalog_match_the_training_images():
    data = load_training("digits", None)
    pixels = torch.cat([data.train.images, data.validation.images]).double() / 255

    assert data.info.mean == (round(pixels.mean().item(), 4),)
    assert data.info.std == (round(pixels.std(correction=0).item(), 4),)


def test_the_digits_ignore_the_data_folder(tmp_path):
    assert load_training("digits", tmp_path / "nothing").sha256 == load_training("digits", None).sha256


def test_subsets_are_prefixes_with_the_same_validation_images_and_hash():
    whole = load_training("digits", None)
    part = load_training("digits", None, limit=50)

    assert len(part.train) == 50
    assert torch.equal(part.train.images, whole.train.images[:50])
    assert torch.equal(part.validation.images, whole.validation.images)
    assert part.sha256 == whole.sha256

    whole_test = load_test("digits", None)
    part_test = load_test("digits", None, limit=7)

    assert part_test.index.tolist() == order_of_test("digits", 360)[:7].tolist()
    assert torch.equal(part_test.test.labels, whole_test.test.labels[:7])
    assert part_test.sha256 == whole_test.sha256


def test_a_limit_beyond_the_data_keeps_all_of_them():
    assert len(load_training("digits", None, limit=5000).train) == 1408
    assert len(load_test("digits", None, limit=5000).test) == 360


def test_images_move_to_another_device():
    images = load_test("digits", None, limit=3).test.to("meta")

    assert images.images.device.type == images.labels.device.type == "meta"
    assert len(images) == 3


def test_the_embedded_file_holds_no_pickles():
    import benchmark.data.readers.digits as reader

    with np.load(reader.FILE, allow_pickle=False) as arrays:
        assert {name: arrays[name].shape for name in arrays} == {
            "train_images": (1437, 1, 8, 8),
            "train_labels": (1437,),
            "test_images": (360, 1, 8, 8),
            "test_labels": (360,),
        }
