"""Convolutions that skip zeros: the same function as dense ones, used only in attacks."""

import pytest
import torch
import torch.nn.functional as F

from methods.holding import attack_weights, held_effective_weights
from methods.layers import CompressedConv2d
from methods.sparse_attack import MIN_WEIGHTS, SparseConvolution, sparse_convolution

LAST = torch.channels_last


def kernel_of(out, inner, size=3, density=0.01, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(out, inner, size, size, generator=generator)
    return (values * (torch.rand(values.shape, generator=generator) < density)).contiguous(memory_format=LAST)


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("images", [(1, 7, 7), (3, 4, 9), (130, 8, 6)])
def test_output_and_input_gradient_match_the_dense_convolution(size, images):
    count, height, width = images
    weight = kernel_of(6, 5, size, density=0.3)
    maps = torch.randn(count, 5, height, width).requires_grad_(True)
    pull = torch.randn(count, 6, height, width)

    dense = F.conv2d(maps, weight, padding=size // 2)
    (expected,) = torch.autograd.grad(dense, maps, pull)
    ours = SparseConvolution(weight)(maps)
    (gradient,) = torch.autograd.grad(ours, maps, pull)

    torch.testing.assert_close(ours, dense, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)
    assert ours.is_contiguous(memory_format=LAST)


def test_bfloat16_sums_in_float32_and_rounds_once():
    weight, maps = kernel_of(6, 5, density=0.3).bfloat16(), torch.randn(2, 5, 8, 8).bfloat16().requires_grad_(True)
    exact = F.conv2d(maps.double(), weight.double(), padding=1)

    ours = SparseConvolution(weight)(maps)
    ours.sum().backward()

    assert ours.dtype == maps.grad.dtype == torch.bfloat16
    assert torch.equal(ours, SparseConvolution(weight.float())(maps.float()).bfloat16())
    torch.testing.assert_close(ours.double(), exact, rtol=2**-8, atol=1e-5)


def test_a_part_of_a_batch_has_the_same_bits_as_within_the_batch():
    kernel, maps = SparseConvolution(kernel_of(6, 5, density=0.3)), torch.randn(300, 5, 8, 8)
    assert torch.equal(kernel(maps)[:7], kernel(maps[:7]))


@pytest.mark.parametrize(
    ("weight", "stride", "padding"),
    [
        (kernel_of(128, 128), 2, 1),
        (kernel_of(128, 128), 1, 0),
        (kernel_of(512, 512, 1), 1, 0),
        (kernel_of(127, 128), 1, 1),
        (kernel_of(128, 128, density=0.02), 1, 1),
        (kernel_of(128, 128).bfloat16(), 1, 1),
        (kernel_of(128, 128).contiguous(), 1, 1),
        (kernel_of(128, 128, density=0.0), 1, 1),
    ],
    ids=["stride 2", "no padding", "1x1", "small", "dense", "dense for bfloat16", "contiguous", "empty"],
)
def test_the_dense_convolution_is_used_where_it_is_as_fast(weight, stride, padding):
    assert sparse_convolution(kernel_of(128, 128), stride=1, padding=1) is not None
    assert sparse_convolution(weight, stride=stride, padding=padding) is None


def layer_with(weight):
    layer = CompressedConv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    layer.weight = torch.nn.Parameter(weight)
    return layer


def test_only_the_passes_of_an_attack_skip_zeros(monkeypatch):
    calls = []
    monkeypatch.setattr(SparseConvolution, "__call__", lambda self, images: calls.append(len(images)) or images)
    layer, maps = layer_with(kernel_of(128, 128)), torch.zeros(2, 128, 4, 4)
    assert layer.weight.numel() >= MIN_WEIGHTS

    layer(maps)
    with held_effective_weights(layer):
        layer(maps)
        assert calls == []
        with attack_weights(layer):
            layer(maps)
        assert calls == [2]
        layer(maps)
    layer(maps)
    assert calls == [2]


def test_the_layer_computes_the_same_function_within_an_attack():
    layer, maps = layer_with(kernel_of(128, 128)), torch.randn(2, 128, 4, 4).requires_grad_(True)
    pull = torch.randn(2, 128, 4, 4)
    (expected,) = torch.autograd.grad(layer(maps), maps, pull)

    with held_effective_weights(layer), attack_weights(layer):
        assert layer._sparse is not None
        (gradient,) = torch.autograd.grad(layer(maps), maps, pull)
        torch.testing.assert_close(layer(maps), F.conv2d(maps, layer.weight, padding=1), rtol=1e-4, atol=1e-5)

    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_a_failed_attack_restores_the_layer():
    layer = layer_with(kernel_of(128, 128))
    with pytest.raises(KeyError), held_effective_weights(layer), attack_weights(layer):
        raise KeyError
    assert layer._sparse is None and layer._held is None
