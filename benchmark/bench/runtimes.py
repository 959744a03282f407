"""What the compressed form of a network gains on this machine: inference by lists of weights, and the masks' coder."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from benchmark.artifact.rans import decode, encode
from benchmark.bench.timing import medians
from benchmark.evaluation.accuracy import prepare
from benchmark.evaluation.fast import fold, sparse_form
from benchmark.networks.resnet import NetworkPlan, convolutions, plain_conv
from benchmark.planning.measured import CoderRate, InferenceEntry
from benchmark.planning.work import network_of
from benchmark.runtime.seeding import generator_for
from methods.sparse.support import kernels

CPU = torch.device("cpu")
KEPT = 0.02  # of each convolution's weights
BATCHES = (1, 64)
BUDGET = 1.0  # seconds per number
CODED = 2**21  # bits of a mask


def inference_times(plan: NetworkPlan, size: int) -> list[InferenceEntry]:
    """Measure forward passes on the CPU of a network that keeps KEPT of its weights, the runtimes in turn.

    Args:
        plan: the network; its weights are random.
        size: height and width of the images.
    """
    generator = generator_for(CPU, "bench", "inference")
    network = prepare(plan(conv=plain_conv, norm=nn.BatchNorm2d), CPU).eval()
    for layer in convolutions(network).values():
        layer.weight.data *= torch.rand(layer.weight.shape, generator=generator) < KEPT
    folded = fold(network)
    assert folded is not None, "a residual network of this project"
    runtimes: dict[str, nn.Module] = {"torch": folded}
    if kernels() is not None:
        runtimes["sparse"] = sparse_form(network)
    images = torch.rand(max(BATCHES), plan.in_channels, size, size, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    entries = []
    with torch.inference_mode():
        for batch in BATCHES:
            steps = {name: partial(runtime, images[:batch]) for name, runtime in runtimes.items()}
            seconds = medians(steps, CPU, budget=BUDGET * len(steps))
            entries.append(
                InferenceEntry(
                    network=network_of(plan, size),
                    kept=KEPT,
                    images=batch,
                    seconds=seconds["torch"],
                    sparse_seconds=seconds.get("sparse"),
                )
            )
    return entries


def coder_rate() -> CoderRate:
    """Measure how fast a mask of an artifact is encoded and decoded, in weights per second."""
    mask = (torch.rand(CODED, generator=generator_for(CPU, "bench", "coder")) < KEPT).numpy()
    stream, ones = encode([mask]), [int(mask.sum())]
    steps = {"encode": lambda: encode([mask]), "decode": lambda: decode(stream, [CODED], ones)}
    seconds = medians(steps, CPU, budget=BUDGET)
    return CoderRate(encoded=CODED / seconds["encode"], decoded=CODED / seconds["decode"])
