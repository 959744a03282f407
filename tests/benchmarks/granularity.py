"""Times forward passes of masks over weights, kernels and channels at equal weights. No test; run by hand.

    python tests/benchmarks/granularity.py [--network resnet34] [--width 0.25] [--keep-ratio 0.1]

Masks and weights of edge-popup are those before training. Dense passes are those of the evaluation's folded copy, which
leaves out channels that nothing reads and channels that no weight leads to; sparse ones visit only the weights that are
not zero. All are timed in turn in one process, with one thread.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from torch import Tensor, nn

from benchmark.bench.timing import medians
from benchmark.evaluation.fast import fold, sparse_form
from benchmark.networks.resnet import NetworkPlan
from benchmark.runtime.seeding import generator_for
from methods.base import Granularity, Target
from methods.edge_popup import EdgePopup
from methods.layers import compressed_layers

GRANULARITIES: tuple[Granularity, ...] = ("weight", "kernel", "channel")
CPU = torch.device("cpu")


def network_of(plan: NetworkPlan, keep_ratio: float, granularity: Granularity) -> tuple[nn.Module, int]:
    """Return an untrained network and the weights it keeps; its norms have the statistics of random images."""
    torch.manual_seed(0)
    target = Target(keep_ratio, "binary", "auto", granularity)
    method = EdgePopup()
    model = method.build(plan, target)
    with torch.no_grad():
        model.train()(torch.rand(64, plan.in_channels, 32, 32))
    kept = sum(layer.keep_count for layer in compressed_layers(model))
    return method.export(model).eval(), kept


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet34")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--keep-ratio", type=float, default=0.1)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each batch size")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plan = NetworkPlan(arguments.network, 10, (0.5,) * 3, (0.25,) * 3, arguments.width, True)
    networks = {name: network_of(plan, arguments.keep_ratio, name) for name in GRANULARITIES}
    images: Tensor = torch.rand(64, 3, 32, 32, generator=generator_for(CPU, "latency"))
    images = images.to(memory_format=torch.channels_last)
    passes: dict[str, nn.Module] = {}
    for name, (network, kept) in networks.items():
        folded = fold(network)
        assert folded is not None, "a network of this project can be folded"
        passes |= {f"{name}, dense": folded, f"{name}, sparse": sparse_form(network)}
        print(f"{name}: {kept:,} weights kept")
    with torch.inference_mode():
        for count in (1, 64):
            runs = {name: partial(run, images[:count]) for name, run in passes.items()}
            seconds = medians(runs, CPU, budget=arguments.seconds)
            for name, median in seconds.items():
                kind = name.rpartition(", ")[2]
                ratio = seconds[f"weight, {kind}"] / median
                print(f"batch {count:2}  {name:<16} {1e3 * median / count:8.3f} ms an image  {ratio:5.2f} x weight's")


if __name__ == "__main__":
    main()
