"""Groups of weights: exact budgets, masks of whole groups, the gradient of a group's score, and what is refused."""

from __future__ import annotations

import math
from functools import partial
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmark.networks.resnet import prunable_shapes
from benchmark.suite.registry import resolve
from methods import BUILT_IN
from methods.allocation import allocate, weight_budget
from methods.base import Target
from methods.edge_popup import EdgePopup
from methods.granularity import layer_budgets, refusal, score_shape, two_of_four_budget, two_of_four_mask, whole_groups
from methods.hydra import Hydra, scores_from_weights
from methods.layers import CompressedConv2d, compressed_layers, refresh_masks, set_budgets, to_plain

KERNEL, CHANNEL = Target(0.3, "binary", 0.5, "kernel"), Target(0.3, "binary", 0.5, "channel")
TWO_OF_FOUR = Target(0.5, "binary", 1.0, "2:4")
GROUPED = [KERNEL, CHANNEL, TWO_OF_FOUR]


def groups_of(mask, granularity):
    """List a layer's groups as tuples of bits, in plain Python."""
    out, inner, height, width = mask.shape
    at = mask.tolist()
    taps = list(product(range(height), range(width)))
    if granularity == "kernel":
        return [tuple(at[o][i][y][x] for y, x in taps) for o in range(out) for i in range(inner)]
    if granularity == "channel":
        return [tuple(at[o][i][y][x] for o in range(out) for y, x in taps) for i in range(inner)]
    rows = [[at[o][i][y][x] for y, x in taps for i in range(inner)] for o in range(out)]
    return [tuple(row[start : start + 4]) for row in rows for start in range(0, len(row), 4)]


