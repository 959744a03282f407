"""What is said where the attacks on a record's network round otherwise than on its machine."""

from __future__ import annotations

import pytest
import torch

from benchmark.evaluation.fast import sparse
from benchmark.networks.resnet import NetworkPlan, convolutions, plain_conv
from benchmark.review import sources

PLAN = NetworkPlan("resnet6", 10, (0.5,), (0.25,), 1.0)
HERE = "sparse 1, 8 lanes, numba 1"


@pytest.fixture
def network():
    """Return a function that makes a network which keeps a share of its weights."""

    @torch.no_grad()
    def make(density):
        network = PLAN(conv=plain_conv, norm=torch.nn.BatchNorm2d).eval()
        for conv in convolutions(network).values():
            conv.weight.mul_(torch.rand(conv.weight.shape) < density)
        return network

    return make


@pytest.fixture
def kernels_are(monkeypatch):
    """Return a function that lets this machine have some kernels, or none."""

    def change(name):
        monkeypatch.setattr(sources, "kernel_name", lambda: name)
        if name is None:
            monkeypatch.setattr(sparse, "kernels", lambda: None)
        else:
            monkeypatch.setattr(sources, "sparse_copy", lambda folded: (folded, "") if few(folded) else (None, ""))

    def few(folded):
        return sparse.share_of_dense(folded) <= sparse.MAX_SHARE

    return change


@pytest.mark.parametrize(
    ("record", "here", "sentence"),
    [
        (HERE, HERE, ""),
        (None, None, ""),
        (
            None,
            HERE,
            f"the record's attacks ran on the kernels 'dense', here they run on {HERE!r}; set NUMBA_DISABLE_JIT=1 for "
            "the record's rounding",
        ),
        (
            HERE,
            None,
            f"the record's attacks ran on the kernels {HERE!r}, here they run on 'dense'; install numba in that "
            "version (extra `fast`) for the record's rounding",
        ),
    ],
)
def test_other_kernels_matter_to_networks_with_few_weights_alone(network, kernels_are, record, here, sentence):
    kernels_are(here)

    assert sources.other_kernels(record, network(0.05)) == sentence
    assert sources.other_kernels(record, network(1.0)) == ""


def test_other_kernels_do_not_matter_to_networks_of_other_people(kernels_are):
    kernels_are(HERE)

    assert sources.other_kernels(None, torch.nn.Flatten()) == ""
