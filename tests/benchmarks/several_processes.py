"""Prints how long an epoch takes on two processes with one thread each, against one process with one thread.

    python tests/benchmarks/several_processes.py

Needs two idle cores: other work on them takes its share. All variants are timed in turn; quote the ratios of the
medians. The network is a quarter-width ResNet18 on random images of CIFAR's size: on smaller ones the exchange between
the processes weighs more.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# ruff: noqa: E402
from benchmark.data.load import Images
from benchmark.networks.resnet import NetworkPlan
from benchmark.training.epoch import train_epoch
from benchmark.training.objectives import PgdObjective
from benchmark.training.position import Position
from benchmark.training.processes import ALONE, Processes, joined
from benchmark.training.schedule import make_optimizer, set_trainable
from methods.at import AT
from methods.base import Target

ROUNDS, IMAGES, BATCH = 7, 384, 128
VARIANTS = ("alone", "local", "synchronised")


def compare() -> None:
    """Start the two processes and print the ratios of the medians."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, folder]
        pair = [subprocess.Popen(command, env={**environment, "RANK": str(rank)}) for rank in range(2)]
        if [process.wait() for process in pair] != [0, 0]:
            raise SystemExit("error: a process failed")
        seconds = json.loads((Path(folder) / "seconds.json").read_text())
    medians = {variant: statistics.median(seconds[variant]) for variant in VARIANTS}
    for variant in VARIANTS[1:]:
        print(f"two processes, {variant} batch norm: {medians['alone'] / medians[variant]:.2f} times one's speed")
    print({variant: [round(each, 2) for each in rounds] for variant, rounds in seconds.items()})


def epoch_seconds(processes: Processes) -> float:
    """Return the wall-clock seconds of an epoch of adversarial training."""
    torch.manual_seed(0)
    images = Images(torch.randint(256, (IMAGES, 3, 32, 32), dtype=torch.uint8), torch.randint(10, (IMAGES,)))
    target, method = Target(), AT()
    model = method.build(NetworkPlan("resnet18", 10, (0.5,) * 3, (0.25,) * 3, width=0.25), target)
    model.to(memory_format=torch.channels_last)
    (phase,) = method.phases(1, target)
    objective = PgdObjective(
        epsilon=8 / 255,
        step_size=2 / 255,
        num_steps=3,
        random_start=True,
        train_mode_attack=True,
        attack_bf16=False,
        update_bf16=False,
        crop_padding=4,
        flip=True,
        generator=torch.Generator(),
    )
    optimizer = make_optimizer(phase, set_trainable(model, phase))
    started = time.perf_counter()
    train_epoch(
        *(method, model, phase, objective, optimizer, images, Position()),
        epoch=0,
        first_step=0,
        batch_size=BATCH,
        seed=0,
        report=lambda line: None,
        processes=processes,
    )
    return time.perf_counter() - started


def main(folder: Path) -> None:
    """Time every variant in turn; one process computes alone while the other waits."""
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    with joined(torch.device("cpu"), "local") as local:
        synchronised = Processes(local.rank, local.size)
        for _ in range(ROUNDS):
            if local.main:
                seconds["alone"].append(epoch_seconds(ALONE))
            local.wait()
            seconds["local"].append(epoch_seconds(local))
            seconds["synchronised"].append(epoch_seconds(synchronised))
            local.wait()
        if local.main:
            (folder / "seconds.json").write_text(json.dumps(seconds))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        compare()
