"""Files of version 2: masks of groups, weights from a seed, statistics in eight bits; and that nothing else is one."""

from __future__ import annotations

import json
import math
import re
from itertools import combinations

import numpy as np
import pytest
import torch

from benchmark.artifact import container, patterns, rans, rans_steps
from benchmark.artifact.measure import BadExport, entropy_bound_bits, measure_export
from benchmark.artifact.pack import pack
from benchmark.artifact.unpack import unpack
from benchmark.networks.resnet import NetworkPlan, convolutions, prunable_sizes
from methods.base import Target
from methods.counted import Drawn, drawn_from, redraw
from methods.edge_popup import EdgePopup
from methods.sparse.support import compiles

PLAN = NetworkPlan("resnet6", 10, (0.5, 0.4, 0.3), (0.25, 0.2, 0.2), 1 / 8)
KINDS = {
    "weight": Target(0.2, "binary", 0.5),
    "kernel": Target(0.3, "binary", 0.5, "kernel"),
    "channel": Target(0.5, "binary", 0.5, "channel"),
    "2:4": Target(0.5, "binary", 1.0, "2:4"),
}


@pytest.fixture(scope="module")
def exported():
    """Return a function that builds and exports a random network of edge-popup, its weights from a seed or not."""

    def make(granularity, *, weights="binary", seed=None, plan=PLAN):
        target = Target(**(vars(KINDS[granularity]) | {"weights": weights}))
        torch.manual_seed(3)
        method = EdgePopup()
        model = method.build(plan, target)
        if seed is not None:
            redraw(model, drawn_from(weights, seed))
        network = method.export(model)
        for norm in network.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.1, 30.0)
        return network

    return make


def equal_weights(first, second):
    """Return whether the convolutions of two networks hold the same numbers."""
    ours, theirs = convolutions(first), convolutions(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key].weight, theirs[key].weight) for key in ours)


@pytest.mark.parametrize("statistics", ["float32", "float16", "int8"])
@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize("weights", ["binary", "fp"])
@pytest.mark.parametrize("granularity", KINDS)
def test_every_kind_of_file_gives_its_network_and_its_bytes_again(
    exported, small_pack, granularity, weights, seed, statistics
):
    network = exported(granularity, weights=weights, seed=seed)
    drawn = None if seed is None else drawn_from(weights, seed)

    content = small_pack(network, PLAN, statistics=statistics, granularity=granularity, drawn=drawn)
    artifact = unpack(content)

    assert equal_weights(artifact.network, network)
    assert (artifact.granularity, artifact.drawn, artifact.statistics) == (granularity, drawn, statistics)
    again = small_pack(artifact.network, PLAN, statistics=statistics, granularity=granularity, drawn=drawn)
    assert again == content
    new = granularity != "weight" or seed is not None or statistics == "int8"
    assert json.loads(container.read(content)[0])["version"] == (2 if new else 1)
    assert artifact.part.weights == ("stored" if seed is None else "seed")


@pytest.mark.skipif(not compiles(), reason="numba is missing or switched off")
@pytest.mark.parametrize("granularity", KINDS)
def test_compiled_masks_make_the_same_file(exported, small_pack, monkeypatch, granularity):
    from benchmark.artifact import rans_kernels

    files = []
    for steps in (rans_steps, rans_kernels):
        monkeypatch.setattr(rans, "_steps", lambda symbols, steps=steps: steps)
        files.append(small_pack(exported(granularity), PLAN, granularity=granularity))
        unpack(files[0])  # compares what it reads, packed again, with the file

    assert files[0] == files[1]


@pytest.mark.parametrize("granularity", ["kernel", "channel", "2:4"])
def test_group_masks_are_smaller_than_weight_masks_and_close_to_their_bound(exported, small_pack, granularity):
    network = exported(granularity, plan=NetworkPlan("resnet10", 10, (0.5,), (0.25,), 0.5))
    plan = NetworkPlan("resnet10", 10, (0.5,), (0.25,), 0.5)

    old, new = (container.read(small_pack(network, plan, **kind))[1] for kind in ({}, {"granularity": granularity}))

    assert len(new["positions"]) < len(old["positions"])
    bits = entropy_bound_bits(network, binary=True, granularity=granularity)
    rest = sum(int(conv.weight.count_nonzero()) + 64 for conv in convolutions(network).values())
    rest += 32 * sum(value.numel() for name, value in network.state_dict().items() if "running" in name)
    if granularity != "channel":  # a few hundred bits, less than the coder's states
        assert (bits - rest) / 8 <= len(new["positions"]) <= 1.04 * (bits - rest) / 8 + 8 * 256


