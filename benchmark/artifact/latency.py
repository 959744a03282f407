"""Times an exported network in the runtime of the evaluation, eager torch, which gains nothing from zeros."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from benchmark.evaluation.accuracy import prepare
from benchmark.runtime.seeding import generator_for

WARM_UP = 2  # untimed runs, in which torch allocates memory and chooses kernels
MIN_REPETITIONS = 5
SECONDS = 0.2  # per batch size, longer if MIN_REPETITIONS take longer


def measure_latency(
    network: nn.Module,
    channels: int,
    size: tuple[int, int],
    *,
    device: torch.device,
    batch_sizes: Sequence[int] = (1, 64),
) -> dict[int, float]:
    """Return the median seconds of a forward pass by batch size: float32, channels last, images already on the device.

    Args:
        network: a plain network; it is moved to `device` and set to eval mode, as in the evaluation.
        channels: channels of the images.
        size: height and width of the images in pixels.
        device: where to run; a GPU is synchronised after every run.
        batch_sizes: images per run.
    """
    network = prepare(network, device).eval()
    images = torch.rand(max(batch_sizes), channels, *size, generator=generator_for(torch.device("cpu"), "latency"))
    images = images.to(device, memory_format=torch.channels_last)
    with torch.inference_mode():
        return {count: _median_seconds(network, images[:count]) for count in batch_sizes}


def _median_seconds(network: nn.Module, images: Tensor) -> float:
    for _ in range(WARM_UP):
        _run(network, images)
    seconds: list[float] = []
    while len(seconds) < MIN_REPETITIONS or sum(seconds) < SECONDS:
        started = perf_counter()
        _run(network, images)
        seconds.append(perf_counter() - started)
    return median(seconds)


def _run(network: nn.Module, images: Tensor) -> None:
    network(images)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
