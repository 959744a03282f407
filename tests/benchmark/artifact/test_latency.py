"""Latency is a median over timed runs of whole batches; the clock is replaced where numbers are checked."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from benchmark.artifact import latency
from benchmark.artifact.latency import MIN_REPETITIONS, SECONDS, WARM_UP, measure_latency
from benchmark.networks.resnet import plain_conv

CPU = torch.device("cpu")


class Recorder(nn.Module):
    """Records every batch; each run takes the next of `durations` on its own clock."""

    def __init__(self, durations):
        super().__init__()
        self.batches, self.durations, self.now = [], iter(durations), 0.0

    def forward(self, images):
        self.batches.append((tuple(images.shape), images.is_contiguous(memory_format=torch.channels_last)))
        assert torch.is_inference_mode_enabled() and not self.training and images.dtype == torch.float32
        self.now += next(self.durations)
        return images


@pytest.fixture
def timed(monkeypatch):
    """Return a function that makes recorders and sets the clock to them."""

    def make(durations):
        recorder = Recorder(durations)
        monkeypatch.setattr(latency, "perf_counter", lambda: recorder.now)
        return recorder

    return make


def test_a_real_network_takes_time_at_both_usual_batch_sizes(make_plan):
    measured = measure_latency(make_plan()(conv=plain_conv, norm=nn.BatchNorm2d), 3, (8, 8), device=CPU)

    assert list(measured) == [1, 64]
    assert all(seconds > 0 for seconds in measured.values())


def test_every_batch_size_is_run_with_that_many_images(timed):
    network = timed(itertools.repeat(0.5))

    measure_latency(network, 3, (6, 4), device=CPU)

    each = WARM_UP + MIN_REPETITIONS
    assert network.batches == [((1, 3, 6, 4), True)] * each + [((64, 3, 6, 4), True)] * each


def test_a_slow_network_is_run_five_times_after_warm_up_and_the_median_is_returned(timed):
    network = timed([90.0, 80.0, 3.0, 2.0, 70.0, 4.0, 5.0])

    assert measure_latency(network, 1, (8, 8), device=CPU, batch_sizes=(2,)) == {2: 4.0}


def test_a_quick_network_is_run_until_enough_time_was_measured(timed):
    network = timed(itertools.repeat(SECONDS / 7.5))

    measure_latency(network, 3, (8, 8), device=CPU, batch_sizes=(1,))

    assert len(network.batches) == WARM_UP + 8


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_synchronised_after_every_run(make_plan, monkeypatch):
    waits = []
    synchronize = torch.cuda.synchronize
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: (waits.append(device), synchronize(device)))

    measured = measure_latency(
        make_plan()(conv=plain_conv, norm=nn.BatchNorm2d), 3, (8, 8), device=torch.device("cuda"), batch_sizes=(1,)
    )

    assert measured[1] > 0 and len(waits) >= WARM_UP + MIN_REPETITIONS
