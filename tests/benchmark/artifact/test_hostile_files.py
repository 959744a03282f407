"""A file that `pack` cannot write is refused in one sentence, before much memory is allocated."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch

from benchmark.artifact import container
from benchmark.artifact.container import MAX_BYTES
from benchmark.artifact.unpack import read_artifact, unpack
from benchmark.errors import UserError
from benchmark.networks.resnet import NetworkPlan

PLAN = NetworkPlan("resnet6", 10, (0.5,), (0.25,), 1 / 16)


@pytest.fixture(scope="module")
def mixed(random_network, small_pack):
    """Return a file with layers of every kind: full precision, two levels, one level, dense and empty."""
    network = random_network(PLAN, density=0.4)
    network.conv1.weight.copy_(random_network(PLAN, levels=2).conv1.weight)
    network.layer1[0].conv1.weight.copy_(random_network(PLAN, levels=1, density=0.5, seed=1).layer1[0].conv1.weight)
    network.layer1[0].conv2.weight.copy_(random_network(PLAN, density=1.0).layer1[0].conv2.weight)
    network.fc.weight.zero_()
    return small_pack(network, PLAN)


@pytest.fixture(scope="module")
def halves(random_network, small_pack):
    """Return a file with float16 statistics."""
    return small_pack(random_network(PLAN, levels=2), PLAN, statistics="float16")


@pytest.fixture
def changed(mixed, rewrite):
    """Return a function that replaces one tensor of the mixed file by `change` of its copy."""

    def exchange(name, change, content=mixed):
        tensor = container.read(content)[1][name].copy()
        return rewrite(content, tensors={name: change(tensor)})

    return exchange


def put(index, value):
    """Return a change that sets one element."""

    def change(tensor):
        tensor[index] = value
        return tensor

    return change


def test_the_mixed_file_is_valid_and_rewriting_it_changes_nothing(mixed, rewrite, reseal, with_header):
    _, tensors = container.read(mixed)

    assert tensors["kept"].tolist()[2] == 144 and tensors["kept"].tolist()[6] == 0
    assert np.count_nonzero(tensors["levels"], axis=1).tolist() == [2, 1, 0, 0, 0, 0, 0]
    assert rewrite(mixed) == reseal(mixed) == with_header(mixed, str) == mixed
    assert unpack(mixed).plan == PLAN


def test_a_flipped_byte_at_any_position_is_detected(mixed, refusal):
    for position in range(len(mixed)):
        damaged = bytearray(mixed)
        damaged[position] ^= 1 << position % 8

        assert "SHA-256" in (sentence := refusal(bytes(damaged))) or "start" in sentence


def test_a_file_truncated_at_any_length_is_refused(mixed, refusal):
    for length in range(len(mixed)):
        refusal(mixed[:length])


def test_a_file_truncated_at_any_length_is_refused_even_with_a_valid_seal(mixed, refusal, reseal):
    for length in range(40, len(mixed)):
        refusal(reseal(mixed[:length]))


def _zip():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", b"x" * 100)
    return file.getvalue()


def _checkpoint():
    file = io.BytesIO()
    torch.save({"conv1.weight": torch.zeros(3)}, file)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\0" * 4096,
        b"\xff" * 4096,
        b"<!DOCTYPE html><html><body>404 not found</body></html>",
        pickle.dumps({"weights": [0.0] * 100}),
        _zip(),
        _checkpoint(),
    ],
    ids=["empty", "a-byte", "zeros", "ones", "html", "pickle", "zip", "torch"],
)
def test_other_files_are_refused(content, refusal):
    assert "does not start like one" in refusal(content)


@pytest.mark.parametrize("claim", [10 * 10**9, 2**63, 2**64 - 1, 2**14 + 8, 0, 7])
def test_a_header_with_a_wrong_length_is_refused(mixed, refusal, reseal, claim):
    lying = claim.to_bytes(8, "little") + mixed[8:]

    refusal(lying)
    assert "header" in refusal(reseal(lying))


ENTRY = '"kept":{"dtype":"U32","shape":[7],"data_offsets":[0,28]}'


@pytest.mark.parametrize(
    "new",
    [
        '"../../etc/passwd":{"dtype":"U32","shape":[7],"data_offsets":[0,28]}',
        '"\\u001b[31m\\u0000. New sentence. ' + "x" * 300 + '":{"dtype":"U32","shape":[7],"data_offsets":[0,28]}',
        f'{ENTRY},"extra":{{"dtype":"U8","shape":[0],"data_offsets":[28,28]}}',
        f"{ENTRY},{ENTRY}",
        ENTRY.replace("U32", "F32"),
        ENTRY.replace("U32", "U64"),
        ENTRY.replace("[7]", "[6]"),
        ENTRY.replace("[7]", "[-7]"),
        ENTRY.replace("[7]", "[7.0]"),
        ENTRY.replace("[7]", "[7,1]"),
        ENTRY.replace("[7]", "[]"),
        ENTRY.replace("[7]", "[7,1,1]"),
        ENTRY.replace("[7]", "[1073741824,1073741824]"),
        ENTRY.replace("[7]", "[1" + "0" * 5000 + "]"),
        ENTRY.replace("[0,28]", "[4,32]"),
        ENTRY.replace("[0,28]", "[0,1000000000]"),
        ENTRY.replace("[0,28]", "[28,0]"),
        '"kept":' + "[" * 3000 + "]" * 3000,
        '"kept":NaN',
        '"kept":null',
        " " + ENTRY,
        "",
    ],
    ids=lambda text: text[:60],
)
def test_a_header_in_another_format_is_refused(mixed, refusal, with_header, new):
    assert ENTRY in mixed.decode("latin1")

    sentence = refusal(with_header(mixed, lambda text: text.replace(ENTRY, new)))

    assert re.search("header|tensor kept has type F32 instead of U32|tensor kept has shape", sentence)
    assert "\x1b" not in sentence and "passwd" not in sentence.replace("../../etc/passwd", "", 1)


def test_two_metadata_entries_are_refused(mixed, refusal, with_header):
    refusal(with_header(mixed, lambda text: text.replace('}"},"kept"', '}","format":"pt"},"kept"')))


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"version": 3}, "reads versions 1 and 2"),
        ({"version": 2}, "version is 2, but what it describes is of version 1"),
        ({"version": True}, "reads versions 1 and 2|another way"),
        ({"statistics": "int8"}, "version is 1, but what it describes is of version 2"),
        ({"granularity": "kernel"}, "version is 1, but what it describes is of version 2"),
        ({"granularity": "weight"}, "another way"),
        ({"granularity": "row", "version": 2}, "granularity"),
        ({"weights": "stored"}, "another way"),
        ({"seed": None}, "another way"),
        ({"seed": 0, "version": 2}, "weights are stored, but the seed is 0"),
        ({"weights": "signs", "version": 2}, "weights are signs, but the seed is None"),
        ({"weights": "signs", "seed": -1, "version": 2}, "seed"),
        ({"weights": "signs", "seed": 2**32, "version": 2}, "seed"),
        ({"weights": "normal", "seed": 0, "version": 2}, "weights"),
        ({"extra": 1}, "extra"),
        ({"dataset": "../../etc/passwd"}, "dataset"),
        ({"dataset": "a" * 201}, "dataset"),
        ({"dataset": "a\n"}, "dataset"),
        ({"dataset": ""}, "dataset"),
        ({"dataset": None}, "dataset"),
        ({"image_size": [8]}, "image_size"),
        ({"image_size": [8, 10**9]}, "image_size"),
        ({"image_size": [8.0, 8.0]}, "image_size"),
        ({"statistics": "float64"}, "statistics"),
        ({"statistics": "float16"}, "tensor norm is not of the manifest's type"),
        ({"affine": 0}, "affine"),
        ({"affine": True}, "tensor norm has shape"),
        ({"architecture": {"name": "vgg16"}}, "architecture.name.*none of resnet6"),
        ({"architecture": {"name": "resnet10"}}, "tensor kept has shape"),
        ({"architecture": {"width": 1e300}}, "architecture.width"),
        ({"architecture": {"width": 4.001}}, "architecture.width"),
        ({"architecture": {"width": 0.0}}, "architecture.width"),
        ({"architecture": {"width": -1.0}}, "architecture.width"),
        ({"architecture": {"width": float("nan")}}, "manifest"),
        ({"architecture": {"width": "1"}}, "architecture.width"),
        ({"architecture": {"name": "resnet50", "width": 4.0}}, "weights, more than"),
        ({"architecture": {"num_classes": 10**6}}, "num_classes"),
        ({"architecture": {"num_classes": 10**5}}, "shape"),
        ({"architecture": {"num_classes": 0}}, "num_classes"),
        ({"architecture": {"last_norm": 1}}, "last_norm"),
        ({"architecture": {"mean": []}}, "mean"),
        ({"architecture": {"mean": [0.5] * 17}}, "mean"),
        ({"architecture": {"mean": [0.5] * 3}}, "different lengths"),
        ({"architecture": {"mean": [float("inf")]}}, "manifest"),
        ({"architecture": {"mean": [1]}}, "another way"),
        ({"architecture": {"std": [0.0]}}, "std"),
        ({"architecture": {"std": [1e-30]}}, "std"),
        ({"architecture": {"std": [-0.25]}}, "std"),
    ],
    ids=str,
)
def test_a_manifest_out_of_range_is_refused(mixed, refusal, rewrite, fields, where):
    assert re.search(where, refusal(rewrite(mixed, **fields)))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", "[" * 5000, '{"version":1,"version":1}'])
def test_a_manifest_that_is_not_one_is_refused(mixed, refusal, text):
    tensors = container.read(mixed)[1]

    assert "manifest" in refusal(container.write(text, {k: v for k, v in tensors.items() if k != "sha256"}))


def test_a_manifest_that_is_not_canonical_is_refused(mixed, refusal):
    text, tensors = container.read(mixed)
    spaced = json.dumps(json.loads(text), sort_keys=True)

    assert "another way" in refusal(container.write(spaced, {k: v for k, v in tensors.items() if k != "sha256"}))


F32_NAN, F32_MAX = np.float32("nan"), np.finfo(np.float32).max


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("kept", put(3, 289), "keeps more weights than it has"),
        ("kept", put(3, 2**32 - 1), "keeps more weights than it has"),
        ("kept", lambda kept: kept[:6], "tensor kept has shape"),
        ("kept", lambda kept: kept + np.uint32(1), "keeps more weights than it has"),
        ("kept", lambda kept: np.zeros_like(kept), "belongs to no weight"),
        ("kept", lambda kept: kept[[0, 1, 2, 4, 3, 5, 6]], "keeps more|ones instead"),
        ("kept", put(0, 5), "shape|ones instead"),
        ("kept", put(6, 80), "tensor values has shape"),
        ("levels", put((0, 0), F32_NAN), "level is not finite"),
        ("levels", put((1, 0), np.inf), "level is not finite"),
        ("levels", put((0, 0), 0.0), "level is zero"),
        ("levels", put((0, 0), -0.0), "level is zero"),
        ("levels", put((0, 1), 0.0), "tensor signs has shape"),
        ("levels", put((1, 1), -0.0), "another way"),
        ("levels", put((1, 0), 0.0), "tensor values has shape"),
        ("levels", put((6, 0), 1.0), "belongs to no weight"),
        ("levels", lambda levels: levels[:, ::-1].copy(), "level is zero"),
        ("levels", lambda levels: np.where(levels[:1] != 0, levels[:, ::-1], levels)[:7], "zero|another way"),
        ("levels", put((0, 1), -100.0), "another way"),
        ("levels", lambda levels: levels.reshape(-1), "tensor levels has shape"),
        ("values", put(0, F32_NAN), "weight holds values that are not finite"),
        ("values", put(0, 0.0), "another way"),
        ("values", put(0, -0.0), "another way"),
        ("values", lambda values: np.ones_like(values), "another way"),
        ("values", lambda values: values[:-1], "tensor values has shape"),
        ("values", lambda values: values[None], "tensor values has shape"),
        ("norm", put(0, F32_NAN), "running_mean holds values that are not finite"),
        ("norm", put(4, -1.0), "running_var holds a negative variance"),
        ("norm", put(4, -np.inf), "not finite"),
        ("norm", lambda norm: norm[:-1], "tensor norm has shape"),
        ("norm", lambda norm: np.append(norm, norm), "tensor norm has shape"),
        ("norm", lambda norm: norm.astype(np.float16), "not of the manifest's type"),
        ("exponents", lambda _: np.zeros(16, np.int8), "tensor exponents has shape"),
        ("signs", lambda signs: signs[:-1], "tensor signs has shape"),
        ("signs", lambda signs: np.append(signs, signs[:1]), "tensor signs has shape"),
        ("signs", lambda signs: signs | np.array([0] * (len(signs) - 1) + [1], np.uint8), "unused bits"),
        ("signs", lambda signs: np.zeros_like(signs), "another way"),
        ("positions", lambda stream: stream[:0], "masks cannot be decoded"),
        ("positions", lambda stream: stream[:-4], "masks cannot be decoded"),
        ("positions", lambda stream: stream[:-1], "masks cannot be decoded"),
        ("positions", lambda stream: np.append(stream, np.zeros(4, np.uint8)), "masks cannot be decoded"),
        ("positions", lambda stream: np.zeros_like(stream), "masks cannot be decoded"),
        ("positions", lambda stream: np.full_like(stream, 255), "masks cannot be decoded"),
        ("positions", lambda stream: stream[:, None], "more than one dimension"),
    ],
)
def test_inconsistent_tensors_are_refused(changed, refusal, name, change, why):
    assert re.search(why, refusal(changed(name, change)))


def test_bits_anywhere_in_the_stream_are_checked_even_with_a_valid_seal(mixed, refusal, changed):
    """Another mask of the same count is a valid file of another network; anything else is refused."""
    stream, refused = container.read(mixed)[1]["positions"], 0
    for position in range(len(stream)):
        content = changed("positions", put(position, stream[position] ^ 1))
        try:
            unpack(content)
        except UserError:
            refused += 1

    assert refused > 0.95 * len(stream)


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("norm", put(0, np.nan), "not finite"),
        ("norm", put(0, np.inf), "not finite"),
        ("norm", put(4, -1.0), "negative variance"),
        ("norm", lambda norm: norm.astype(np.float32), "not of the manifest's type"),
        ("exponents", put(0, 127), "not finite"),
        ("exponents", lambda exponents: exponents[:-1], "tensor exponents has shape"),
        ("exponents", lambda exponents: exponents[:0], "tensor exponents has shape"),
        ("norm", lambda norm: norm / np.float16(4), "another way"),
    ],
)
def test_float16_statistics_that_pack_cannot_write_are_refused(changed, refusal, halves, name, change, why):
    assert re.search(why, refusal(changed(name, change, halves)))


def test_a_huge_network_that_fits_no_tensor_is_refused_before_it_is_allocated(mixed, refusal, rewrite):
    """ResNet34 of twice the width has 85 million weights, or 340 MB; `refusal` allows 4 MB."""
    architecture = {"name": "resnet34", "width": 2.0}

    assert "tensor kept has shape" in refusal(rewrite(mixed, architecture=architecture))
    tensors = {"kept": np.full(37, 2**31, np.uint32), "levels": np.zeros((37, 2), np.float32)}
    assert "tensor norm has shape" in refusal(rewrite(mixed, architecture=architecture, tensors=tensors))


def test_a_missing_file_a_folder_and_a_nameless_path_are_refused(tmp_path, refusal):
    for path in (tmp_path / "missing.safetensors", tmp_path, tmp_path / "nul\0byte", tmp_path / ("x" * 256)):
        refusal(path, read_artifact)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path, refusal):
    os.mkfifo(tmp_path / "pipe")

    assert "is not a file" in refusal(tmp_path / "pipe", read_artifact)


def test_a_file_that_is_too_large_is_not_read(tmp_path, refusal):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: takes no space

    assert "more than" in refusal(path, read_artifact)


def test_a_bad_file_is_named(tmp_path, mixed, refusal):
    path = tmp_path / "network.safetensors"
    path.write_bytes(mixed[:-1])

    assert str(path) in refusal(path, read_artifact)
