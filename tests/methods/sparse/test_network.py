"""The sparse form of a network: its logits and gradients, and that they depend on an image alone."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.evaluation.fast import fold
from benchmark.networks.resnet import convolutions
from methods.sparse.network import SparseNetwork, share_of_dense
from methods.sparse.program import unsupported

NEAR_ZERO = 1e-5  # relative to the largest number of a layer: such a ReLU may open or close by rounding alone
STEP = 1e-7  # of central differences


def gradient_of(network, images, pull):
    """Return the gradient of sum(logits * pull) with respect to the images."""
    points = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad((network(points) * pull).sum(), points)
    return gradient


class Margins:
    """In place of F.relu: notes for each image how near the input of any ReLU is to zero."""

    def __init__(self, relu):
        self.relu, self.nearest = relu, torch.inf

    def __call__(self, maps, inplace=False):
        size = maps.detach().abs()
        self.nearest = torch.minimum(size.flatten(1).amin(1) / size.max(), torch.as_tensor(self.nearest))
        return self.relu(maps)


def unambiguous(network, images):
    """Return the images for which no ReLU is so near to zero that rounding decides about it."""
    margins = Margins(F.relu)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(F, "relu", margins)
        network(images)
    return images[margins.nearest > NEAR_ZERO]


@settings(max_examples=10)
@given(
    name=st.sampled_from(["resnet6", "resnet10", "resnet50"]),
    width=st.sampled_from([1 / 16, 3 / 32, 1 / 8]),
    channels=st.sampled_from([1, 3]),
    size=st.tuples(*[st.one_of(st.integers(8, 64), st.sampled_from([8, 16, 32, 64]))] * 2),
    density=st.sampled_from([0.001, 0.02, 0.1, 0.2, 0.4]),
    empty=st.integers(0, 5),
    seed=st.integers(0, 2**20),
)
def test_gradients_are_those_of_central_differences_and_as_exact_as_torchs(
    compiled, make_sparse, name, width, channels, size, density, empty, seed
):
    model = make_sparse(name, width=width, channels=channels, density=density, seed=seed)
    layers = list(convolutions(model).values())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in layers[: -1 : max(1, len(layers) // 5)][:empty]:
            layer.weight[::2] = 0
            layer.weight[:, 1::2] = 0
        if empty:
            layers[seed % len(layers)].weight.zero_()
    exact = copy.deepcopy(model).double()
    images = unambiguous(exact, torch.rand(8, channels, *size, generator=generator, dtype=torch.float64))[:3]
    pull = torch.randn(len(images), 10, generator=generator, dtype=torch.float64)
    direction = torch.randn(images.shape, generator=generator, dtype=torch.float64)

    reference = gradient_of(exact, images, pull)
    with torch.no_grad():
        ahead, behind = (((exact(images + sign * STEP * direction)) * pull).sum() for sign in (1, -1))
        logits = exact(images)
    difference = (ahead - behind) / (2 * STEP)
    network = SparseNetwork(fold(model), compiled)

    def error(ours):
        return float((gradient_of(ours, images.float(), pull.float()) - reference).norm())

    assert float((reference * direction).sum()) == pytest.approx(float(difference), rel=1e-6, abs=1e-6)
    assert error(network) <= 4 * error(model) + 2e-7 * float(reference.norm())
    assert torch.allclose(network(images.float()).double(), logits, rtol=1e-4, atol=1e-4)
    assert empty or density < 0.2 or float(reference.norm()) > 0  # other networks may have no path left


@pytest.mark.parametrize(("name", "size"), [("resnet10", (32, 32)), ("resnet50", (16, 64)), ("resnet6", (28, 30))])
def test_an_image_has_the_same_bits_in_any_batch_and_with_any_number_of_threads(compiled, make_sparse, name, size):
    network = SparseNetwork(fold(make_sparse(name)), compiled)
    images, pull = torch.rand(21, 3, *size), torch.randn(21, 10)
    logits, gradient = network(images), gradient_of(network, images, pull)
    used = set()

    for count in (1, 2, 3, 5, 7, 9, 13):
        used |= {strips for _, _, strips in network.shares(count, size)}
        first = slice(4, 4 + count)
        assert torch.equal(network(images[first]), logits[first]), count
        assert torch.equal(gradient_of(network, images[first], pull[first]), gradient[first]), count
    torch.set_num_threads(3)
    try:
        assert torch.equal(network(images), logits)
        assert torch.equal(gradient_of(network, images, pull), gradient)
    finally:
        torch.set_num_threads(1)
    assert len(used) > 1 or size == (28, 30)  # whose last maps no strips divide


def test_passes_in_between_do_not_change_a_gradient(compiled, make_sparse):
    network = SparseNetwork(fold(make_sparse()), compiled)
    images, pull = torch.rand(16, 3, 16, 16), torch.randn(16, 10)
    expected = gradient_of(network, images, pull)
    points = images.clone().requires_grad_(True)

    loss = (network(points) * pull).sum()
    gradient_of(network, images.flip(0), pull)
    network(torch.rand(16, 3, 16, 16))

    assert torch.equal(torch.autograd.grad(loss, points)[0], expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_reach_the_logits_of_their_image_only(compiled, make_sparse, value):
    model = make_sparse(density=0.5)
    images = torch.rand(3, 3, 16, 16)
    clean = SparseNetwork(fold(model), compiled)(images)
    images[1, 0, 5, 5] = value

    logits = SparseNetwork(fold(model), compiled)(images)

    assert not model(images)[1].isfinite().any()
    assert not logits[1].isfinite().any()
    assert torch.equal(logits[::2], clean[::2])


def test_the_share_of_a_dense_pass_counts_narrow_layers_as_wider(make_sparse):
    wide, narrow = (share_of_dense(fold(make_sparse(width=width, density=1.0))) for width in (1, 1 / 16))

    assert wide == pytest.approx(1, abs=0.1)  # the stem has three input channels
    assert narrow < 0.1
    assert share_of_dense(fold(make_sparse(width=1, density=0.1))) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(("size", "stride", "padding"), [(5, 1, 2), (3, 3, 1), (3, 1, 0)])
def test_what_no_program_can_be_made_of_is_named(make_sparse, size, stride, padding):
    folded = fold(make_sparse())
    other = SimpleNamespace(weight=torch.zeros(4, 4, size, size), bias=torch.zeros(4), stride=stride, padding=padding)
    block = SimpleNamespace(convs=(other, other), shortcut=None, stride=1)

    assert unsupported(folded) is None
    assert unsupported(SimpleNamespace(stem=folded.stem, blocks=[block])) == (
        f"a convolution of {size}x{size} with stride {stride} and padding {padding}"
    )
