"""CIFAR-10 and CIFAR-100 in their official folders, and the restricted unpickler."""

import os
import pickle

import numpy as np
import pytest
import torch

from benchmark.data.load import load_test, load_training
from benchmark.errors import UserError

pytestmark = pytest.mark.usefixtures("small_sets")


def rows(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)


def dump(path, content, protocol=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))


def write_cifar100(folder, n=6, protocol=4, key=str):
    names = [f"class {number}" for number in range(100)]
    for part, seed in (("train", 0), ("test", 1)):
        labels = [number * 17 % 100 for number in range(n)]
        content = {"data": rows(n, seed), "fine_labels": labels, "coarse_labels": [0] * n, "filenames": ["x.png"] * n}
        dump(folder / "cifar-100-python" / part, {key(k): v for k, v in content.items()}, protocol)
    dump(folder / "cifar-100-python" / "meta", {key("fine_label_names"): names}, protocol)
    return folder / "cifar-100-python"


def write_cifar10(folder, n=4):
    target = folder / "cifar-10-batches-py"
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        dump(target / name, {"data": rows(n, number), "labels": list(range(n))})
    return target


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("key", [str, str.encode], ids=["text keys", "bytes keys"])
def test_cifar100_loads_from_a_pickle_of_any_protocol(tmp_path, protocol, key):
    write_cifar100(tmp_path, protocol=protocol, key=key)

    training = load_training("cifar100", tmp_path)
    test = load_test("cifar100", tmp_path)

    assert (len(training.train), len(training.validation), len(test.test)) == (5, 1, 6)
    assert training.info.class_names == test.info.class_names == tuple(f"class {i}" for i in range(100))
    assert training.info.num_classes == 100
    expected = torch.from_numpy(rows(6, seed=1).reshape(6, 3, 32, 32))
    assert torch.equal(test.test.images, expected[test.index])
    assert test.test.labels.tolist() == [row * 17 % 100 for row in test.index.tolist()]


def test_a_pickle_of_python_2_and_numpy_1_loads_without_a_warning(tmp_path):
    """Python 2 wrote old module names and the flags of a dtype as the integers 0 and 1."""
    folder = write_cifar100(tmp_path, protocol=2)
    content = pickle.dumps({"data": rows(6), "fine_labels": [0] * 6}, protocol=2)
    old = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    old = old.replace(b"\x89\x88\x87", b"K\x00K\x01\x87")
    assert old != content
    (folder / "train").write_bytes(old)

    assert len(load_training("cifar100", tmp_path).train) == 5


def test_labels_may_be_numpy_numbers_or_an_array(tmp_path):
    folder = write_cifar100(tmp_path)
    dump(folder / "train", {"data": rows(3), "fine_labels": [np.int64(1), np.int64(2), np.int64(3)]})
    dump(folder / "test", {"data": rows(3), "fine_labels": np.array([7, 8, 9])}, protocol=5)

    assert len(load_training("cifar100", tmp_path).train) == 2
    assert sorted(load_test("cifar100", tmp_path).test.labels.tolist()) == [7, 8, 9]


def test_cifar10_is_concatenated_from_five_batches_in_order(tmp_path):
    write_cifar10(tmp_path / "cifar10")

    data = load_training("cifar10", tmp_path)

    assert len(data.train) + len(data.validation) == 20
    assert len(load_test("cifar10", tmp_path).test) == 4
    assert (data.info.epsilon, data.info.flip, data.info.crop_padding) == ("8/255", True, 4)


def test_the_data_folder_may_be_the_extracted_folder_itself(tmp_path):
    assert len(load_test("cifar10", write_cifar10(tmp_path)).test) == 4


def test_a_missing_batch_is_named(tmp_path):
    (write_cifar10(tmp_path) / "data_batch_3").unlink()

    with pytest.raises(UserError, match="data_batch_3 is missing"):
        load_training("cifar10", tmp_path)


def test_loading_the_training_part_never_opens_the_test_part(tmp_path):
    (write_cifar100(tmp_path) / "test").write_bytes(b"broken")

    assert len(load_training("cifar100", tmp_path).train) == 5


def test_the_hash_changes_with_one_pixel_and_with_one_label(tmp_path):
    folder = write_cifar100(tmp_path)
    labels = [0, 1, 2]
    hashes = set()
    for pixel, label in ((1, 2), (2, 2), (1, 3)):
        data = np.zeros((3, 3072), dtype=np.uint8)
        data[1, 5] = pixel
        dump(folder / "train", {"data": data, "fine_labels": [*labels[:2], label]})
        hashes.add(load_training("cifar100", tmp_path).sha256)

    assert len(hashes) == 3


class Attack:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_a_program_is_refused_and_does_not_run_it(tmp_path, protocol):
    folder = write_cifar100(tmp_path)
    proof = tmp_path / "it ran"
    dump(folder / "train", {"data": Attack(f"touch '{proof}'"), "fine_labels": []}, protocol)

    with pytest.raises(UserError, match=r"train was refused: it requests \w+\.system"):
        load_training("cifar100", tmp_path)
    assert not proof.exists()


