"""What `bench` measures: without a suite one network under every kind of training step, else a suite's own steps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import torch

from benchmark.bench.attack_times import FEWEST_PASSES, WARM_UP, evaluation_times
from benchmark.bench.peak import STAGES, convolution_rates, memory_rate
from benchmark.bench.steps import CASES, TARGETS, training_step
from benchmark.bench.suite_steps import experiment_step, random_data
from benchmark.bench.timing import FEWEST, medians
from benchmark.data.catalog import DATASETS
from benchmark.evaluation.accuracy import as_float_images
from benchmark.networks.count import forward_flops
from benchmark.networks.resnet import NetworkPlan
from benchmark.planning.cost import forward_runs
from benchmark.planning.measured import Measurement, TrainingEntry, TrainingKey
from benchmark.planning.predict import ROBUST_SHARE, attacked_images
from benchmark.planning.states import Planned
from benchmark.planning.work import Work, network_of
from benchmark.suite.experiment import Experiment, Precision
from benchmark.suite.registry import ResolvedMethod
from methods.base import Batch

YARDSTICK = Path(__file__).resolve().parents[2] / "tests" / "benchmarks"
ATTACK_STEPS = 10
TOTAL_SECONDS = 150.0  # that all cases of a suite should take together
MOST_SECONDS = 6.0  # of repeating a single one
EVALUATION_SECONDS = 2.0  # of each part of the evaluation, without a suite
SMALLEST_BATCH = 8
USUAL_SHARE = 0.3  # of the fastest convolution's speed, reached by whole networks; only batches are chosen by it


@dataclass(frozen=True)
class Setting:
    """The network of the bench without a suite, and its batches."""

    network: str
    width: float
    batches: tuple[int, ...]
    precisions: tuple[Precision, ...]  # the plain implementation is timed beside the first
    images: int  # in a batch under evaluation


# On two cores all of it takes about two minutes; a GPU is measured on what it is bought for.
SETTINGS = {
    "cpu": Setting("resnet18", 0.25, (64,), ("fp32", "bf16-attack"), images=16),
    "cuda": Setting("resnet34", 1.0, (256, 512), ("bf16-attack", "bf16"), images=500),
}


@dataclass(frozen=True)
class Case:
    """One thing to measure."""

    title: str
    seconds: float  # about, to tell the time left
    run: Callable[[Measurement], Measurement]  # returns what was measured before, and its own numbers


def rate_cases(device: torch.device) -> list[Case]:
    """Return the measurements of the machine alone: convolutions of four widths, and memory."""

    def convolution(channels: int, side: int, measured: Measurement) -> Measurement:
        return measured.with_rates(convolution_rates(device, channels, side))

    def memory(measured: Measurement) -> Measurement:
        return measured.model_copy(update={"memory": memory_rate(device)})

    return [
        *(
            Case(f"convolution of {channels} channels at {side}x{side}", 1.0, partial(convolution, channels, side))
            for channels, side in STAGES
        ),
        Case("memory", 0.5, memory),
    ]


def usual_cases(device: torch.device, yardstick: Mapping[str, Any]) -> list[Case]:
    """Return every kind of training step, and the evaluation, on one network.

    Args:
        device: where to measure.
        yardstick: what `load_yardstick` returned; where it is empty, nothing is compared.
    """
    setting, known = SETTINGS[device.type], DATASETS["cifar10"]
    plan = NetworkPlan(setting.network, known.num_classes, known.mean, known.std, setting.width)

    def train(case: str, batch_size: int, measured: Measurement) -> Measurement:
        data = random_data(known.name, batch_size).train.to(device)
        batch = Batch(as_float_images(data.images), data.labels, torch.arange(batch_size, device=device))
        steps: dict[str, Callable[[], None]] = {}
        for precision in setting.precisions:
            steps[precision] = training_step(case, plan, batch, num_steps=ATTACK_STEPS, precision=precision)
        if "training" in yardstick:
            steps["plain"] = yardstick["training"](case, plan, batch, num_steps=ATTACK_STEPS)
        seconds = medians(steps, device, budget=MOST_SECONDS)
        method, _, objective = case.partition("/")
        for precision in setting.precisions:
            key = TrainingKey(
                method=method,
                objective=objective,  # type: ignore[arg-type]  # pydantic checks it
                weights=TARGETS[method].weights,
                precision=precision,
                attack_steps=ATTACK_STEPS,
                batch_size=batch_size,
                network=network_of(plan, known.size),
            )
            plain = seconds.get("plain") if precision == setting.precisions[0] else None
            measured = measured.with_training(_entry(key, plan, seconds[precision], plain))
        return measured

    def evaluate(measured: Measurement) -> Measurement:
        pgd = yardstick.get("pgd")
        entry = evaluation_times(plan, known.size, setting.images, device, budget=EVALUATION_SECONDS, plain_pgd=pgd)
        return measured.with_evaluation(entry)

    return [
        *(
            Case(f"{case} on {network_of(plan, known.size)}, batch {batch}", 20.0, partial(train, case, batch))
            for batch in setting.batches
            for case in CASES
        ),
        Case(f"evaluation of {network_of(plan, known.size)}", 12.0, evaluate),
    ]


def suite_cases(planned: Sequence[Planned], methods: Mapping[str, ResolvedMethod], device: torch.device) -> list[Case]:
    """Return the distinct training steps of a suite and the evaluation of its distinct networks.

    Args:
        planned: the suite's experiments; those refused, or of unknown size, are left out.
        methods: resolved methods by their target.
        device: where to measure.
    """
    steps: dict[TrainingKey, tuple[Experiment, Work]] = {}
    networks: dict[tuple[Any, int], tuple[NetworkPlan, int]] = {}
    for item in planned:
        if item.work is None or not isinstance(item.architecture, NetworkPlan):
            continue
        steps.setdefault(item.work.key, (item.experiment, item.work))
        images = attacked_images(item.work, ROBUST_SHARE if item.robust_share is None else item.robust_share)
        networks.setdefault((item.work.key.network, images), (item.architecture, images))
    share = TOTAL_SECONDS / max(1, len(steps) + 2 * len(networks))
    usual = min(MOST_SECONDS, share)

    def train(experiment: Experiment, work: Work, measured: Measurement) -> Measurement:
        one_image = forward_runs(work.key.objective, work.key.attack_steps) * work.forward_flops
        batch = affordable(work.key.batch_size, one_image * (FEWEST + 1), share, measured)
        step = experiment_step(experiment, methods[experiment.method.target], batch_size=batch, device=device)
        seconds = medians({"ours": step}, device, budget=usual / 2)["ours"]
        key = work.key.model_copy(update={"batch_size": batch})
        return measured.with_training(TrainingEntry(key=key, forward_flops=work.forward_flops, seconds=seconds))

    def evaluate(plan: NetworkPlan, images: int, size: int, measured: Measurement) -> Measurement:
        # every pass of an attack is a forward and at most a backward run
        one_image = forward_flops(plan, plan.in_channels, size) * 2 * 4 * (WARM_UP + FEWEST_PASSES)
        count = affordable(images, one_image, 2 * share, measured)
        return measured.with_evaluation(evaluation_times(plan, size, count, device, budget=usual / 3))

    return [
        *(
            Case(f"{key.method}/{key.objective} {key.weights} on {key.network}", usual, partial(train, *pair))
            for key, pair in steps.items()
        ),
        *(
            Case(f"evaluation of {network}, {images} images", 2 * usual, partial(evaluate, *pair, network.size))
            for (network, images), pair in networks.items()
        ),
    ]


def affordable(images: int, flops_of_one: float, seconds: float, measured: Measurement) -> int:
    """Return a batch that should take at most so many seconds: halved as long as it does not, to SMALLEST_BATCH."""
    speed = USUAL_SHARE * 1e9 * (measured.peak("fp32") or 100.0)
    while images > SMALLEST_BATCH and images * flops_of_one / speed > seconds:
        images = max(SMALLEST_BATCH, images // 2)
    return images


def load_yardstick() -> dict[str, Any]:
    """Return the plain implementations by name, empty where the package was installed without its tests."""
    files = {"training": ("plain_steps.py", "plain_training_step"), "pgd": ("plain_evaluation.py", "plain_pgd")}
    found = {}
    for name, (file, function) in files.items():
        spec = spec_from_file_location(f"yardstick_{name}", YARDSTICK / file)
        if (YARDSTICK / file).exists() and spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            sys.modules[spec.name] = module  # its dataclasses look themselves up there
            spec.loader.exec_module(module)
            found[name] = getattr(module, function)
    return found


def _entry(key: TrainingKey, plan: NetworkPlan, seconds: float, plain: float | None) -> TrainingEntry:
    flops = forward_flops(plan, key.network.channels, key.network.size)
    return TrainingEntry(key=key, forward_flops=flops, seconds=seconds, plain_seconds=plain)
