"""Weights from a seed: the published generator, exact numbers, and networks that are trained with them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from benchmark.suite.registry import resolve
from methods import BUILT_IN, counted
from methods.base import Target
from methods.counted import Drawn, draw_weights, drawn_from, redraw, seed_refusal
from methods.edge_popup import EdgePopup
from methods.layers import compressed_layers

MASK = 2**64 - 1


def philox(counter, key):
    """Philox4x64-10 of Salmon et al. 2011 in Python integers: four words of a counter."""
    block, (first, second) = [counter, 0, 0, 0], key
    for _ in range(10):
        one, two = 0xD2E7470EE14C6C93 * block[0], 0xCA5A826395121157 * block[2]
        block = [two >> 64 ^ block[1] ^ first, two & MASK, one >> 64 ^ block[3] ^ second, one & MASK]
        first, second = (first + 0x9E3779B97F4A7C15) & MASK, (second + 0xBB67AE8584CAA73B) & MASK
    return block


def words(seed, layer, count):
    """Return the stream as the module describes it."""
    return [philox(number // 4 + 1, (seed, layer))[number % 4] for number in range(count)]


@pytest.mark.parametrize(("seed", "layer"), [(0, 0), (1, 0), (0, 1), (2**32 - 1, 53)])
def test_signs_are_the_bits_of_philox(seed, layer):
    expected = [1.0 if word >> bit & 1 else -1.0 for word in words(seed, layer, 4) for bit in range(64)]

    for size in (1, 63, 64, 65, 250):
        assert draw_weights(seed, layer, size, "signs").tolist() == expected[:size]


def test_uniform_numbers_are_exact_and_never_zero():
    drawn = draw_weights(3, 2, 50, "uniform")

    expected = [Fraction(2 * (word >> 40) + 1 - 2**24, 2**24) for word in words(3, 2, 50)]
    assert [Fraction(float(number)) for number in drawn] == expected
    assert drawn.dtype == np.float32


@pytest.mark.parametrize("draw", ["signs", "uniform"])
def test_long_layers_are_drawn_in_parts_of_one_stream(draw, monkeypatch):
    whole = draw_weights(5, 7, 1000, draw)

    monkeypatch.setattr(counted, "_CHUNK", 128)

    assert np.array_equal(draw_weights(5, 7, 1000, draw), whole)


def test_the_first_weights_of_seed_0_are_these():
    """They must never change: files without weights depend on them."""
    assert draw_weights(0, 0, 8, "signs").tolist() == [1, 1, -1, 1, 1, -1, -1, 1]
    assert [float(number).hex() for number in draw_weights(0, 0, 2, "uniform")] == [
        "-0x1.f42d160000000p-1",
        "-0x1.08a7520000000p-1",
    ]


def test_signs_and_numbers_are_spread_evenly():
    signs, numbers = draw_weights(0, 0, 100_000, "signs"), draw_weights(0, 0, 100_000, "uniform")

    assert abs(signs.mean()) < 0.02
    assert abs(numbers.mean()) < 0.01 and abs((numbers**2).mean() - 1 / 3) < 0.01


@pytest.mark.parametrize("binary_init", ["pm1", "signed_kaiming_constant"])
def test_redrawn_binary_weights_keep_their_magnitude_and_all_else_stays(make_plan, binary_init):
    target = Target(0.1, "binary", 0.5)
    model = EdgePopup(binary_init=binary_init).build(make_plan(), target)
    before = {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}

    redraw(model, drawn_from("binary", 11))

    for number, layer in enumerate(compressed_layers(model)):
        signs = torch.from_numpy(draw_weights(11, number, layer.weight.numel(), "signs")).view_as(layer.weight)
        (magnitude,) = layer.weight.abs().unique()
        assert torch.equal(layer.weight, signs * magnitude)
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor) and name.endswith(".weight"):
            assert torch.equal(value.abs(), before[name].abs())
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, before[name])


def test_redrawn_numbers_are_those_of_the_seed_alone(make_plan):
    first, second = (EdgePopup().build(make_plan(), Target(0.1, "fp", 0.5)) for _ in range(2))

    for model in (first, second):
        redraw(model, Drawn("uniform", 11))

    for one, other in zip(compressed_layers(first), compressed_layers(second), strict=True):
        assert torch.equal(one.weight, other.weight)
    assert not torch.equal(compressed_layers(first)[1].weight, compressed_layers(first)[3].weight)


@pytest.mark.parametrize("name", BUILT_IN)
def test_only_weights_that_are_never_trained_may_come_from_a_seed(name):
    reason = seed_refusal(resolve(name).create({}, "here"), Target(0.1, "binary"))

    if name in ("edge_popup", "rst"):
        assert reason is None
    else:
        assert reason == f"{name} trains weights, which no seed can give again: artifact.weights must be stored"


def test_other_distributions_cannot_be_drawn_from_a_seed():
    method = EdgePopup(fp_init="kaiming_normal")

    assert "options.fp_init must be uniform_pm1, got kaiming_normal" in seed_refusal(method, Target(0.1, "fp"))
    assert seed_refusal(method, Target(0.1, "binary")) is None
