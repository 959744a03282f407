"""Top-k masks have exact counts, ties go to the earlier position, and two-means finds the best partition."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from methods.projections import _masks_on_device, joint_top_k_masks, two_means


def top_k_mask(values: Tensor, count: int) -> Tensor:
    """Return the mask of a single tensor."""
    return joint_top_k_masks([values], count)[0]


def literal_mask(values: Tensor, count: int) -> Tensor:
    """Sort all positions by descending value, then ascending position, and mark the first `count`."""
    flat = values.flatten().tolist()
    order = sorted(range(len(flat)), key=lambda position: (-flat[position], position))
    chosen = set(order[:count])
    return torch.tensor([position in chosen for position in range(len(flat))]).view(values.shape)


INPUTS = {
    "random": torch.rand(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)),
    "tied": torch.randint(3, (4, 3, 3, 3), generator=torch.Generator().manual_seed(1)).float(),
    "negative": -torch.rand(4, 3, 3, 3, generator=torch.Generator().manual_seed(2)),
    "all equal": torch.full((4, 3, 3, 3), 0.5),
    "infinite": torch.tensor([float("inf"), 1.0, float("-inf"), float("inf"), 0.0, -0.0]),
    "half precision": (torch.rand(60, generator=torch.Generator().manual_seed(3)) * 8).round().half(),
    "double precision": torch.rand(50, generator=torch.Generator().manual_seed(4), dtype=torch.float64),
}


@pytest.mark.parametrize("values", INPUTS.values(), ids=INPUTS)
def test_every_count_gives_the_mask_of_a_literal_sort(values):
    for count in range(values.numel() + 1):
        mask = top_k_mask(values, count)

        assert mask.dtype == torch.bool
        assert int(mask.sum()) == count
        assert torch.equal(mask, literal_mask(values, count))


@pytest.mark.parametrize("values", INPUTS.values(), ids=INPUTS)
def test_the_variant_for_gpus_gives_the_same_masks(values):
    parts = [values.flatten()[:7], values.flatten()[7:]] if values.numel() > 7 else [values]
    for count in range(1, values.numel()):
        masks = _masks_on_device(parts, count)

        assert torch.equal(torch.cat([mask.flatten() for mask in masks]), literal_mask(values, count).flatten())


@given(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 0.5000001, 3.0]), min_size=1, max_size=30), st.data())
def test_ties_go_to_the_earlier_position(values, data):
    count = data.draw(st.integers(0, len(values)))

    mask = top_k_mask(torch.tensor(values), count)

    assert torch.equal(mask, literal_mask(torch.tensor(values), count))


@pytest.mark.parametrize("name", ["random", "tied", "all equal"])
def test_the_memory_layout_does_not_matter(name):
    values = INPUTS[name]
    channels_last = values.to(memory_format=torch.channels_last)
    assert not channels_last.is_contiguous()

    masks = [top_k_mask(values, count) for count in (1, 17, 50, values.numel())]
    masks_channels_last = [top_k_mask(channels_last, count) for count in (1, 17, 50, values.numel())]

    assert all(torch.equal(one, other) for one, other in zip(masks, masks_channels_last, strict=True))


@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=1, max_size=8), min_size=1, max_size=4),
    st.data(),
)
def test_joint_masks_are_the_top_k_of_all_tensors_concatenated(parts, data):
    tensors = [torch.tensor(part, dtype=torch.float32) for part in parts]
    everything = torch.cat(tensors)
    count = data.draw(st.integers(0, everything.numel()))

    masks = joint_top_k_masks(tensors, count)

    assert [mask.shape for mask in masks] == [tensor.shape for tensor in tensors]
    assert torch.equal(torch.cat(masks), literal_mask(everything, count))


def test_joint_masks_keep_shapes_and_ignore_the_memory_layout():
    tensors = [INPUTS["tied"].to(memory_format=torch.channels_last), INPUTS["random"][:2]]

    first, second = joint_top_k_masks(tensors, 60)

    expected = literal_mask(torch.cat([INPUTS["tied"].flatten(), INPUTS["random"][:2].flatten()]), 60)
    assert torch.equal(first, expected[:108].view(4, 3, 3, 3))
    assert torch.equal(second, expected[108:].view(2, 3, 3, 3))


def test_the_input_is_not_changed():
    values = torch.nn.Parameter(INPUTS["random"].clone())

    mask = top_k_mask(values, 9)

    assert torch.equal(values, INPUTS["random"])
    assert not mask.requires_grad


@pytest.mark.parametrize("count", [-1, 7])
def test_a_count_out_of_range_is_refused(count):
    values = torch.zeros(2, 3)

    with pytest.raises(ValueError, match=f"count must be between 0 and 6, got {count}"):
        top_k_mask(values, count)
    with pytest.raises(ValueError, match=f"count must be between 0 and 6, got {count}"):
        joint_top_k_masks([values[0], values[1]], count)


def squared_error(parts) -> float:
    """Return the summed squared distance of numbers from the means of their parts."""
    return sum((value - sum(part) / len(part)) ** 2 for part in parts if part for value in part)


def all_partitions(values):
    """Yield every way to split numbers into two parts, one of which may be empty."""
    for chosen in itertools.product((False, True), repeat=len(values) - 1):
        yield [[v for v, c in zip(values, (True, *chosen), strict=True) if c is part] for part in (True, False)]


numbers = st.floats(-100, 100, allow_subnormal=False) | st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])


@given(st.lists(numbers, min_size=1, max_size=8))
def test_two_means_is_the_best_of_all_partitions(values):
    result = two_means(torch.tensor(values, dtype=torch.float64)).tolist()

    error = sum((value - mean) ** 2 for value, mean in zip(values, result, strict=True))
    best = min(map(squared_error, all_partitions(values)))
    assert error <= best + 1e-9 * (1 + sum(value**2 for value in values))
    assert len(set(result)) <= 2


@given(st.lists(numbers, min_size=2, max_size=40))
def test_two_means_is_the_best_of_all_cuts_of_the_sorted_values(values):
    result = two_means(torch.tensor(values, dtype=torch.float64)).tolist()

    ordered = sorted(values)
    best = min(squared_error((ordered[:cut], ordered[cut:])) for cut in range(1, len(ordered)))
    error = sum((value - mean) ** 2 for value, mean in zip(values, result, strict=True))
    assert error == pytest.approx(best, abs=1e-9 * (1 + sum(value**2 for value in values)))


@pytest.mark.parametrize(
    ("values", "means"),
    [
        ([3.0], [3.0]),
        ([2.0, -1.0], [2.0, -1.0]),
        ([0.5] * 5, [0.5] * 5),
        ([1.0, -1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0, -1.0]),
        ([10.0, 0.0, 11.0, 1.0, 12.0], [11.0, 0.5, 11.0, 0.5, 11.0]),
        ([5.0, 5.0, 5.0, 6.0], [5.0, 5.0, 5.0, 6.0]),
    ],
)
def test_two_means_keeps_each_value_in_its_place(values, means):
    assert two_means(torch.tensor(values)).tolist() == means


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.25, 0.1, 3.0]), min_size=1, max_size=60))
def test_two_means_never_separates_equal_values(values):
    result = two_means(torch.tensor(values)).tolist()

    assert len(set(zip(values, result, strict=True))) == len(set(values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_means_keeps_type_and_input(dtype):
    values = torch.randn(1000, dtype=dtype)
    before = values.clone()

    result = two_means(values)

    assert result.dtype == dtype and result.shape == values.shape
    assert len(result.unique()) == 2
    assert torch.equal(values, before)


def test_two_means_of_many_single_precision_values_does_not_lose_precision():
    """Prefix sums in single precision would be off in the third digit here."""
    values = 1000 + torch.cat([torch.rand(20_000), 3 + torch.rand(30_000)])

    low, high = two_means(values).unique().tolist()

    assert low == pytest.approx(float(values[:20_000].double().mean()), abs=1e-4)
    assert high == pytest.approx(float(values[20_000:].double().mean()), abs=1e-4)