@pytest.mark.parametrize("target", GROUPED, ids=lambda target: target.granularity)
def test_masks_keep_whole_groups_and_exactly_the_budget_before_and_after_training(
    make_plan, make_batch, make_objective, train_steps, target
):
    method, plan = EdgePopup(), make_plan()
    budgets = layer_budgets(list(prunable_shapes(plan).values()), target)
    model = method.build(plan, target)
    before = [layer.mask.clone() for layer in compressed_layers(model)]

    train_steps(method, model, target, make_batch(), make_objective())

    for layer, old, budget in zip(compressed_layers(model), before, budgets, strict=True):
        for mask in (old, layer.mask):
            groups = groups_of(mask, target.granularity)
            if target.granularity == "2:4":
                assert all(sum(group) == len(group) // 2 for group in groups)
            else:
                assert all(len(set(group)) == 1 for group in groups)
            assert int(mask.sum()) == budget == layer.keep_count
    assert any(not torch.equal(layer.mask, old) for layer, old in zip(compressed_layers(model), before, strict=True))
    assert sum(budgets) <= weight_budget(sum(layer.weight.numel() for layer in compressed_layers(model)), 0.5)


@pytest.mark.parametrize("granularity", ["kernel", "channel"])
def test_the_groups_with_the_largest_scores_are_kept_the_earlier_of_equal_ones(granularity):
    conv = CompressedConv2d(6, 4, 3, scored=True)
    conv.set_granularity(granularity)
    conv.scores.data.copy_(torch.randint(-2, 3, conv.scores.shape))
    conv.keep_count = 3 * conv.group_size

    refresh_masks(conv)

    magnitudes = conv.scores.abs().flatten().tolist()
    best = sorted(range(len(magnitudes)), key=lambda group: (-magnitudes[group], group))[:3]
    kept = [index for index, group in enumerate(groups_of(conv.mask, granularity)) if group[0]]
    assert kept == sorted(best)


@pytest.mark.parametrize("shape", [(3, 8, 3, 3), (5, 3, 3, 3), (2, 1, 3, 3), (4, 6, 1, 1), (2, 2, 1, 1), (1, 13, 1, 1)])
def test_two_of_four_keeps_the_two_largest_and_of_equal_ones_the_earlier(shape):
    scores = torch.randint(0, 4, shape).float()

    for layout in (torch.contiguous_format, torch.channels_last):
        mask = two_of_four_mask(scores.contiguous(memory_format=layout))

        assert mask.shape == scores.shape and int(mask.sum()) == two_of_four_budget(shape)
        for group, bits in zip(groups_of(scores, "2:4"), groups_of(mask, "2:4"), strict=True):
            order = sorted(range(len(group)), key=lambda place, group=group: (-group[place], place))
            assert [place for place, bit in enumerate(bits) if bit] == sorted(order[: len(group) // 2])


@pytest.mark.parametrize("granularity", ["kernel", "channel", "2:4"])
def test_a_score_of_a_group_gets_the_sum_of_the_gradients_of_its_weights_scores(granularity):
    groups = CompressedConv2d(5, 4, 3, padding=1, scored=True)
    groups.set_granularity(granularity)
    nn.init.normal_(groups.scores)
    groups.keep_count = two_of_four_budget((4, 5, 3, 3)) if granularity == "2:4" else 2 * groups.group_size
    refresh_masks(groups)
    single = CompressedConv2d(5, 4, 3, padding=1, scored=True)
    single.weight.data.copy_(groups.weight)
    single.scores.data.copy_(groups.scores.expand_as(single.scores))
    single.mask.copy_(groups.mask)
    images = torch.randn(2, 5, 6, 6)

    for conv in (groups, single):
        (conv(images) + 1).pow(3).sum().backward()

    assert groups.scores.shape == score_shape(single.weight.shape, granularity)
    summed = torch.zeros_like(groups.scores)
    for out, inner, y, x in product(range(4), range(5), range(3), range(3)):
        place = {"kernel": (out, inner, 0, 0), "channel": (0, inner, 0, 0), "2:4": (out, inner, y, x)}[granularity]
        summed[place] += single.scores.grad[out, inner, y, x]
    torch.testing.assert_close(groups.scores.grad, summed, rtol=1e-4, atol=1e-4)
    assert bool((groups.scores.grad != 0).all())


def test_single_weights_are_chosen_as_ever(make_plan):
    """`granularity: weight` is the default, and its budgets are those of `allocate`."""
    shapes = list(prunable_shapes(make_plan()).values())

    for p in (0.0, 0.4, 1.0):
        assert layer_budgets(shapes, Target(0.2, "fp", p)) == allocate([math.prod(shape) for shape in shapes], 0.2, p)
    assert Target(0.2, "fp", 0.4, "weight") == Target(0.2, "fp", 0.4)


def test_a_layer_without_a_group_gets_one_and_the_largest_layer_pays_for_it():
    # The first lacks 4 weights for a group of 9, the third has 8 left over, which nobody gets.
    assert whole_groups([27, 9000, 90], [5, 900, 35], [9, 9, 9]) == [9, 891, 27]
    assert whole_groups([27, 900, 900], [5, 95, 95], [9, 9, 9]) == [9, 90, 90]
    assert whole_groups([27, 900, 900], [5, 93, 90], [9, 9, 9]) == [9, 81, 90]  # the first of the two largest
    assert whole_groups([27, 900], [5, 13], [9, 9]) == [9, 9]


def test_a_budget_that_cannot_give_every_layer_a_group_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"^a budget of 17 weights cannot .*1 of 2 layers lack 4 .*; raise keep_ratio"):
        whole_groups([27, 900], [5, 12], [9, 9])
    with pytest.raises(ValueError, match="largest layer has 5"):
        whole_groups([900, 27], [5, 9], [9, 9])


LAYERS = st.lists(st.tuples(st.integers(1, 9), st.integers(2, 12), st.sampled_from([1, 3])), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(LAYERS, st.floats(0.01, 0.99), st.floats(0, 1), st.sampled_from(["kernel", "channel"]))
def test_budgets_are_whole_groups_within_the_total_and_every_layer_has_one(layers, ratio, p, granularity):
    shapes = [(out, inner, size, size) for out, inner, size in layers]
    sizes = [math.prod(shape) for shape in shapes]
    groups = [size // math.prod(score_shape(shape, granularity)) for size, shape in zip(sizes, shapes, strict=True)]
    try:
        single = allocate(sizes, ratio, p)
        budgets = layer_budgets(shapes, Target(ratio, "fp", p, granularity))
    except ValueError:
        return

    total = weight_budget(sum(sizes), ratio)
    assert all(budget % group == 0 for budget, group in zip(budgets, groups, strict=True))
    assert all(group <= budget <= size for budget, group, size in zip(budgets, groups, sizes, strict=True))
    largest = sizes.index(max(sizes))
    # One more group of any layer that did not pay would exceed its budget, and the total is never exceeded.
    assert all(
        count - group < budget <= max(count, group)
        for layer, (count, budget, group) in enumerate(zip(single, budgets, groups, strict=True))
        if layer != largest
    )
    spent_by_others = sum(max(count, group) for count, group in zip(single, groups, strict=True)) - max(
        single[largest], groups[largest]
    )
    assert budgets[largest] <= total - spent_by_others < budgets[largest] + groups[largest]
    assert sum(budgets) <= total


def test_hydra_starts_from_the_magnitudes_of_its_groups(make_plan):
    model = Hydra().build(make_plan(), KERNEL)
    scores_from_weights(model)

    for layer in compressed_layers(model):
        sums = layer.weight.detach().abs().sum((2, 3), keepdim=True) if layer.group_size > 1 else layer.weight.detach()
        expected = math.sqrt(6 / layer.fan_in) * sums / sums.abs().max()
        torch.testing.assert_close(layer.scores.detach(), expected)


@pytest.mark.parametrize("target", GROUPED, ids=lambda target: target.granularity)
def test_hydra_exports_whole_groups_after_all_its_phases(make_plan, make_batch, make_objective, train_steps, target):
    method, plan = Hydra(), make_plan()
    model = method.build(plan, target)
    budgets = layer_budgets(list(prunable_shapes(plan).values()), target)

    for phase in method.phases(3, target):
        train_steps(method, model, target, make_batch(), make_objective(), phase=phase)

    exported = [module.weight for module in to_plain(model).modules() if isinstance(module, nn.Conv2d)]
    assert [int(weight.count_nonzero()) for weight in exported] == budgets


def test_a_checkpoint_of_other_groups_is_not_loaded(make_plan):
    kernel, channel = (EdgePopup().build(make_plan(), target) for target in (KERNEL, CHANNEL))

    with pytest.raises((ValueError, RuntimeError), match=r"size mismatch|budget"):
        channel.load_state_dict(kernel.state_dict())


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("target", GROUPED, ids=lambda target: target.granularity)
def test_methods_that_cannot_choose_groups_refuse_them(name, target):
    method = resolve(name).create({}, "here")
    if name == "rst":
        target = Target(target.keep_ratio, target.weights, 1.0, target.granularity)
    reason = refusal(method, target)

    if name in ("edge_popup", "rst", "hydra"):
        assert reason is None
    else:
        assert reason is not None and "\n" not in reason
        assert f"got {target.granularity}" in reason or reason == method.refusal(target)
        assert refusal(method, Target(0.5, "binary", 1.0)) == method.refusal(Target(0.5, "binary", 1.0))


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Target(0.3, "fp", "global", "kernel"), "allocation must not be global"),
        (Target(0.3, "fp", 1.0, "2:4"), "keep_ratio must be 0.5 and allocation 1, got 0.3 and 1"),
        (Target(0.5, "fp", 0.4, "2:4"), "keep_ratio must be 0.5 and allocation 1, got 0.5 and 0.4"),
        (Target(0.5, "fp", "global", "2:4"), "allocation must not be global"),
    ],
)
def test_targets_without_such_groups_are_refused(target, why):
    assert why in refusal(EdgePopup(), target)


def test_a_granularity_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="granularity is one of weight, kernel, channel, 2:4; got row"):
        Target(0.3, granularity="row")


def test_a_layer_with_one_weight_per_output_has_no_two_of_four():
    with pytest.raises(ValueError, match="keeps none of a layer"):
        set_budgets(nn.Sequential(partial(CompressedConv2d, scored=True)(1, 3, 1)), TWO_OF_FOUR)