@pytest.mark.parametrize("name", ["getattr", "eval", "__import__", "map"])
def test_even_builtins_are_refused(tmp_path, name):
    folder = write_cifar100(tmp_path)
    (folder / "train").write_bytes(b"cbuiltins\n" + name.encode() + b"\n.")

    with pytest.raises(UserError, match=f"requests builtins.{name}"):
        load_training("cifar100", tmp_path)


def test_only_one_codec_is_allowed(tmp_path):
    (write_cifar100(tmp_path) / "train").write_bytes(b"c_codecs\nencode\n(Vabc\nVrot13\ntR.")

    with pytest.raises(UserError, match="encoded as 'rot13'"):
        load_training("cifar100", tmp_path)


GOOD = {"data": rows(3), "fine_labels": [0, 1, 2]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "train must hold a dictionary, got list"),
        ({}, "train has no entry 'data', only: nothing"),
        ({"data": rows(3), "labels": [0, 1, 2]}, "no entry 'fine_labels', only: data, labels"),
        (GOOD | {"data": [[1, 2]]}, r"uint8 of shape \(N, 3072\), got list"),
        (GOOD | {"data": rows(3)[:, :100]}, r"got uint8 of shape \(3, 100\)"),
        (GOOD | {"data": rows(3).astype(float)}, r"got float64 of shape \(3, 3072\)"),
        (GOOD | {"data": np.uint8(3)}, "got int"),
        (GOOD | {"fine_labels": [0, 1]}, "train has 2 labels for 3 images"),
        (GOOD | {"fine_labels": [0, 1, 100]}, "train, row 2 has label 100; cifar100 has labels 0 to 99"),
        (GOOD | {"fine_labels": [0, -1, 1]}, "train, row 1 has label -1"),
        (GOOD | {"fine_labels": [0, 1, 2**64]}, "one integer label per image"),
        (GOOD | {"fine_labels": ["a", "b", "c"]}, "one integer label per image"),
        (GOOD | {"fine_labels": None}, "one integer label per image"),
        (GOOD | {"fine_labels": [[0], [1, 2], 3]}, "one integer label per image, got list among them"),
        (GOOD | {"fine_labels": {0: 1}}, "one integer label per image, got dict|a key is int instead of text"),
        (GOOD | {(1, 2): 3}, "a key is tuple instead of text"),
        (GOOD | {"k" * 201: 3}, "a name is 201 characters long instead of text of at most 200"),
        ({f"key{number}": 1 for number in range(101)}, "a dictionary of 101 entries; the maximum is 100"),
        (GOOD | {"fine_labels": {1, 2, 3}}, "it uses EMPTY_SET, which no image file needs"),
        (GOOD | {"fine_labels": [GOOD["fine_labels"]] * 2}, "it uses one list twice, which no image file needs"),
        ({"data": rows(0), "fine_labels": []}, "train holds no images"),
        ({"data": rows(1), "fine_labels": [0]}, "the only training image"),
    ],
)
def test_wrong_content_of_a_pickle_is_one_sentence(tmp_path, content, message):
    dump(write_cifar100(tmp_path) / "train", content)

    with pytest.raises(UserError, match=message):
        load_training("cifar100", tmp_path)


def test_a_pickle_cut_off_anywhere_names_its_file(tmp_path):
    train = write_cifar100(tmp_path) / "train"
    whole = train.read_bytes()
    for length in [0, 1, 2, 3, 10, 30, 50, 80, *range(100, len(whole), 1499), len(whole) - 1]:
        train.write_bytes(whole[:length])
        with pytest.raises(UserError, match="train could not be read as a CIFAR pickle"):
            load_training("cifar100", tmp_path)


def test_a_pickle_with_flipped_bytes_raises_nothing_but_user_errors(tmp_path):
    train = write_cifar100(tmp_path, n=2) / "train"
    whole = train.read_bytes()
    random = np.random.default_rng(0)
    # Only the head, which holds the structure; a flipped pixel just gives another image.
    for index in range(min(300, len(whole))):
        broken = bytearray(whole)
        broken[index] = random.integers(256)
        train.write_bytes(broken)
        try:
            load_training("cifar100", tmp_path)
        except UserError as error:
            assert "train" in str(error)


def doubled(opener, closer):
    """Return opcodes that leave forty containers on the stack, each of which holds the previous one twice."""
    lines = [b"(" + opener + b"p0\n"]
    for level in range(1, 40):
        lines.append(b"(g%d\ng%d\n" % (level - 1, level - 1) + closer + b"p%d\n" % level)
    return b"".join(lines)


LISTS, TUPLES = doubled(b"l", b"l"), doubled(b"t", b"t")
ONLY_LABELS = b"(Vdata\nI1\nVfine_labels\n%b%bd."


