"""Batch norm over several processes equals torch's on the whole batch: outputs, gradients and running statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from benchmark.training.batch_norm import running_statistics, shared_batch_norm

SHAPES = {"images": (6, 4, 3, 3), "logits": (6, 4)}


def norm_of(shape, **settings):
    norm = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(shape[1], **settings).double()
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm


def alone(own):
    """Gather the tensors of the only process."""
    return own[None]


@pytest.mark.parametrize(
    "settings", [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}], ids=str
)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_with_one_process_it_is_torchs(shape, settings):
    ours = norm_of(shape, **settings)
    torchs = copy.deepcopy(ours)
    for step in range(2):
        images = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(step)) + 5
        results = []
        for norm, gather in ((ours, alone), (torchs, None)):
            point = images.clone().requires_grad_(True)
            with shared_batch_norm(norm, gather):
                output = norm(point)
            output.square().mul(
                torch.arange(6.0, dtype=torch.float64).view(-1, *[1] * (len(shape) - 1))
            ).sum().backward()
            results.append([output.detach(), point.grad, *(parameter.grad for parameter in norm.parameters())])
        for own, expected in zip(*results, strict=True):
            torch.testing.assert_close(own, expected)
    for name, value in torchs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)


def test_bfloat16_activations_are_summed_in_float32():
    norm = nn.BatchNorm2d(4)
    images = (torch.randn(6, 4, 3, 3) + 5).bfloat16()
    expected = copy.deepcopy(norm)(images)
    point = images.clone().requires_grad_(True)
    with shared_batch_norm(norm, alone):
        output = norm(point)
    output.float().square().sum().backward()
    assert output.dtype == point.grad.dtype == torch.bfloat16
    torch.testing.assert_close(output, expected)


def test_a_part_without_images_has_no_gradient_and_takes_the_others_statistics():
    norm = norm_of(SHAPES["images"])
    other = torch.cat([torch.tensor([54.0]), torch.full((4,), 2.0), torch.full((4,), 54.0 * 9)]).double()
    point = torch.zeros(0, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    with shared_batch_norm(norm, lambda own: torch.stack([own, other[: len(own)]])):
        norm(point).sum().backward()
    assert point.grad.shape == point.shape
    assert not norm.weight.grad.any() and not norm.bias.grad.any()
    torch.testing.assert_close(norm.running_mean, torch.full((4,), 0.2, dtype=torch.float64))
    torch.testing.assert_close(norm.running_var, torch.full((4,), 0.9 + 0.9 * 54 / 53, dtype=torch.float64))


@pytest.mark.parametrize("count", [0, 1])
def test_local_statistics_of_too_few_values_are_no_error(count):
    """Torch's own refuses one value of a channel, as the logits of one image are."""
    norm = norm_of(SHAPES["logits"])
    with shared_batch_norm(norm, None):
        output = norm(torch.randn(count, 4, dtype=torch.float64))
    assert output.shape == (count, 4) and bool(output.isfinite().all())
    assert all(bool(value.isfinite().all()) for value in running_statistics(norm))


def test_eval_mode_and_everything_after_the_block_are_torchs():
    norm = norm_of(SHAPES["images"])

    def fail(own):
        raise AssertionError("nothing is exchanged here")

    images, before = torch.randn(SHAPES["images"], dtype=torch.float64), set(vars(norm))
    with shared_batch_norm(norm.eval(), fail):
        norm(images)
    norm.train()(images)
    assert set(vars(norm)) == before
