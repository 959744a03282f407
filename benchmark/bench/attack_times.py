"""How long the evaluation of a network takes per image: clean, a PGD step, each attack of AutoAttack.

An attack stops early on an image once it is misclassified, so times are measured on images that always survive: random
ones, labelled as the network classifies them, under an epsilon of next to nothing. AutoAttack is the evaluation's own;
each attack is stopped after some seconds, and its time scaled to the forward passes that a surviving image needs
(`evaluation.progress.attack_costs`). Square's first passes change large squares, its many later ones small squares,
which cost less where a network is not deep: for such a network its time is an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import perf_counter

import torch
from torch import Tensor, nn

from benchmark.bench.timing import medians, wait
from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images, clean_verdicts, pgd_verdicts, prepare
from benchmark.evaluation.autoattack import autoattack
from benchmark.evaluation.fast import can_fold
from benchmark.evaluation.progress import attack_costs
from benchmark.networks.count import forward_flops
from benchmark.networks.resnet import NetworkPlan, plain_conv
from benchmark.planning.measured import EvaluationEntry
from benchmark.planning.work import network_of
from benchmark.results.protocol import STANDARD_TARGETS
from benchmark.runtime.seeding import generator_for

EPSILON = 1e-6  # so small that every image survives
PGD_STEPS = 5
WARM_UP = 4  # first passes of an attack, not timed
FEWEST_PASSES = 20  # timed per attack even if they take longer
PlainPgd = Callable[..., Tensor]


def evaluation_times(
    plan: NetworkPlan,
    size: int,
    images: int,
    device: torch.device,
    *,
    budget: float,
    plain_pgd: PlainPgd | None = None,
) -> EvaluationEntry:
    """Measure a network of random weights.

    Args:
        plan: the network.
        size: height and width of the images.
        images: in a batch.
        device: where to run.
        budget: seconds for each of five parts: PGD and clean, and AutoAttack's four attacks.
        plain_pgd: the plain implementation, timed in turn with the benchmark's own.
    """
    torch.manual_seed(0)
    model = prepare(plan(conv=plain_conv, norm=nn.BatchNorm2d), device).eval()
    data = unbreakable(model, images, plan.in_channels, size, device)
    step = EPSILON / 4

    def pgd(model: nn.Module = model) -> None:
        pgd_verdicts(
            model, data, epsilon=EPSILON, step_size=step, steps=PGD_STEPS, restarts=1, seed=0, batch_size=images
        )

    timed: dict[str, Callable[[], object]] = {
        "pgd": pgd,
        "clean": lambda: clean_verdicts(model, data, batch_size=images),
    }
    if plain_pgd is not None:
        plain = plan(conv=plain_conv, norm=nn.BatchNorm2d).to(device).eval()
        floats, labels = as_float_images(data.images), plain(as_float_images(data.images)).argmax(1)
        timed["plain"] = lambda: plain_pgd(
            plain, floats, labels, epsilon=EPSILON, step_size=step, steps=PGD_STEPS, seed=0
        )
    seconds = medians(timed, device, budget=budget)
    passes = images * (PGD_STEPS + 1)  # the last point is classified too
    return EvaluationEntry(
        network=network_of(plan, size),
        images=images,
        forward_flops=forward_flops(plan, plan.in_channels, size),
        clean_seconds=seconds["clean"] / images,
        pgd_seconds=seconds["pgd"] / passes,
        plain_pgd_seconds=seconds["plain"] / passes if "plain" in seconds else None,
        autoattack=autoattack_times(model, data, plan.num_classes, budget=budget),
    )


@torch.no_grad()
def unbreakable(model: nn.Module, count: int, channels: int, size: int, device: torch.device) -> Images:
    """Return random images, labelled as the network in eval mode classifies them."""
    generator = generator_for(torch.device("cpu"), "bench", count, channels, size)
    pixels = torch.randint(256, (count, channels, size, size), generator=generator, dtype=torch.uint8).to(device)
    return Images(pixels, model(as_float_images(pixels)).argmax(1))


def autoattack_times(model: nn.Module, data: Images, classes: int, *, budget: float) -> dict[str, float]:
    """Return for each attack of AutoAttack standard the seconds of an image that survives it.

    Args:
        model: network in eval mode, on which no attack moves the images out of their class.
        data: one batch of images.
        classes: number of the network's classes.
        budget: seconds for one attack.
    """
    costs = attack_costs(min(STANDARD_TARGETS, classes - 1), merged=can_fold(model))
    return {
        attack: cost.passes * _seconds_per_pass(model, data, classes, attack, budget=budget)
        for attack, cost in costs.items()
    }


class _EnoughTimed(Exception):
    """Ends an attack at the beginning of its next forward pass."""


class _Watch:
    """Counts the images of an attack's forward passes and ends it when enough time is measured."""

    def __init__(self, device: torch.device, budget: float) -> None:
        self.device, self.budget = device, budget
        self.calls = self.images = 0  # images: since the clock started
        self.started = 0.0

    def __call__(self, images: int) -> None:
        """Count a forward pass of so many images, or end the attack if enough time is measured."""
        self.calls += 1
        if self.calls == WARM_UP:
            wait(self.device)
            self.started = perf_counter()
        if self.calls >= WARM_UP:
            if self.calls >= WARM_UP + FEWEST_PASSES and perf_counter() - self.started > self.budget:
                raise _EnoughTimed
            self.images += images


def _seconds_per_pass(model: nn.Module, data: Images, classes: int, attack: str, *, budget: float) -> float:
    """Return the seconds of an attack per forward pass of one image, the work between the passes included."""
    watch = _Watch(data.images.device, budget)
    with suppress(_EnoughTimed):
        autoattack(
            model,
            data,
            num_classes=classes,
            epsilon=EPSILON,
            seed=0,
            batch_size=len(data),
            report=lambda line: None,
            attacks=(attack,),
            before_pass=watch,
        )
    wait(watch.device)
    return (perf_counter() - watch.started) / watch.images