@pytest.mark.hangs_after(60)
@pytest.mark.parametrize(
    "content",
    [
        ONLY_LABELS % (LISTS, b"g39\n"),
        ONLY_LABELS % (TUPLES, b"g39\n"),
        b"(" + TUPLES + b"g39\nI1\nd.",
        b"\x80\x04\x8f(" + TUPLES + b"g39\n\x90.",
        b"(Vdata\ncnumpy\ndtype\n(" + LISTS + b"g39\ntRd.",
        b"(Vdata\nc_codecs\nencode\n(Va\n" + LISTS + b"g39\ntRd.",
        b"(Vfine_labels\n(lp0\ng0\nad.",
        b"(lp0\n0(g0\ng0\nt.",
        b"(Vdata\n" + b"(" * 10**5 + b"t" * 10**5 + b"d.",
        b"(" + b"(" * 10**5 + b"t" * 10**5 + b"I1\nd.",
        b"(Vfine_labels\nI" + b"9" * 10**6 + b"\nd.",
        b"(Vfine_labels\n\x8b\xff\xff\xff\x7f" + b"1" * 1000 + b"d.",
        b"(Vdata\n\x8e" + b"\xff" * 7 + b"\x7f" + b"x" * 100 + b"d.",
        b"(Vdata\n\x82\x01d.",
        b"(Vdata\nPan_id\nd.",
        b"(Vdata\n(I1\n2d.",
        b"(i_codecs\nencode\n.",
        b"cnumpy\ndtype\n)\x81.",
        b"}(Vdata\nI1\nub.",
        b"}}b.",
        b"I1\nI2\na.",
        b"r\xff\xff\xff\xff.",
        b"(" * 10**6 + b".",
        b"g5\n.",
        b"u.",
        b"",
    ],
    ids=lambda content: ascii(content[:30]),
)
def test_a_pickle_that_would_expand_beyond_its_size_is_refused_immediately(tmp_path, content):
    (write_cifar100(tmp_path) / "train").write_bytes(content)

    with pytest.raises(
        UserError, match=r"train (could not be read as a CIFAR pickle|has no entry|must hold)|train: 'data'"
    ) as caught:
        load_training("cifar100", tmp_path)
    assert len(str(caught.value)) < 500


@pytest.mark.hangs_after(60)
def test_nested_class_names_are_refused_immediately(tmp_path):
    folder = write_cifar100(tmp_path)
    deep = b"(V%b\n" + b"(" * 10**5 + b"l" * 10**5 + b"(lad."
    (folder / "meta").write_bytes(deep % b"fine_label_names")
    with pytest.raises(UserError, match="meta could not be read as a list of class names: a name is list"):
        load_training("cifar100", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fine_label_names": ["a", "b"]}, "names 2 classes, but cifar100 has 100"),
        ({"fine_label_names": 3}, "'fine_label_names' must be a list, got int"),
        ({"names": []}, "meta has no entry 'fine_label_names', only: names"),
    ],
)
def test_wrong_class_names_are_refused(tmp_path, content, message):
    dump(write_cifar100(tmp_path) / "meta", content)

    with pytest.raises(UserError, match=message):
        load_training("cifar100", tmp_path)


def test_without_a_meta_file_the_classes_are_named_by_their_numbers(tmp_path):
    (write_cifar100(tmp_path) / "meta").unlink()

    assert load_test("cifar100", tmp_path).info.class_names == tuple(str(number) for number in range(100))


def test_an_empty_official_folder_is_reported_instead_of_downloaded(tmp_path):
    (tmp_path / "cifar-100-python").mkdir()

    with pytest.raises(UserError, match="train is missing; the folder must hold train, test"):
        load_training("cifar100", tmp_path)


def test_a_pickle_cannot_make_numpy_treat_bytes_as_addresses(tmp_path):
    """The last entry of a dtype's state holds flags; 63 would claim that the bytes are Python objects."""
    folder = write_cifar100(tmp_path)
    data = pickle.dumps(GOOD, protocol=4)
    state = b"K\x00t\x94b"
    assert data.count(state) == 1
    (folder / "train").write_bytes(data.replace(state, b"K\x3ft\x94b"))

    assert len(load_training("cifar100", tmp_path).train) == 2


@pytest.mark.parametrize("kind", ["O", "S3", "M8[s]", "u1,u1"])
def test_arrays_of_anything_but_numbers_are_refused(tmp_path, kind):
    dump(write_cifar100(tmp_path) / "train", GOOD | {"fine_labels": np.zeros(3, dtype=kind)})

    with pytest.raises(UserError, match="instead of numbers"):
        load_training("cifar100", tmp_path)


def test_big_endian_labels_and_column_major_images_are_read(tmp_path):
    folder = write_cifar100(tmp_path)
    hashes = set()
    for order, kind in (("C", "<i8"), ("F", ">i8"), ("F", ">i2")):
        for protocol in (2, 5):
            content = {"data": np.asarray(rows(3), order=order), "fine_labels": np.array([1, 2, 3], dtype=kind)}
            dump(folder / "train", content, protocol)
            hashes.add(load_training("cifar100", tmp_path).sha256)

    assert len(hashes) == 1
