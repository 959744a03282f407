"""Which networks are attacked in their sparse form, and what is reported where that is not possible."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmark.evaluation.accuracy import pgd_verdicts
from benchmark.evaluation.fast import AttackedNetwork, ComputeBatch, fold
from benchmark.evaluation.fast import attacked as attacked_module
from benchmark.evaluation.fast import sparse as sparse_module
from benchmark.evaluation.fast.attacked import SPARSE_WAY, WAY
from benchmark.networks.resnet import convolutions, plain_conv
from methods.sparse.network import SparseNetwork
from methods.sparse.support import MISSING, kernels

needs_numba = pytest.mark.skipif(kernels() is None, reason="numba is not installed, or switched off")


@pytest.fixture
def make_network(make_plan):
    """Return the maker of networks that keep a share of their weights, with norms that have seen images."""

    def make(kept=0.05, **changes):
        model = make_plan(width=1 / 2, **changes)(conv=plain_conv, norm=nn.BatchNorm2d)
        with torch.no_grad():
            for conv in convolutions(model).values():
                conv.weight *= torch.rand_like(conv.weight) < kept
        for _ in range(3):
            model(torch.rand(16, 3, 16, 16))
        return model.eval()

    return make


def silent(line):
    """Report nothing."""


@needs_numba
@pytest.mark.parametrize(("kept", "way"), [(0.05, SPARSE_WAY), (0.9, WAY)])
def test_networks_with_few_weights_are_attacked_by_their_sparse_form(make_network, kept, way):
    model, lines = make_network(kept), []

    attacked = AttackedNetwork(model, ComputeBatch(lines.append))

    assert attacked.way == way and attacked.folded
    assert isinstance(attacked._network, SparseNetwork) == (way == SPARSE_WAY)
    images = torch.rand(9, 3, 16, 16)
    assert torch.allclose(attacked(images), model(images), atol=1e-5)
    assert lines == []


def test_without_kernels_one_line_says_what_they_would_gain(make_network, monkeypatch):
    monkeypatch.setattr(sparse_module, "kernels", lambda: None)
    lines = []
    compute = ComputeBatch(lines.append)

    sparse, dense = (AttackedNetwork(make_network(kept), compute) for kept in (0.05, 0.9))
    AttackedNetwork(make_network(), compute)

    assert sparse.way == dense.way == WAY
    assert lines == [f"evaluate   {MISSING}"]


@needs_numba
def test_a_network_that_has_no_sparse_form_is_named_and_attacked_all_the_same(make_network, monkeypatch):
    monkeypatch.setattr(sparse_module, "unsupported", lambda network: "a convolution of 7x7")
    model, lines = make_network(), []

    attacked = AttackedNetwork(model, ComputeBatch(lines.append))

    assert attacked.way == WAY
    assert lines == ["evaluate   attacked with dense convolutions, because the network has a convolution of 7x7"]


@needs_numba
def test_leaky_gradients_come_from_the_folded_copy(make_network):
    model = make_network()
    attacked, folded = AttackedNetwork(model, ComputeBatch(silent)), fold(model)
    images = torch.rand(4, 3, 16, 16)

    def gradient(network):
        points = images.clone().requires_grad_(True)
        return torch.autograd.grad(network(points).square().sum(), points)[0]

    plain = gradient(attacked)
    with attacked.leaking(0.1):
        leaky = gradient(attacked)
    folded.leak = 0.1

    assert torch.equal(leaky, gradient(folded)) and not torch.allclose(leaky, plain)
    assert torch.equal(gradient(attacked), plain)


@needs_numba
def test_the_stored_network_decides_and_a_wrong_copy_only_costs_time(make_network, make_images, monkeypatch):
    """Here every answer of the copy is another class: the verdicts are those of a plain attack that never moves."""
    model = make_network()
    data = make_images(model=model, size=16)

    class Liar(SparseNetwork):
        def forward(self, images):
            return super().forward(images).roll(1, 1)

    def lying_copy(folded):
        return Liar(folded, kernels()), ""

    monkeypatch.setattr(attacked_module, "sparse_copy", lying_copy)
    settings = {"step_size": 0.1, "steps": 2, "restarts": 1, "seed": 0, "batch_size": 8}

    assert pgd_verdicts(model, data, epsilon=1e-6, **settings).all()


@needs_numba
def test_images_per_pass_fill_the_lanes_of_all_threads(make_network, monkeypatch):
    compute = ComputeBatch(silent)
    attacked = AttackedNetwork(make_network(), compute)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)

    attacked.choose_rows(torch.rand(1, 3, 16, 16))

    assert compute.rows % (3 * kernels().LANES) == 0 and compute.rows > 0