def test_zeros_in_a_kept_group_are_values(exported, small_pack):
    """Trained weights may become zero; -0.0 is stored as 0.0, as everywhere."""
    network = exported("kernel", weights="fp")
    weight = network.layer1[0].conv1.weight
    out, inner = (weight != 0).any((2, 3)).nonzero()[0].tolist()
    weight[out, inner, 0] = torch.tensor([0.0, -0.0, 0.5])

    content = small_pack(network, PLAN, granularity="kernel")
    artifact = unpack(content)

    assert torch.equal(artifact.network.layer1[0].conv1.weight, weight)
    assert small_pack(artifact.network, PLAN, granularity="kernel") == content


def test_an_empty_network_of_2_4_has_masks_of_zeros(exported, small_pack):
    network = exported("2:4")
    for conv in convolutions(network).values():
        conv.weight.zero_()

    artifact = unpack(small_pack(network, PLAN, granularity="2:4"))

    assert not any(conv.weight.any() for conv in convolutions(artifact.network).values())


def test_weights_that_were_trained_are_refused(exported, small_pack):
    network = exported("weight", seed=11)
    at = network.fc.weight.flatten().nonzero()[0]

    with pytest.raises(BadExport, match=r"weights of conv1\.weight are not those of seed 12: training has changed"):
        small_pack(network, PLAN, drawn=Drawn("signs", 12))
    network.fc.weight.view(-1)[at] *= -1
    with pytest.raises(BadExport, match=r"weights of fc\.weight are not those of seed 11"):
        small_pack(network, PLAN, drawn=Drawn("signs", 11))


def test_a_third_weight_of_four_is_refused(exported, small_pack):
    network = exported("2:4")
    network.layer1[0].conv1.weight[0, :4, 0, 0] = 1.0

    with pytest.raises(BadExport, match=r"layer1\.0\.conv1.*more than 2 of 4 consecutive weights are not zero"):
        small_pack(network, PLAN, granularity="2:4")
    with pytest.raises(BadExport, match="more than 2 of 4"):
        measure_export(network, prunable_sizes(PLAN), budget=10**9, binary=True, granularity="2:4")


def test_a_weight_outside_its_groups_counts_with_its_whole_group(exported):
    network, sizes = exported("kernel"), prunable_sizes(PLAN)
    kept = sum(int(conv.weight.count_nonzero()) for conv in convolutions(network).values())
    measure_export(network, sizes, budget=kept, binary=True, granularity="kernel")
    weight = network.layer1[0].conv1.weight
    out, inner = (weight == 0).all(3).all(2).nonzero()[0].tolist()
    full = (weight != 0).any(3).any(2).nonzero()[0].tolist()
    weight[full[0], full[1], 0, 0], weight[out, inner, 0, 0] = 0.0, 1.0

    with pytest.raises(BadExport, match=r"exported groups \(kernel\) hold"):
        measure_export(network, sizes, budget=kept, binary=True, granularity="kernel")
    measure_export(network, sizes, budget=kept, binary=True)


SHAPES = [(3, 8, 3, 3), (2, 3, 3, 3), (5, 1, 3, 3), (4, 6, 1, 1), (3, 2, 1, 1), (2, 5, 1, 1), (1, 1, 1, 1)]


def test_patterns_are_digits_of_six_three_a_byte():
    generator = np.random.default_rng(0)
    digits, masks = [], []
    for out, inner, height, width in SHAPES:
        rows = np.zeros((out, height * width * inner), bool)
        for row in rows:
            for start in range(0, len(row), 4):
                size = min(4, len(row) - start)
                choices = list(combinations(range(size), size // 2))
                digit = int(generator.integers(len(choices)))
                row[[start + place for place in choices[digit]]] = True
                digits += [digit] if size > 1 else []
        masks.append(rows.reshape(out, height, width, inner).transpose(0, 3, 1, 2))
    padded = digits + [0] * (-len(digits) % 3)

    stream = patterns.encode(masks)

    assert list(stream) == [36 * a + 6 * b + c for a, b, c in zip(padded[::3], padded[1::3], padded[2::3], strict=True)]
    for mask, decoded in zip(masks, patterns.decode(stream, SHAPES), strict=True):
        assert np.array_equal(mask, decoded)


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (lambda stream: stream[:-1], "bytes for"),
        (lambda stream: stream + b"\0", "bytes for"),
        (lambda stream: b"\xd8" + stream[1:], "not made of digits"),
        (lambda stream: stream[:-1] + bytes([stream[-1] + 1]), "more digits than groups"),
    ],
)
def test_bytes_that_are_no_patterns_are_refused(stream, why):
    shapes = [(2, 4, 1, 1)]
    valid = patterns.encode([np.broadcast_to(np.array([1, 1, 0, 0], bool)[:, None, None], (2, 4, 1, 1))])

    with pytest.raises(patterns.BadPatterns, match=why):
        patterns.decode(stream(valid), shapes)


