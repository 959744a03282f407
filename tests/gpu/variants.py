"""Times what a setting of this machine would gain: layouts, TF32, batches and cuDNN's search for algorithms.

    python tests/gpu/variants.py [--seconds 20] [--width 1.0]

A pass is forward and the gradient by the images, of a ResNet34 on 32x32 images, as an attack makes it. The first table
is that of training, the second that of AutoAttack, which computes in float32 without TF32 today. The last line is
what a new choice of masks costs in every update. Medians, in turn; nothing is changed by it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# ruff: noqa: E402
from benchmark.bench.timing import medians
from benchmark.evaluation.fast import fold
from benchmark.networks.count import forward_flops
from benchmark.networks.resnet import NetworkPlan, plain_conv
from methods.base import Target
from methods.edge_popup import EdgePopup
from methods.layers import refresh_masks

Step = Callable[[], None]
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def attack_pass(
    network: nn.Module, images: torch.Tensor, *, bf16: bool, tf32: bool, search: bool
) -> Callable[[], None]:
    """Return a pass with some settings of torch, which are set again in every call."""
    point = images.clone().requires_grad_(True)

    def run() -> None:
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = tf32, search
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=bf16):
            logits = network(point)
        torch.autograd.grad(logits.float().sum(), point)

    return run


def tables(device: torch.device, seconds: float, width: float) -> Iterator[str]:
    """Yield the lines of both tables and of the masks."""
    plan = NetworkPlan("resnet34", num_classes=10, mean=(0.5,) * 3, std=(0.25,) * 3, width=width)
    flops = 2 * forward_flops(plan, plan.in_channels, 32)  # forward, and as many for the gradient by the images
    plain = plan(conv=plain_conv, norm=nn.BatchNorm2d).to(device).requires_grad_(False)
    folded = fold(plain.eval())
    assert folded is not None, "a network of this project can be folded"
    large = device.type == "cuda"
    cases = {
        "training, bf16": (plain.train(), (256, 512, 1024) if large else (8,), True, (True,)),
        "attacks, float32": (folded, (250, 1000) if large else (8,), False, (False, True)),
    }
    for title, (network, batches, bf16, precisions) in cases.items():
        yield f"{title:<26}" + "".join(f"{f'batch {batch}':>22}" for batch in batches)
        for layout, memory_format in LAYOUTS.items():
            network.to(memory_format=memory_format)  # type: ignore[call-overload]
            rows = [(tf32, search) for tf32 in precisions for search in (False, True)]
            columns = []
            for batch in batches:
                images = torch.rand(batch, 3, 32, 32, device=device).contiguous(memory_format=memory_format)
                timed = {
                    f"{tf32} {search}": attack_pass(network, images, bf16=bf16, tf32=tf32, search=search)
                    for tf32, search in rows
                }
                columns.append(medians(timed, device, budget=seconds / (5 * len(batches))))
            for tf32, search in rows:
                name = f"{layout}{' tf32' * (tf32 and not bf16)}{' search' * search}"
                cells = [column[f"{tf32} {search}"] for column in columns]
                yield f"  {name:<24}" + "".join(
                    f"{1e3 * each:>10.2f} ms {batch * flops / each / 1e12:>6.1f} TF"
                    for each, batch in zip(cells, batches, strict=True)
                )
    target = Target(weights="binary", keep_ratio=0.01, allocation=0.1)
    masked = EdgePopup().build(plan, target)
    masked.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    masks = medians({"masks": lambda: refresh_masks(masked)}, device, budget=seconds / 10)["masks"]
    yield f"choosing the masks: {1e3 * masks:.2f} ms an update"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--width", type=float, default=1.0)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for line in tables(device, options.seconds, options.width):
        print(line, flush=True)


if __name__ == "__main__":
    main()
