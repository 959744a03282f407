"""`evaluate --latency`: how long a forward pass takes in each runtime that is installed here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.artifact.onnx_file import export_onnx
from benchmark.bench.timing import medians
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import prepare
from benchmark.evaluation.fast import fold, sparse_form
from benchmark.leaderboard.formats import measured_time
from benchmark.review.tasks import EvaluateRequest, load_task
from benchmark.runtime.devices import choose_device
from benchmark.runtime.seeding import generator_for

BATCHES = (1, 64)
BUDGET = 2.0  # seconds for the runs of all runtimes with one batch

Runtimes = dict[str, Callable[[Tensor], object]]


def latency_text(request: EvaluateRequest) -> str:
    """Return the table of median times of a forward pass for the network of a request.

    Raises:
        UserError: for mistakes in the request.
    """
    task = load_task(request)
    channels, *size = task.part.test.images.shape[1:]
    network = task.network.network
    device = torch.device(choose_device(request.device))
    runtimes = available_runtimes(network, channels, (size[0], size[1]), device)
    return latency_table(measured_latencies(runtimes, channels, (size[0], size[1]), device))


def available_runtimes(network: nn.Module, channels: int, size: tuple[int, int], device: torch.device) -> Runtimes:
    """Return what computes a network here: torch, and on a CPU its folded copy, ONNX Runtime and the sparse form.

    Those that are not installed, or that cannot compute the network, are left out.
    """
    runtimes: Runtimes = {"torch": prepare(network, device).eval()}
    if device.type != "cpu":
        return runtimes
    if (folded := fold(network)) is not None:
        runtimes["torch, batch norms folded"] = folded
    with suppress(UserError, RuntimeError), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(network, path, channels=channels, size=size)
        runtimes["ONNX Runtime"] = onnx_session(path.read_bytes())
    with suppress(UserError):
        runtimes["sparse"] = sparse_form(network)
    return runtimes


def measured_latencies(
    runtimes: Runtimes, channels: int, size: tuple[int, int], device: torch.device
) -> dict[int, dict[str, float]]:
    """Return median seconds of a forward pass by batch size and runtime, timed in turn on random images."""
    images = random_images(channels, size).to(device, memory_format=torch.channels_last)
    with torch.inference_mode():
        return {
            count: medians(
                {name: partial(run, images[:count]) for name, run in runtimes.items()}, device, budget=BUDGET
            )
            for count in BATCHES
        }


def random_images(channels: int, size: tuple[int, int]) -> Tensor:
    """Return the largest batch of random images on the CPU."""
    return torch.rand(max(BATCHES), channels, *size, generator=generator_for(torch.device("cpu"), "latency"))


def latency_table(seconds: Mapping[int, Mapping[str, float]]) -> str:
    """Return the table: times by batch size, and how many times as fast as torch each runtime is."""
    names = list(seconds[BATCHES[0]])
    width = max(map(len, names)) + 2
    lines = [f"{'a forward pass':<{width}}" + "".join(f"{f'batch {count}':>12}{'ratio':>8}" for count in BATCHES)]
    for name in names:
        cells = (
            f"{measured_time(seconds[count][name]):>12}{seconds[count]['torch'] / seconds[count][name]:>8.2f}"
            for count in BATCHES
        )
        lines.append(f"{name:<{width}}{''.join(cells)}")
    threads = torch.get_num_threads()
    lines.append(f"medians of runs in turn, {threads} thread{'s' if threads > 1 else ''}; ratio: torch's time over it")
    return "\n".join(lines) + "\n"


def onnx_session(content: bytes) -> Callable[[Tensor], object]:
    """Return what runs an exported ONNX file in ONNX Runtime, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    return lambda images: session.run(None, {name: images.contiguous().numpy()})[0]
