"""What `bench` measures: the machine alone, the training steps of a suite, and its networks under evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmark.bench.attack_times import FEWEST_PASSES, WARM_UP, evaluation_times
from benchmark.bench.peak import STAGES, convolution_rates, memory_rate
from benchmark.bench.runtimes import coder_rate, inference_times
from benchmark.bench.steps import experiment_step, random_data
from benchmark.bench.timing import FEWEST, medians
from benchmark.bench.yardstick.evaluation import plain_pgd
from benchmark.bench.yardstick.training import plain_training_step
from benchmark.data.catalog import DATASETS
from benchmark.networks.count import forward_flops
from benchmark.networks.resnet import NetworkPlan, network_plan
from benchmark.planning.measured import Measurement, Network, TrainingEntry, TrainingKey
from benchmark.planning.predict import ROBUST_SHARE, attacked_images
from benchmark.planning.states import Planned
from benchmark.planning.work import Work
from benchmark.session import Request
from benchmark.suite.experiment import ArchitectureSpec, Experiment
from benchmark.suite.objectives import forward_runs
from benchmark.suite.registry import ResolvedMethod

EVERY_STEP = Path(__file__).with_name("every_step.yaml")  # the suite that is measured where none is named
# Settings of that suite by device; on two cores all of it takes about two minutes, and a GPU is measured on what it is
# bought for.
VARIANTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "cpu": tuple((f"training.precision={precision}",) for precision in ("fp32", "bf16-attack")),
    "cuda": tuple(
        (
            "architecture.name=resnet34",
            "architecture.width=1.0",
            f"training.batch_size={batch_size}",
            f"training.precision={precision}",
            "evaluation.autoattack.batch_size=500",
        )
        for batch_size in (256, 512)
        for precision in ("bf16-attack", "bf16")
    ),
}
SPARSE = ArchitectureSpec(name="resnet34", width=0.25)  # whose inference with few weights is timed
SPARSE_DATA = "cifar10"
TOTAL_SECONDS = 150.0  # that all cases of a user's suite should take together
MOST_SECONDS = 6.0  # of a single thing that is timed, its warm-up included
SMALLEST_BATCH = 8
USUAL_SHARE = 0.3  # of the fastest convolution's speed, reached by whole networks; only batches are chosen by it


@dataclass(frozen=True)
class Case:
    """One thing to measure."""

    title: str
    seconds: float  # about, from which the time left is estimated
    run: Callable[[Measurement], Measurement]  # returns what was measured before, and its own numbers


def rate_cases(device: torch.device) -> list[Case]:
    """Return the measurements of the machine alone: convolutions, memory; on a CPU the sparse runtime and the coder."""

    def convolution(channels: int, side: int, measured: Measurement) -> Measurement:
        return measured.with_rates(convolution_rates(device, channels, side))

    def memory(measured: Measurement) -> Measurement:
        return measured.model_copy(update={"memory": memory_rate(device)})

    def inference(measured: Measurement) -> Measurement:
        plan = network_plan(SPARSE, random_data(SPARSE_DATA, 1).info)
        return measured.model_copy(update={"inference": inference_times(plan, DATASETS[SPARSE_DATA].size)})

    def coder(measured: Measurement) -> Measurement:
        return measured.model_copy(update={"coder": coder_rate()})

    compressed = [
        Case("inference with few weights", 5.0, inference),
        Case("coder of masks", 1.5, coder),
    ]
    return [
        *(
            Case(f"convolution of {channels} channels at {side}x{side}", 1.0, partial(convolution, channels, side))
            for channels, side in STAGES
        ),
        Case("memory", 0.5, memory),
        *(compressed if device.type == "cpu" else ()),
    ]


def every_step_requests(out: Path, device: torch.device) -> list[Request]:
    """Return the requests for the suite with every kind of training step, as it is measured on a device."""
    return [
        Request(str(EVERY_STEP), None, None, None, None, overrides, None, out) for overrides in VARIANTS[device.type]
    ]


def suite_cases(
    planned: Sequence[Planned],
    methods: Mapping[str, ResolvedMethod],
    device: torch.device,
    *,
    total_seconds: float = math.inf,
    compared: bool = False,
) -> list[Case]:
    """Return the distinct training steps of a suite and the evaluation of its distinct networks.

    Args:
        planned: the suite's experiments; those refused, or of unknown size, are left out.
        methods: resolved methods by their target.
        device: where to measure.
        total_seconds: that all of them should take together, by smaller batches where need be.
        compared: time the yardstick's plain implementations too: of training in float32 on a CPU, and of PGD.
    """
    # Steps that differ in precision alone are one case, timed in turn.
    steps: dict[TrainingKey, dict[TrainingKey, tuple[Experiment, Work]]] = {}
    networks: dict[tuple[Network, int], NetworkPlan] = {}
    for item in planned:
        if item.work is None or not isinstance(item.architecture, NetworkPlan):
            continue
        key = item.work.key
        steps.setdefault(key.model_copy(update={"precision": "fp32"}), {}).setdefault(key, (item.experiment, item.work))
        images = attacked_images(item.work, ROBUST_SHARE if item.robust_share is None else item.robust_share)
        networks.setdefault((key.network, images), item.architecture)
    share = total_seconds / max(1, sum(map(len, steps.values())) + 2 * len(networks))
    each = min(MOST_SECONDS, share)
    compare_training = compared and device.type == "cpu"

    def train(precisions: Mapping[TrainingKey, tuple[Experiment, Work]], measured: Measurement) -> Measurement:
        timed: dict[str, Callable[[], None]] = {}
        for key, (experiment, work) in precisions.items():
            one_image = forward_runs(key.objective, key.attack_steps) * work.forward_flops
            batch_size = affordable(key.batch_size, one_image * (FEWEST + 1), share, measured)
            make = partial(experiment_step, experiment, methods[experiment.method.target], device=device)
            timed[key.precision] = make(batch_size=batch_size)
            if compare_training and key.precision == "fp32":
                timed["plain"] = plain_training_step(make(batch_size=batch_size, channels_last=False))
        seconds = medians(timed, device, budget=each / 3 * len(timed))
        for key, (_, work) in precisions.items():
            entry = TrainingEntry(
                key=key.model_copy(update={"batch_size": batch_size}),
                forward_flops=work.forward_flops,
                seconds=seconds[key.precision],
                plain_seconds=seconds.get("plain") if key.precision == "fp32" else None,
            )
            measured = measured.with_training(entry)
        return measured

    def evaluate(plan: NetworkPlan, size: int, images: int, measured: Measurement) -> Measurement:
        # every pass of an attack is a forward and at most a backward run
        one_image = forward_flops(plan, plan.in_channels, size) * 2 * 4 * (WARM_UP + FEWEST_PASSES)
        count = affordable(images, one_image, 2 * share, measured)
        plain = plain_pgd if compared else None
        return measured.with_evaluation(evaluation_times(plan, size, count, device, budget=each / 3, plain_pgd=plain))

    return [
        *(
            Case(
                f"{key.method}/{key.objective} {key.weights} on {key.network}, batch {key.batch_size}",
                each * (len(precisions) + (compare_training and key in precisions)),
                partial(train, precisions),
            )
            for key, precisions in steps.items()
        ),
        *(
            Case(f"evaluation of {network}, {images} images", 2 * each, partial(evaluate, plan, network.size, images))
            for (network, images), plan in networks.items()
        ),
    ]


def affordable(images: int, flops_of_one: float, seconds: float, measured: Measurement) -> int:
    """Return a batch that should take at most so many seconds: halved as long as it does not, to SMALLEST_BATCH."""
    speed = USUAL_SHARE * 1e9 * (measured.peak("fp32") or 100.0)
    while images > SMALLEST_BATCH and images * flops_of_one / speed > seconds:
        images = max(SMALLEST_BATCH, images // 2)
    return images