def test_a_rest_has_only_so_many_patterns():
    assert len(patterns.decode(bytes([36 * 2]), [(1, 3, 1, 1)])) == 1
    with pytest.raises(patterns.BadPatterns, match="a rest of 3 weights has only 3 patterns"):
        patterns.decode(bytes([36 * 3]), [(1, 3, 1, 1)])


@pytest.mark.parametrize(
    ("granularity", "name", "change", "why"),
    [
        ("kernel", "kept", lambda kept: kept + np.uint32(10**6), "keeps more groups than it has"),
        ("kernel", "positions", lambda stream: stream[:-4], "masks cannot be decoded"),
        ("channel", "kept", lambda kept: kept[::-1].copy(), "groups|shape|ones"),
        ("2:4", "kept", lambda kept: kept - np.uint32(1), "does not keep two of every four"),
        ("2:4", "positions", lambda stream: stream[:-1], "masks cannot be decoded"),
        ("2:4", "positions", lambda stream: np.full_like(stream, 216), "masks cannot be decoded"),
        ("2:4", "positions", lambda stream: stream[:, None], "more than one dimension"),
    ],
)
def test_masks_of_groups_that_do_not_fit_are_refused(
    exported, small_pack, rewrite, refusal, granularity, name, change, why
):
    content = small_pack(exported(granularity), PLAN, granularity=granularity)
    tensor = container.read(content)[1][name].copy()

    assert re.search(why, refusal(rewrite(content, tensors={name: change(tensor)})))


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("levels", lambda levels: -levels, "not those of seed 11"),
        ("levels", lambda levels: levels * np.float32(0), "another way|not those"),
        ("levels", lambda levels: np.where(levels, np.float32("nan"), levels), "level is not finite"),
        ("levels", lambda levels: np.append(levels, levels, axis=1), "tensor levels has shape"),
        ("values", lambda _: np.ones(3, np.float32), "tensor values has shape"),
        ("signs", lambda _: np.ones(3, np.uint8), "tensor signs has shape"),
    ],
)
def test_files_with_a_seed_hold_no_weights(exported, small_pack, rewrite, refusal, name, change, why):
    content = small_pack(exported("weight", seed=11), PLAN, drawn=Drawn("signs", 11))
    tensor = container.read(content)[1][name].copy()

    assert re.search(why, refusal(rewrite(content, tensors={name: change(tensor)})))


def test_a_huge_network_from_a_seed_is_refused_before_it_is_drawn(exported, small_pack, rewrite, refusal):
    content = small_pack(exported("weight", seed=11), PLAN, drawn=Drawn("signs", 11))

    assert "tensor kept has shape" in refusal(rewrite(content, architecture={"name": "resnet34", "width": 2.0}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("granularity", "statistics", "limit"),
    [("kernel", "float16", 65_500), ("kernel", "int8", 48_500), ("weight", "float16", 231_500)],
)
def test_a_resnet34_with_1_percent_kept_fits_in_so_many_bytes(granularity, statistics, limit):
    plan = NetworkPlan("resnet34", 10, (0.491, 0.482, 0.447), (0.247, 0.243, 0.262))
    target = Target(0.01, "binary", "auto", granularity)
    method, drawn = EdgePopup(), drawn_from("binary", 0)
    model = method.build(plan, target)
    redraw(model, drawn)
    network = method.export(model)

    content = pack(
        *(network, plan),
        dataset="cifar10",
        image_size=(32, 32),
        statistics=statistics,
        granularity=granularity,
        drawn=drawn,
    )

    assert len(content) <= limit
    bound = entropy_bound_bits(network, binary=True, granularity=granularity, seeded=True) / 8
    values = sum(value.numel() for name, value in network.state_dict().items() if "running" in name)
    bytes_each = {"float16": 2, "int8": 1}[statistics]
    assert len(content) - math.ceil(bound - (4 - bytes_each) * values) in range(2_000, 3_500)
    if granularity == "kernel":  # masks of single weights take their time
        assert equal_weights(unpack(content).network, network)
