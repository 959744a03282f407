"""Top-k masks have exact counts, and ties fall to the earlier position, whatever the memory layout."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from methods.projections import joint_top_k_masks, top_k_mask


def literal_mask(values: Tensor, count: int) -> Tensor:
    """Sort all positions by falling value, then by rising position, and mark the first `count`."""
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


@given(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 0.5000001, 3.0]), min_size=1, max_size=30), st.data())
def test_ties_fall_to_the_earlier_position(values, data):
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
def test_joint_masks_are_the_top_k_of_all_tensors_laid_end_to_end(parts, data):
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


def test_the_input_is_left_as_it_was():
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
