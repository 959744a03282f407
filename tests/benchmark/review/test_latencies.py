"""`evaluate --latency`: every runtime that is timed computes the same network."""

from __future__ import annotations

import sys

import pytest
import torch

from benchmark.networks.resnet import plain_conv
from benchmark.review.latencies import available_runtimes, latency_table, measured_latencies
from methods.sparse.support import kernels

CPU = torch.device("cpu")


@pytest.fixture
def network(make_plan):
    """Return a tiny network."""
    return make_plan()(conv=plain_conv, norm=torch.nn.BatchNorm2d).eval()


@pytest.mark.slow  # the exporter of ONNX takes ten seconds
def test_all_runtimes_give_the_same_logits(network):
    pytest.importorskip("onnxscript")
    runtimes, images = available_runtimes(network, 3, (16, 16), CPU), torch.rand(5, 3, 16, 16)

    with torch.no_grad():
        logits = {name: torch.as_tensor(run(images)) for name, run in runtimes.items()}

    expected = {"torch", "torch, batch norms folded", "ONNX Runtime"} | ({"sparse"} if kernels() else set())
    assert logits.keys() == expected
    assert all(torch.allclose(each, logits["torch"], atol=1e-5) for each in logits.values())


def test_what_is_not_installed_is_left_out(network, monkeypatch):
    monkeypatch.setattr("benchmark.evaluation.fast.sparse.kernels", lambda: None)
    monkeypatch.setitem(sys.modules, "onnxscript", None)

    runtimes = available_runtimes(network, 3, (8, 8), CPU)

    assert list(runtimes) == ["torch", "torch, batch norms folded"]
    seconds = measured_latencies(runtimes, 3, (8, 8), CPU)
    assert all(value > 0 for batch in seconds.values() for value in batch.values())


def test_the_table_has_times_and_ratios_by_batch():
    table = latency_table({1: {"torch": 0.01, "sparse": 0.001}, 64: {"torch": 0.5, "sparse": 0.125}})

    assert [line.split() for line in table.splitlines()[1:3]] == [
        ["torch", "10", "ms", "1.00", "500", "ms", "1.00"],
        ["sparse", "1", "ms", "10.00", "125", "ms", "4.00"],
    ]
